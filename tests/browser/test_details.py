"""What makes the pages pleasant: things stay as a person left them, and an address holds what is seen."""

from __future__ import annotations

import re

import pytest
from journey import LONG, PAGES, badge, cut_sample, open_page, start, start_button, upload
from playwright.sync_api import Route, expect

#: Settings of a run that trains long enough to be watched.
PATIENT = '&set={"training":{"epochs":200,"max_length":32,"eval_every":"epoch"}}'


def dialog(page):
    """Return the question that is open."""
    return page.locator("dialog[open]")


@pytest.fixture
def training(desktop, trained):
    """A run that trains, its page open; it is thrown away afterwards."""
    page = desktop.page
    page.goto(f"/train?dataset={trained.dataset}&model=starter/minilm-l6&method=lora{PATIENT}")
    expect(start_button(page)).to_be_enabled(timeout=LONG)
    start(page)
    expect(badge(page)).to_have_text("Running", timeout=LONG)
    yield desktop
    if badge(page).inner_text() == "Running":
        page.get_by_role("button", name="Stop and discard").click()
        dialog(page).get_by_role("button", name="Stop and discard").click()
    expect(badge(page)).to_have_text("Stopped", timeout=LONG)


def test_what_is_open_and_focused_stays_so_while_a_run_is_drawn_anew(training):
    page = training.page
    log = page.locator("#run-facts summary", has_text="Log")
    log.click()
    before = page.locator("#run-live").inner_text()
    expect(page.locator("#run-live")).not_to_have_text(before, timeout=LONG)
    expect(page.get_by_role("region", name="log").or_(page.locator("#run-facts pre[aria-label=log]"))).to_be_visible()
    expect(log).to_be_focused()


def test_a_run_is_renamed_stopped_with_its_result_kept_and_found_again(training):
    page = training.page
    page.get_by_role("button", name="Rename").click()
    dialog(page).get_by_role("textbox", name="Name").fill("Tickets <i>& more</i>")
    page.keyboard.press("Enter")
    expect(page.locator("#run-head h2")).to_contain_text("Tickets <i>& more</i>")
    page.get_by_role("button", name="Stop and keep the result").click()
    dialog(page).get_by_role("button", name="Stop and keep the result").click()
    expect(badge(page)).to_have_text("Stopped", timeout=LONG)
    expect(page.get_by_role("link", name="Try it beside the base")).to_be_visible()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    run = page.url
    open_page(page, "/runs")
    page.get_by_label("Search").fill("more</i>")
    expect(page.locator("#runs-list").get_by_role("link")).to_have_count(1)
    page.goto(run)


