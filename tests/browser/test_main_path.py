"""From a file to an adapter in the playground, as a person goes."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from journey import LABELS, LONG, badge, choose_run, cut_sample, start, upload, value_of
from playwright.sync_api import expect


def test_a_file_becomes_an_adapter_that_answers_beside_its_base(desktop, tmp_path):
    page = desktop.page
    upload(page, cut_sample(tmp_path / "tickets.csv"))
    expect(badge(page)).to_have_text("Ready", timeout=LONG)
    rows = page.get_by_role("region", name="First rows")
    expect(rows.get_by_role("columnheader", name="text Text")).to_be_visible()
    expect(rows.get_by_role("columnheader", name="intent Label")).to_be_visible()
    page.get_by_role("button", name="Confirm these columns").click()
    expect(page.get_by_text("You confirmed these columns.")).to_be_visible()
    desktop.no_serious_violations()

    page.get_by_role("link", name="Train on it").click()
    page.wait_for_url("**/train?**")
    choose_run(page, epochs=1, max_length=32)
    run_id = start(page)
    expect(page.locator("#run-live")).to_contain_text(re.compile(r"[1-5] of 5"), timeout=LONG)
    expect(badge(page)).to_have_text("Succeeded", timeout=LONG)
    expect(page.get_by_role("figure", name="Loss")).to_contain_text(re.compile(r"training: last \d"))

    page.get_by_role("link", name="Compare with other runs").click()
    page.wait_for_url("**/compare?runs=*")
    assert value_of(page, "runs") == run_id
    expect(page.locator("#compare-table table")).to_be_visible()

    page.goto("/adapters")
    page.locator("#adapters-list").get_by_role("link").first.click()
    page.wait_for_url("**/adapters?adapter=*")
    with page.expect_download(timeout=LONG) as saving:
        page.get_by_role("link", name="Download").click()
    names = {Path(name).name for name in zipfile.ZipFile(saving.value.path()).namelist()}
    assert {"adapter_model.safetensors", "adapter_config.json", "README.md", "spec.json"} <= names

    page.get_by_role("link", name="Try it in the playground").click()
    page.get_by_label("Text", exact=True).fill("When do I get my money back?")
    page.get_by_role("button", name="Classify").click()
    players = page.locator("#playground-verdicts .ps-player")
    expect(players).to_have_count(2)
    for player in players.all():
        expect(player.get_by_role("listitem")).to_have_count(len(LABELS), timeout=LONG)
