"""The Train page's settings: what stands in a box is what is trained with."""

from __future__ import annotations

import re

from playwright.sync_api import expect


def test_an_emptied_number_is_its_default_again(desktop):
    page = desktop.page
    page.goto("/train")
    expect(page).to_have_url(re.compile("method=lora"))
    epochs = page.locator("#train-settings-training-epochs")
    epochs.fill("-1")
    expect(epochs).to_have_attribute("aria-invalid", "true")
    epochs.fill("7")
    expect(page).to_have_url(re.compile("epochs"))
    epochs.fill("")
    expect(page).not_to_have_url(re.compile("epochs"))
    expect(epochs).to_have_attribute("placeholder", "3")
    epochs.blur()
    expect(epochs).to_have_value("3")
    expect(epochs).to_have_attribute("aria-invalid", "false")


def test_an_emptied_number_goes_back_to_the_word_it_stood_for(desktop):
    page = desktop.page
    page.goto("/train")
    expect(page).to_have_url(re.compile("method=lora"))
    rate = page.locator("#train-settings-training-learning_rate")
    rate.select_option(label="Custom")
    own = page.locator("#train-settings-training-learning_rate-own")
    own.fill("0.5")
    expect(page).to_have_url(re.compile("learning_rate"))
    own.fill("")
    own.blur()
    expect(own).to_have_count(0)
    expect(rate.locator("option:checked")).to_have_text("Auto")
    expect(page).not_to_have_url(re.compile("learning_rate"))


#: Where the button to start stands in the window, and by how much the page is too wide.
SEEN = """() => {
  const box = document.querySelector("#train-start").getBoundingClientRect();
  return { top: box.top, left: innerHeight - box.bottom, wide: document.documentElement.scrollWidth - innerWidth };
}"""


def test_the_verdict_and_start_stay_in_the_window_while_settings_scroll(desktop):
    page = desktop.page
    page.goto("/train")
    expect(page).to_have_url(re.compile("method=lora"))
    page.evaluate("scrollTo(0, 2500)")
    seen = page.evaluate(SEEN)
    assert seen["top"] >= 0 and seen["left"] >= 0 and seen["wide"] <= 0, seen
    expect(page.locator("#train-verdict .ps-ready")).to_be_in_viewport()


def test_on_a_phone_verdict_and_start_are_a_bar_at_the_foot(phone):
    page = phone.page
    page.goto("/train")
    expect(page).to_have_url(re.compile("method=lora"))
    page.evaluate("scrollTo(0, 2500)")
    seen = page.evaluate(SEEN)
    assert 0 <= seen["left"] < 30 and seen["wide"] <= 0, seen
    expect(page.locator("#train-verdict .ps-ready")).to_be_in_viewport()
    phone.no_serious_violations()


def test_an_emptied_number_is_what_the_page_was_opened_with(desktop):
    page = desktop.page
    page.goto('/train?set={"training":{"epochs":7}}')
    epochs = page.locator("#train-settings-training-epochs")
    expect(epochs).to_have_value("7")
    epochs.fill("9")
    expect(page).to_have_url(re.compile("epochs%22%3A9"))
    epochs.fill("")
    expect(page).to_have_url(re.compile("epochs%22%3A7"))
    epochs.blur()
    expect(epochs).to_have_value("7")


#: How far below its title and switch the help of each switch stands.
GAPS = """() => {
  const box = (field, part) => field.querySelector(part).getBoundingClientRect();
  const shown = [...document.querySelectorAll("#train-settings .ps-inline:not([hidden])")];
  return shown.map((field) => box(field, ".ps-help").top
    - Math.max(box(field, ".ps-field-head").bottom, box(field, ".ps-switch").bottom));
}"""


def test_help_stands_right_beneath_its_switch(desktop):
    page = desktop.page
    page.goto("/train")
    page.locator("#train-settings").get_by_role("radio", name="Advanced").check()
    gaps = page.evaluate(GAPS)
    assert gaps and max(gaps) < 12, gaps
