"""The tab Prepare of a dataset: steps are tried, added, moved and taken out, and the rows follow."""

from __future__ import annotations

from pathlib import Path

from journey import LONG, badge, cut_sample, upload
from playwright.sync_api import Page, expect
from watching import Watched


def add(page: Page, step: str, field: str, value: str, expected: str) -> None:
    """Add a step with one setting, once what it would do is shown."""
    page.get_by_role("combobox", name="Step", exact=True).select_option(step)
    page.get_by_role("textbox", name=field).fill(value)
    expect(page.locator("#prepare-trial")).to_contain_text(expected, timeout=LONG)
    page.get_by_role("button", name="Add this step").click()
    expect(page.get_by_role("button", name="Add this step")).to_be_hidden(timeout=LONG)


def test_steps_are_tried_added_moved_and_taken_out(desktop: Watched, tmp_path: Path) -> None:
    page = desktop.page
    upload(page, cut_sample(tmp_path / "tickets.csv"))
    expect(badge(page)).to_have_text("Ready", timeout=LONG)
    page.get_by_role("tab", name="Prepare").click()
    steps = page.locator("#prepare-steps")
    expect(steps).to_contain_text("There are no steps yet", timeout=LONG)
    page.get_by_role("combobox", name="Step", exact=True).select_option("filter")
    page.get_by_role("textbox", name="Condition").fill("intnt = 1")
    expect(page.locator("#prepare-trial")).to_contain_text("Did you mean 'intent'?", timeout=LONG)
    page.get_by_role("textbox", name="Condition").fill('intent != "refund"')
    expect(page.locator("#prepare-trial")).to_contain_text("80 → 60 rows", timeout=LONG)
    page.get_by_role("button", name="Add this step").click()
    expect(page.get_by_role("button", name="Add this step")).to_be_hidden(timeout=LONG)
    add(page, "rename", "Names", "text = body", "60 → 60 rows")
    expect(steps.get_by_role("heading")).to_have_text(["1. Filter rows", "2. Rename columns"])
    steps.get_by_role("button", name="Move step 2, Rename columns up").click()
    expect(steps.get_by_role("heading")).to_have_text(["1. Rename columns", "2. Filter rows"], timeout=LONG)
    desktop.no_serious_violations()
    desktop.fits()
    page.get_by_role("tab", name="Overview").click()
    rows = page.get_by_role("region", name="First rows")
    expect(rows.get_by_role("columnheader", name="body Text")).to_be_visible(timeout=LONG)
    page.get_by_role("tab", name="Prepare").click()
    steps.get_by_role("button", name="Take out step 1, Rename columns").click()
    expect(steps.get_by_role("heading")).to_have_text(["1. Filter rows"], timeout=LONG)
