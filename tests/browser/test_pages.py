"""Every page in both widths and colours, and what pages say when something is wrong."""

from __future__ import annotations

import zipfile

import pytest
from journey import LONG, PAGES, badge, open_page, upload
from playwright.sync_api import expect
from watching import DESKTOP, PHONE, watch

LOOKS = {f"{name}, {scheme}": {"viewport": size, "color_scheme": scheme}
         for name, size in (("desktop", DESKTOP), ("phone", PHONE)) for scheme in ("light", "dark")}
#: Fulfilled once nothing on the page has changed for a second.
QUIET = """() => new Promise((done) => {
  let timer = setTimeout(done, 1000);
  new MutationObserver(() => { clearTimeout(timer); timer = setTimeout(done, 1000); })
    .observe(document.body, { childList: true, subtree: true, characterData: true });
})"""


@pytest.fixture(scope="module", params=LOOKS)
def context(request, browser, studio):
    """A browser of one width and colour scheme; its cache serves all pages."""
    made = browser.new_context(base_url=studio.url, **LOOKS[request.param])
    yield made
    made.close()


@pytest.fixture
def seen(context):
    """A watched page in that browser."""
    watched = watch(context)
    yield watched
    watched.check()
    watched.page.close()


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_readable_for_everybody_and_fits_its_screen(seen, path, trained):
    open_page(seen.page, path)
    check(seen)


@pytest.mark.parametrize("path", ["/runs?run={0.run}", "/data?dataset={0.dataset}", "/adapters?adapter={0.adapter}",
                                  "/models?ref=starter/minilm-l6", "/compare?runs={0.run}"])
def test_the_page_of_one_thing_is_readable_for_everybody_and_fits_its_screen(seen, path, trained):
    seen.page.goto(path.format(trained))
    expect(seen.page.locator(".ps-run-head h2:visible, #compare-table table").first).to_be_visible()
    check(seen)


def check(seen):
    expect(seen.page.get_by_role("heading", level=1)).to_have_count(1)
    expect(seen.page.get_by_role("heading", level=1)).to_be_visible()
    expect(seen.page.get_by_role("alert")).to_have_count(0)
    seen.fits()
    seen.no_serious_violations()


def named_error(page, kind):
    """Wait for the error of this kind and return it, once it says what to do next and nothing of our code."""
    shown = page.locator(f"[role=alert][data-kind={kind}]")
    expect(shown).to_be_visible(timeout=LONG)
    expect(shown).to_contain_text("Try this:")
    expect(page.locator("body")).not_to_contain_text("Traceback")
    return shown


def test_a_zip_without_data_that_calls_itself_csv_is_named_and_a_way_on_shown(desktop, tmp_path):
    with zipfile.ZipFile(tmp_path / "tickets.csv", "w") as archive:
        archive.writestr("setup.exe", b"MZ" + bytes(200))
    upload(desktop.page, tmp_path / "tickets.csv")
    expect(named_error(desktop.page, "binary_file")).to_contain_text("setup.exe")
    expect(badge(desktop.page)).to_have_text("Failed")


def test_an_empty_file_is_named_and_a_way_on_shown(desktop, tmp_path):
    (tmp_path / "nothing.csv").touch()
    upload(desktop.page, tmp_path / "nothing.csv")
    expect(named_error(desktop.page, "file_empty")).to_contain_text("empty")


def test_a_file_with_one_column_says_which_column_a_task_lacks(desktop, tmp_path):
    (tmp_path / "one.csv").write_text("text\nhello there\ngood day\nbye now\n")
    upload(desktop.page, tmp_path / "one.csv")
    desktop.page.get_by_role("button", name="Confirm these columns").click(timeout=LONG)
    shown = named_error(desktop.page, "role_missing")
    expect(shown).to_contain_text("label")
    open_page(desktop.page, desktop.page.url.replace(desktop.page.url.split("/data")[0] + "/data", "/train"))
    expect(desktop.page.get_by_role("button", name="Start training")).to_be_disabled()


@pytest.mark.parametrize("path", ["/runs?run=nope", "/data?dataset=nope", "/models?model=nope",
                                  "/adapters?adapter=nope"])
def test_what_is_not_there_is_said_and_stays_said(desktop, path):
    desktop.page.goto(path)
    shown = named_error(desktop.page, "not_found")
    expect(shown).to_contain_text("nope")
    desktop.page.evaluate(QUIET)  # several events answer when a page opens; none of them may take the error away
    expect(shown).to_be_visible()


def test_what_a_click_has_said_outlives_what_the_page_repeats_by_itself(desktop):
    open_page(desktop.page, "/models")
    with desktop.page.expect_response(lambda answer: "queue/join" in answer.url):
        desktop.page.get_by_role("tab", name="From the Hub").click()
        desktop.page.get_by_role("button", name="Add from the Hub").click()
    alert = desktop.page.get_by_role("alert")
    expect(alert).to_be_visible()
    for _ in range(2):  # two of the page's own ticks
        with desktop.page.expect_response(lambda answer: "queue/join" in answer.url):
            pass
    expect(alert).to_be_visible()
