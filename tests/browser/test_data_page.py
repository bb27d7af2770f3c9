"""The Data page: what cannot be used shows no way on, and a file to evaluate on may come later."""

from __future__ import annotations

from journey import LONG, badge, cut_sample, upload
from playwright.sync_api import expect


def test_a_file_to_evaluate_on_is_added_to_data_that_is_there_already(desktop, tmp_path):
    page = desktop.page
    upload(page, cut_sample(tmp_path / "learn.csv"))
    expect(badge(page)).to_have_text("Ready", timeout=LONG)
    judge = tmp_path / "judge.csv"
    judge.write_text("text,intent\nsomething nobody asked before,an odd label\n")
    page.locator("#dataset-eval-file input[type=file]").set_input_files(judge)
    expect(page.locator("#dataset-eval-file").get_by_text("judge").first).to_be_visible()
    page.get_by_role("button", name="Evaluate on this file").click()
    expect(page.locator("#dataset-findings")).to_contain_text("labels that training lacks ('an odd label')",
                                                              timeout=LONG)
    expect(page.locator("#dataset-head")).to_contain_text("Evaluated on learn (evaluation)")
    expect(page.locator("#dataset-eval")).to_contain_text("another file takes its place")
    expect(page.get_by_role("link", name="Train on it")).to_have_count(0)


def test_data_that_failed_or_says_nothing_shows_no_charts_and_no_way_on(desktop, tmp_path):
    page = desktop.page
    for name, content, state in (("broken", b"PAR1 no parquet PAR1", "Failed"),
                                 ("answers", b"thing\n" + b"ok\nno\nyes\n" * 30, "Needs a fix")):
        path = tmp_path / f"{name}.csv"
        path.write_bytes(content)
        upload(page, path)
        expect(badge(page)).to_have_text(state, timeout=LONG)
        expect(page.locator(".ps-chart:visible")).to_have_count(0)
        expect(page.get_by_role("link", name="Train on it")).to_have_count(0)
        expect(page.get_by_text("Nothing wrong was found.")).to_have_count(0)
    page.goto("/train")
    picker = page.get_by_role("combobox", name="Dataset", exact=True)
    expect(picker).to_contain_text("answers", timeout=LONG)
    expect(picker).not_to_contain_text("broken")


def test_tabs_take_arrow_keys_and_an_address_with_an_unknown_tab_opens_the_overview(desktop, tmp_path):
    page = desktop.page
    upload(page, cut_sample(tmp_path / "learn.csv"))
    expect(badge(page)).to_have_text("Ready", timeout=LONG)
    page.goto(page.url.split("&")[0] + "&tab=zzz")
    chosen = page.locator("#dataset-tabs [role=tab][aria-selected=true]")
    expect(chosen).to_have_text("Overview")
    expect(page.locator("#dataset-numbers")).to_be_visible()
    page.get_by_role("tab", name="Overview").focus()
    for key, name in (("ArrowRight", "Rows"), ("End", "Versions"), ("ArrowRight", "Overview"),
                      ("ArrowLeft", "Versions"), ("Home", "Overview")):
        page.keyboard.press(key)
        expect(chosen).to_have_text(name)
        expect(page.get_by_role("tab", name=name)).to_be_focused()