def test_a_column_plays_another_part_and_only_one_part_each(desktop, tmp_path):
    page = desktop.page
    upload(page, cut_sample(tmp_path / "tickets.csv"))
    expect(badge(page)).to_have_text("Ready", timeout=LONG)
    text, label = (page.get_by_role("combobox", name=f"Part of the column {name}") for name in ("text", "intent"))
    text.select_option("Label")
    expect(label).to_have_value("")
    page.get_by_role("button", name="Confirm these columns").click()
    expect(page.locator("[role=alert][data-kind=role_missing]")).to_contain_text("text")
    text.select_option("Text")
    label.select_option("Label")
    page.get_by_role("button", name="Confirm these columns").click()
    expect(page.get_by_text("You confirmed these columns.")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    page.get_by_role("combobox", name="Count in the tokens of").select_option("starter/minilm-l6")
    expect(page.locator("#dataset-over")).to_contain_text("512 tokens", timeout=LONG)


def test_a_file_to_evaluate_on_stands_under_the_one_it_evaluates(desktop, tmp_path):
    page = desktop.page
    open_page(page, "/data")
    cut_sample(tmp_path / "learn.csv")
    cut_sample(tmp_path / "judge.csv", each=4)
    for place, name in (("#data-file", "learn"), ("#data-eval-file", "judge")):
        page.locator(f"{place} input[type=file]").set_input_files(tmp_path / f"{name}.csv")
        expect(page.locator(place).get_by_text(name).first).to_be_visible()
    page.get_by_role("button", name="Add this data").click()
    page.wait_for_url("**/data?dataset=*")
    expect(page.locator("#dataset-numbers")).to_contain_text("Also in training", timeout=LONG)
    expect(page.locator("#dataset-findings")).to_contain_text("The evaluation file repeats inputs")
    expect(page.get_by_role("link", name="Train on it anyway")).to_be_visible()
    page.get_by_role("link", name="learn (evaluation)").first.click()
    expect(page.locator("#dataset-head")).to_contain_text("Evaluates learn")


def test_the_address_of_a_comparison_holds_runs_curve_axis_and_smoothing(desktop, trained):
    page = desktop.page
    open_page(page, f"/compare?runs={trained.run}")
    page.locator("#compare-axis").get_by_text("Epoch").click()
    expect(page).to_have_url(re.compile("axis=epoch"))
    page.get_by_role("combobox", name="Curve").select_option("eval/accuracy")
    expect(page).to_have_url(re.compile("curve=eval/accuracy"))
    page.goto(f"{page.url}&smooth=0.5")
    expect(page.get_by_role("figure", name="Curves: Evaluation: Accuracy")).to_be_visible()
    expect(page.locator("#compare-axis").get_by_role("radio", name="Epoch")).to_be_checked()
    expect(page.get_by_role("spinbutton", name="Smoothing")).to_have_value("0.5")
    page.goto(f"/compare?runs=nope,{trained.run}")
    expect(page.locator("#compare-lost")).to_contain_text("not there any more")
    expect(page.locator("#compare-table table")).to_be_visible()


@pytest.mark.parametrize(("path", "box"), [("/data", "#data-file"), ("/models", "#models-files")])
def test_an_upload_under_way_can_be_cancelled(desktop, tmp_path, path, box):
    page = desktop.page
    file = tmp_path / "long.csv"
    file.write_text("text,label\n" + "hello,a\n" * 500_000)
    open_page(page, path)
    if path == "/models":
        page.get_by_role("tab", name="Upload").click()
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 100_000}
    network.send("Network.emulateNetworkConditions", slow)
    page.locator(f"{box} input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Cancel the upload of long.csv").click()
    expect(page.locator("#ps-uploads")).to_contain_text("The upload of long.csv was cancelled.")
    expect(page.locator(box)).to_contain_text("Click to Upload")
    network.send("Network.emulateNetworkConditions", slow | {"uploadThroughput": -1})
    page.locator(f"{box} input[type=file]").set_input_files(file)
    expect(page.locator(box)).to_contain_text("long")
    expect(page.locator(box)).not_to_contain_text("Uploading")


def test_an_id_that_is_not_there_leaves_a_way_back(desktop):
    desktop.page.goto("/runs?run=nope")
    desktop.page.get_by_role("link", name="All runs").click()
    desktop.page.wait_for_url("**/runs")


def test_an_adapter_is_merged_and_comes_as_one_file(desktop, trained):
    page = desktop.page
    page.goto(f"/adapters?adapter={trained.adapter}")
    page.get_by_role("button", name="Merge into a full model").click()
    with page.expect_download(timeout=LONG) as saving:
        page.get_by_role("link", name="Download the merged model").click(timeout=LONG)
    assert saving.value.suggested_filename.endswith(".zip")


def test_pages_draw_even_when_their_scripts_arrive_last(desktop):
    page = desktop.page
    held: list[Route] = []
    released = False

    def hold(route: Route) -> None:
        if released:
            route.continue_()
        else:
            held.append(route)

    page.route(re.compile(r"/static-studio/(studio|parts)\.js"), hold)
    page.goto("/compare", wait_until="commit")
    expect(page.get_by_text("Horizontal axis")).to_be_visible(timeout=60_000)
    released = True
    for route in held:
        route.continue_()
    expect(page.locator(PAGES["/compare"]).first).to_be_visible(timeout=60_000)
    expect(page.locator("#compare-metric select")).to_be_visible()
    assert held
