"""From a file to an adapter in the playground, as a person goes; and a first run on a phone."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from journey import LABELS, LONG, badge, open_page, start_button, value_of
from playwright.sync_api import expect


def test_a_finished_run_shows_its_curves_its_predictions_and_the_way_on(desktop, trained):
    page = desktop.page
    page.goto(f"/runs?run={trained.run}")
    expect(badge(page)).to_have_text("Succeeded", timeout=LONG)
    expect(page.get_by_role("figure", name="Loss")).to_contain_text(re.compile(r"training: last \d"))
    expect(page.locator("#run-loss .main-svg").first).to_be_visible()
    expect(page.get_by_role("table", name="Worst predictions")).to_be_visible()
    page.get_by_role("link", name="Compare with other runs").click()
    page.wait_for_url("**/compare?runs=*")
    assert value_of(page, "runs") == trained.run
    expect(page.locator("#compare-table table")).to_contain_text("tickets")


def test_the_runs_being_compared_stand_in_the_address(desktop, trained):
    page = desktop.page
    open_page(page, "/compare")
    page.get_by_label("Runs to compare (up to ten)").click()
    page.get_by_role("option", name=re.compile(trained.run[-4:])).click()
    page.wait_for_url(f"**/compare?runs={trained.run}")
    page.reload()
    expect(page.locator("#compare-table table")).to_be_visible()
    assert value_of(page, "runs") == trained.run


def test_an_adapter_is_downloaded_with_all_that_loads_it_elsewhere(desktop, trained):
    page = desktop.page
    open_page(page, "/adapters")
    page.locator("#adapters-list").get_by_role("link", name="tickets").first.click()
    page.wait_for_url("**/adapters?adapter=*")
    with page.expect_download(timeout=LONG) as saving:
        page.get_by_role("link", name="Download", exact=True).click()
    assert saving.value.suggested_filename.endswith(".zip")
    names = zipfile.ZipFile(saving.value.path()).namelist()
    assert len({Path(name).parts[0] for name in names}) == 1, f"Files lie beside the folder: {names}"
    assert {"adapter_model.safetensors", "adapter_config.json", "README.md", "spec.json", "environment.json",
            "LICENCE-NOTE.txt"} <= {Path(name).name for name in names}


def test_an_adapter_and_its_base_classify_a_text_side_by_side(desktop, trained):
    page = desktop.page
    page.goto(f"/adapters?adapter={trained.adapter}")
    page.get_by_role("link", name="Try it in the playground").click()
    page.wait_for_url("**/playground?adapter=*")
    page.get_by_label("Text", exact=True).fill("When do I get my money back?")
    page.get_by_role("button", name="Ask", exact=True).click()
    players = page.locator("#playground-answers").get_by_role("heading")
    expect(players).to_have_text(["The base model itself", re.compile("tickets")])
    for player in page.locator("#playground-answers .ps-player").all():
        bars = player.get_by_role("listitem")
        expect(bars).to_have_count(len(LABELS), timeout=LONG)
        shares = [float(re.findall(r"([\d.]+)%", text)[-1]) for text in bars.all_inner_texts()]
        assert abs(sum(shares) - 100) < 0.5, shares
    desktop.no_serious_violations()


def test_sample_data_makes_a_run_ready_to_start_on_a_phone(phone):
    page = phone.page
    open_page(page, "/")
    page.get_by_role("button", name="Start with sample data").first.click()
    page.wait_for_url("**/train?**", timeout=LONG)
    expect(start_button(page)).to_be_enabled(timeout=LONG)
    expect(page.locator("#train-verdict")).to_contain_text("Ready")
    expect(page.locator("#train-numbers")).to_contain_text("Trained")
    phone.fits()
    phone.no_serious_violations()


def test_a_base_model_added_on_a_phone_writes_its_answer_word_by_word(phone):
    page = phone.page
    open_page(page, "/models")
    page.locator("#models-starter").get_by_role("radio", name=re.compile("SmolLM2")).check()
    page.get_by_role("button", name="Add the chosen starter").click()
    page.wait_for_url("**/models?model=*", timeout=LONG)
    expect(badge(page)).to_have_text("Ready", timeout=LONG)

    open_page(page, "/playground?base=starter/smollm2-135m · causal_lm")
    page.get_by_role("button", name="How answers are written").click()
    longest = page.get_by_role("spinbutton", name="Longest answer")
    longest.fill("16")
    longest.press("Tab")
    talk, send, stop = (page.locator("#playground-talk"), page.get_by_role("button", name="Send"),
                        page.get_by_role("button", name="Stop"))
    page.get_by_label("Message", exact=True).fill("Tell me about rivers.")
    send.click()
    expect(talk).to_contain_text("16 tokens in", timeout=LONG)
    expect(stop).to_be_disabled()

    longest.fill("1024")
    longest.press("Tab")
    page.get_by_label("Message", exact=True).fill("Write a very long story about the sea.")
    send.click()
    expect(talk).to_contain_text("▍", timeout=LONG)  # a text that is still being written
    stop.click()
    expect(talk).to_contain_text("Stopped.", timeout=LONG)
    expect(send).to_be_enabled()
    phone.fits()
    phone.no_serious_violations()
