"""What a person does on the pages, step by step; the fixtures and the tests walk the same way."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Locator, Page, expect

SAMPLE = Path(__file__).resolve().parents[2] / "studio" / "samples" / "support_tickets.csv"
LABELS = ("billing", "cancellation", "delivery", "refund")
#: Milliseconds a run, a chat or the reading of a file may take on a busy machine with two cores.
LONG = 120_000
#: What each page shows once its first event has answered, and not before.
PAGES = {
    "/": "#home-run-list .ps-table, #home-run-list .ps-empty",
    "/data": "#data-list .ps-table, #data-list .ps-empty",
    "/models": "#models-list .ps-table, #models-list .ps-empty",
    "/train": "#train-verdict .ps-ready",
    "/runs": "#runs-list .ps-table, #runs-list .ps-empty",
    "/compare": "#compare-table .ps-table, #compare-table .ps-empty",
    "/adapters": "#adapters-list .ps-table, #adapters-list .ps-empty",
    "/combine": "#combine-verdict .ps-note, #combine-empty .ps-empty",
    "/playground": "#playground-ask:visible, #playground-send:visible, #playground-empty .ps-empty",
    "/predict": "#predict-start:visible, #predict-empty .ps-empty",
    "/settings": "#settings-checks li, #settings-checks tr, #settings-checks .ps-note",
}


def cut_sample(path: Path, labels: Sequence[str] = LABELS, each: int = 20) -> Path:
    """Write `each` rows of every label of the sample tickets to `path`."""
    with SAMPLE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for label in labels:
            writer.writerows([row for row in rows if row["intent"] == label][:each])
    return path


def value_of(page: Page, name: str) -> str:
    """Return a value of the address's query."""
    found = re.search(rf"[?&]{name}=([^&]+)", page.url)
    assert found, f"{page.url} says no {name}"
    return found[1]


def open_page(page: Page, path: str) -> None:
    """Open one of the pages and wait until its first event has answered."""
    page.goto(path)
    expect(page.locator(PAGES[path.partition("?")[0]]).first).to_be_visible(timeout=60_000)


def upload(page: Page, path: Path) -> str:
    """Upload a file on the Data page and return the dataset's id; its page stays open."""
    open_page(page, "/data")
    chooser = page.locator("#data-file")
    chooser.locator("input[type=file]").set_input_files(path)
    expect(chooser.get_by_text(path.stem).first).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Add this data").click()
    page.wait_for_url("**/data?dataset=*", timeout=60_000)
    return value_of(page, "dataset")


def choose_run(page: Page, *, epochs: int, max_length: int) -> None:
    """Choose LoRA on MiniLM with these settings on the Train page, and wait until the run may start."""
    choose(page, "starter/minilm-l6", "LoRA")
    for label, value in (("Epochs", epochs), ("Max length", max_length)):
        page.locator("#train-settings").get_by_label(label, exact=True).fill(str(value))
    expect(page).to_have_url(re.compile(rf"max_length%22%3A{max_length}"), timeout=60_000)
    expect(start_button(page)).to_be_enabled(timeout=LONG)


def choose(page: Page, model: str, method: str) -> None:
    """Choose a base model by its id and a method by its title on the Train page."""
    page.locator("#train-model").get_by_role("combobox", name="Base model").select_option(model)
    expect(page).to_have_url(re.compile(f"model={quote(model, safe='')}"), timeout=60_000)
    option = page.locator("#train-method").get_by_role("radio", name=re.compile(rf"^{re.escape(method)}\b"))
    option.check()
    expect(page).to_have_url(re.compile(f"method={option.get_attribute('value')}"))


def start(page: Page) -> str:
    """Press Start and return the run's id; its page opens."""
    start_button(page).click()
    page.wait_for_url("**/runs?run=*", timeout=60_000)
    return value_of(page, "run")


def start_button(page: Page) -> Locator:
    """Return the button that starts a run."""
    return page.get_by_role("button", name="Start training")


def badge(page: Page) -> Locator:
    """Return the state of the run, dataset or model whose page is open."""
    return page.locator(".ps-run-head h2 .ps-badge:visible")


def add_folder(page: Page, folder: Path) -> str:
    """Add a folder of this machine as a base model on the Models page and return its id, once it is measured."""
    open_page(page, "/models")
    page.get_by_role("tab", name="A folder on this machine").click()
    page.get_by_label("Path of the folder").fill(str(folder))
    page.get_by_role("button", name="Add the folder").click()
    page.wait_for_url("**/models?model=*", timeout=60_000)
    expect(badge(page)).to_have_text("Ready", timeout=LONG)
    return f"local/{folder.name}"
