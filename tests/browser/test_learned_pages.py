"""What was learned, on the pages of a run and of its adapter: drawn, explained, readable on a phone in the dark."""

from __future__ import annotations

from journey import LONG
from playwright.sync_api import expect

#: Where each of some elements is, in pixels.
MIDDLES = """all => all.map((one) => {
  const box = one.getBoundingClientRect();
  return [Math.round(box.x + box.width / 2), Math.round(box.y)];
})"""
TITLES = ["How much each matrix changed", "How many directions were used", "Where the parameters are"]


def test_an_adapters_page_shows_what_was_learned_with_figures_that_say_their_numbers(desktop, trained):
    page = desktop.page
    page.goto(f"/adapters?adapter={trained.adapter}")
    part = page.locator("#adapter-insight")
    expect(part.get_by_role("heading", level=2)).to_have_text("What was learned", timeout=LONG)
    expect(part.get_by_role("heading", level=3)).to_have_text(TITLES)
    expect(part.locator(".main-svg").first).to_be_visible(timeout=LONG)
    map_ = part.get_by_role("figure", name="‖ΔW‖ / ‖W‖")
    expect(map_.locator(".annotation-text")).to_have_count(36)
    # One number for each of six kinds of matrices in six layers, each on its own cell.
    places = map_.locator(".annotation-text").evaluate_all(MIDDLES)
    assert len({tuple(place) for place in places}) == 36 and len({place[1] for place in places}) == 6
    part.locator("summary", has_text="Every matrix (36)").click()
    expect(part.get_by_role("region", name="Every matrix (36)").locator("tbody tr")).to_have_count(36)
    desktop.no_serious_violations()


def test_a_runs_page_shows_it_too_and_a_phone_shows_all_of_it(phone, trained):
    page = phone.page
    page.goto(f"/runs?run={trained.run}")
    part = page.locator("#run-insight")
    expect(part.get_by_role("heading", level=3)).to_have_text(TITLES, timeout=LONG)
    expect(part.locator(".main-svg").first).to_be_visible(timeout=LONG)
    # There is no room for numbers in the cells; the table has them.
    expect(part.locator(".annotation-text")).to_have_count(0)
    expect(part.get_by_role("region", name="By kind of module")).to_be_visible()
    phone.fits()
    phone.no_serious_violations()
