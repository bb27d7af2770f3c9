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
