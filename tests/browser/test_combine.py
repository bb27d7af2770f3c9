"""Two adapters become one on the Combine page."""

from __future__ import annotations

import re

import pytest
from journey import LONG, open_page, value_of
from playwright.sync_api import expect
from watching import wait_for


@pytest.fixture
def second(desktop, trained):
    """The id of a second adapter: the first run again with another seed."""
    asked = desktop.page.request
    spec = asked.get(f"/api/v1/runs/{trained.run}").json()["spec"]
    spec["training"] |= {"seed": 7, "epochs": 1}
    made = asked.post("/api/v1/runs", data=spec).json()["id"]
    wait_for(lambda: asked.get(f"/api/v1/runs/{made}").json()["state"] == "succeeded", LONG / 1000, "the second run")
    return asked.get(f"/api/v1/adapters?run={made}").json()["items"][0]["id"]


def test_two_adapters_become_one_whose_weights_were_found_on_examples(desktop, trained, second):
    page = desktop.page
    page.goto(f"/adapters?adapter={trained.adapter}")
    page.locator("#adapter-steps").get_by_role("link", name="Combine").click()
    page.wait_for_url(f"**/combine?adapters={trained.adapter}")
    expect(page.locator("#combine-verdict")).to_contain_text("two adapters")
    page.get_by_label("Adapters", exact=True).click()
    page.get_by_role("option", name=re.compile(second[-4:])).click()
    page.wait_for_url(re.compile(second))
    expect(page.get_by_label(re.compile("^Weight of"))).to_have_count(2)
    page.get_by_role("radio", name=re.compile("^LoraHub")).check()
    expect(page.locator("#combine-verdict [data-kind=examples_missing]")).to_contain_text("Try this:")
    page.locator("#combine-dataset").get_by_role("combobox").select_option(trained.dataset)
    expect(page.locator("#combine-verdict")).to_contain_text("learned from this dataset")
    page.reload()
    expect(page.get_by_role("radio", name=re.compile("^LoraHub"))).to_be_checked(timeout=60_000)
    desktop.no_serious_violations()
    page.locator("#combine-start").click()
    page.wait_for_url("**/combine?composition=*")
    result = page.get_by_role("region", name="Comparison on the same rows")
    expect(result.get_by_role("row")).to_have_count(5, timeout=LONG)
    expect(result.get_by_role("row").last).to_contain_text("Composed")
    expect(page.locator("#combine-curve .main-svg").first).to_be_visible()
    expect(page.locator("#combine-cancel")).to_be_hidden()
    desktop.no_serious_violations()
    desktop.fits()
    page.get_by_role("link", name="Look at the adapter").click()
    page.wait_for_url("**/adapters?adapter=*")
    lineage = page.locator("#adapter-lineage")
    expect(lineage.get_by_role("link", name=re.compile(trained.adapter[-4:]))).to_be_visible()
    expect(lineage).to_contain_text("in 40 tries")
    composed = value_of(page, "adapter")
    page.get_by_role("link", name="Try it in the playground").click()
    page.wait_for_url(f"**/playground?adapter={composed}")
    page.get_by_label("Text", exact=True).fill("When do I get my money back?")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("#playground-answers .ps-player").last).to_contain_text(re.compile(r"\d+(\.\d+)? ?%"),
                                                                                 timeout=LONG)


def test_a_combination_that_is_gone_says_so_and_the_form_stays(desktop, trained):
    open_page(desktop.page, "/combine?composition=co_none")
    expect(desktop.page.locator("#combine-empty")).to_contain_text("not there any more")
