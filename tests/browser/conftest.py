"""The real stack and a real browser: every request that leaves this machine and every console error fails the test."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from journey import LONG, badge, choose_run, cut_sample, start, upload, value_of
from playwright.sync_api import Browser, expect, sync_playwright
from watching import DESKTOP, PHONE, Watched, answers, wait_for, watch

#: Two busy cores are slow to draw; what is awaited comes much sooner on a quiet machine.
expect.set_options(timeout=45_000)

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]
#: Notes every state and progress that a run's page shows, for as long as it is not loaded again.
RECORD = """() => {
  window.drawn = [];
  const note = () => {
    const state = document.querySelector(".ps-run-head h2 .ps-badge")?.textContent.trim() ?? "";
    const live = document.querySelector("#run-live .ps-progress")?.textContent.trim() ?? "";
    const last = window.drawn.at(-1);
    if (!last || last[0] !== state || last[1] !== live) window.drawn.push([state, live]);
  };
  new MutationObserver(note).observe(document.body, { childList: true, subtree: true, characterData: true });
  note();
}"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder."""
    for item in items:
        if "tests/browser" in str(item.path):
            item.add_marker("browser")


@dataclass
class Studio:
    """A running studio: its address and its data folder."""

    url: str
    data_dir: Path
    process: subprocess.Popen[bytes]


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_studio(data_dir: Path, **environment: str) -> Iterator[Studio]:
    """Start `peft-studio up` on a folder of its own and stop it as Ctrl-C would."""
    port = free_port()
    log = data_dir.parent / "up.log"
    command = [sys.executable, "-m", "studio", "up", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | {
            "STUDIO_DATA_DIR": str(data_dir), "HF_HUB_OFFLINE": "1"} | environment, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: answers(f"{url}/readyz") or process.poll() is not None, 90, f"{url} answers")
        if process.poll() is not None:
            raise AssertionError(f"The studio did not start:\n{log.read_text()[-4000:]}")
        yield Studio(url, data_dir, process)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """One studio for the whole session, as `peft-studio up` starts it."""
    folder = tmp_path_factory.mktemp("studio") / "data"
    folder.mkdir()
    with running_studio(folder) as started:
        yield started


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Headless Chromium."""
    path = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
                None)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def desktop(browser: Browser, studio: Studio) -> Iterator[Watched]:
    """A page 1280 px wide; fails at the end on outside requests and console errors."""
    context = browser.new_context(viewport=DESKTOP, base_url=studio.url, accept_downloads=True)
    watched = watch(context)
    yield watched
    watched.check()
    context.close()


@pytest.fixture
def phone(browser: Browser, studio: Studio) -> Iterator[Watched]:
    """A page 390 px wide, dark; fails at the end on outside requests and console errors."""
    context = browser.new_context(viewport=PHONE, base_url=studio.url, color_scheme="dark", has_touch=True,
                                  accept_downloads=True)
    watched = watch(context)
    yield watched
    watched.check()
    context.close()


@dataclass(frozen=True)
class Trained:
    """The ids of a run that succeeded, of its dataset and of its adapter."""

    dataset: str
    run: str
    adapter: str


@pytest.fixture(scope="session")
def trained(browser: Browser, studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A LoRA of MiniLM on 80 tickets, made on the pages: upload, confirm the columns, choose, start, watch."""
    context = browser.new_context(viewport=DESKTOP, base_url=studio.url, color_scheme="light")
    watched = watch(context)
    page = watched.page
    dataset = upload(page, cut_sample(tmp_path_factory.mktemp("upload") / "tickets.csv"))
    expect(badge(page)).to_have_text("Ready", timeout=LONG)
    rows = page.get_by_role("region", name="First rows")
    expect(rows.get_by_role("columnheader", name="text Text")).to_be_visible()
    expect(rows.get_by_role("columnheader", name="intent Label")).to_be_visible()
    page.get_by_role("button", name="Confirm these columns").click()
    expect(page.get_by_text("You confirmed these columns.")).to_be_visible()
    page.get_by_role("link", name="Train on it").click()
    page.wait_for_url("**/train?**")
    choose_run(page, epochs=30, max_length=32)
    run = start(page)
    page.evaluate(RECORD)
    expect(badge(page)).to_have_text("Succeeded", timeout=LONG)
    # 72 of the 80 rows are 5 updates of 16 an epoch: enough of them that a fast machine is seen at work. A reload would
    # have taken what was recorded away.
    expect(page.locator("#run-live")).to_contain_text(re.compile(r"update 150\b"), timeout=LONG)
    drawn = [text for state, text in page.evaluate("window.drawn") if state != "Succeeded" and text]
    assert len(set(drawn)) >= 2, f"Nothing changed on the run's page before the run had ended: {drawn}"
    page.get_by_role("link", name="Try it beside the base").click()
    page.wait_for_url("**/playground?adapter=*")
    adapter = value_of(page, "adapter")
    watched.check()
    context.close()
    return Trained(dataset, run, adapter)
