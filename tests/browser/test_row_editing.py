"""The rows of a dataset, walked by a person: search, edit, exclude, undo, save a version, see what changed."""

from __future__ import annotations

import re

from journey import LONG, badge, cut_sample, upload, value_of
from playwright.sync_api import expect


def test_rows_are_found_changed_and_saved_as_a_version(desktop, tmp_path):
    page = desktop.page
    first = upload(page, cut_sample(tmp_path / "rows.csv"))
    expect(badge(page)).to_have_text("Ready", timeout=LONG)
    page.get_by_role("tab", name="Rows").click()
    rows = page.get_by_role("region", name="Rows")
    status = page.locator(".ps-rows-pager [role=status]")
    expect(status).to_have_text("1 to 50 of 80")
    page.get_by_role("button", name="Next").click()
    expect(status).to_have_text("51 to 80 of 80")
    page.get_by_label("Go to row").fill("7")
    page.get_by_role("button", name="Go", exact=True).click()
    expect(rows.locator(".ps-found")).to_contain_text("7")
    page.get_by_label("Search all rows").fill("refund")
    expect(status).to_contain_text("(80 in all)")
    expect(rows.locator("mark").first).to_have_text(re.compile("refund", re.I))
    rows.get_by_role("button", name="intent").click()
    expect(rows.get_by_role("columnheader", name="intent")).to_have_attribute("aria-sort", "ascending")

    rows.get_by_role("button", name=re.compile("^Edit row")).first.click()
    dialog = page.get_by_role("dialog")
    number = re.sub(r"\D", "", dialog.get_attribute("aria-label"))
    dialog.get_by_label("intent").fill("a label of my own")
    desktop.no_serious_violations()
    dialog.get_by_role("button", name="Change the row").click()
    drafts = page.locator(".ps-rows-drafts")
    expect(drafts).to_contain_text("1 changed cell, not saved yet")
    excluded = rows.get_by_role("button", name=re.compile("^Exclude row"))
    excluded.nth(1).click()
    expect(drafts).to_contain_text("1 changed cell and 1 excluded row")
    excluded.nth(1).click()
    expect(drafts).to_contain_text("2 excluded rows")
    drafts.get_by_role("button", name="Undo").click()
    expect(drafts).to_contain_text("1 excluded row,")
    page.reload()
    expect(drafts).to_contain_text("1 changed cell and 1 excluded row", timeout=LONG)
    expect(page.get_by_label("Search all rows")).to_have_value("refund")
    desktop.no_serious_violations()

    drafts.get_by_role("button", name="Save as a new version").click()
    page.wait_for_url(re.compile("tab=versions"))
    second = value_of(page, "dataset")
    assert second != first
    expect(badge(page)).to_have_text("Ready", timeout=LONG)
    diff = page.get_by_role("region", name="What changed from version 1 to 2")
    expect(diff).to_contain_text("a label of my own", timeout=LONG)
    expect(diff).to_contain_text("left out")
    expect(page.locator("#dataset-head")).to_contain_text("79 rows")
    diff.get_by_role("link", name=f"Show row {number}", exact=True).first.click()
    expect(page.locator(".ps-rows-table .ps-found")).to_contain_text(number, timeout=LONG)


def test_samples_and_problems_are_shown_and_fit_a_phone(phone, tmp_path):
    page = phone.page
    path = cut_sample(tmp_path / "twice.csv")
    text = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*text, text[3], text[5].replace(",", "!,", 1)]) + "\n", encoding="utf-8")
    upload(page, path)
    expect(badge(page)).to_have_text("Ready", timeout=LONG)
    expect(page.locator("#dataset-samples")).to_contain_text("Rows of each label", timeout=LONG)
    page.get_by_role("tab", name="Problems").click()
    expect(page.locator("#dataset-problems")).to_contain_text("1 row of 82 repeats", timeout=LONG)
    phone.fits()
    phone.no_serious_violations()
