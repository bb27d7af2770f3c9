"""A page that is watched: what it asks for, what it complains about, and how to wait for what is to come."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
#: Gradio fades what it is about to redraw, and a half transparent text has no contrast to measure.
STILL = """() => !document.querySelector(".pending, .generating") && document.getAnimations().every(
  (one) => one.playState !== "running" || one.effect.getTiming().iterations === Infinity)"""
HOME = re.compile(r"^(https?|wss?)://(127\.0\.0\.1|localhost)[:/]|^(data|blob|about|chrome):")


@dataclass
class Watched:
    """A page whose outside requests and console errors are collected; `check()` fails on any."""

    page: Page
    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Fail when a request left the machine or the console showed an error."""
        assert not self.outside, f"Requests left this machine: {self.outside}"
        assert not self.errors, f"Console errors: {self.errors}"

    def no_serious_violations(self) -> None:
        """Fail when axe-core finds anything serious or critical on the page, once nothing on it fades any more."""
        self.page.wait_for_function(STILL, timeout=30_000)
        found = Axe().run(self.page).response["violations"]
        serious = [f"{v['id']}: {v['help']} ({', '.join(str(n['target']) for n in v['nodes'][:4])})"
                   for v in found if v["impact"] in ("serious", "critical")]
        assert not serious, f"Accessibility on {self.page.url}: {serious}"

    def fits(self) -> None:
        """Fail when the page scrolls sideways."""
        overflow = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert overflow <= 1, f"{self.page.url} is {overflow} px wider than the screen"


def watch(context: BrowserContext) -> Watched:
    """Open a page in `context` and watch it."""
    page = context.new_page()
    watched = Watched(page)

    def on_request(request: Request) -> None:
        if not HOME.match(request.url):
            watched.outside.append(request.url)

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            watched.errors.append(f"{message.text} ({message.location.get('url', '')})")

    page.on("request", on_request)
    page.on("console", on_console)
    page.on("pageerror", lambda error: watched.errors.append(str(error)))
    page.set_default_timeout(45_000)
    return watched


def wait_for(happened: Callable[[], Any], seconds: float, what: str) -> Any:
    """Return the first true result of `happened`, or fail naming what was awaited."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := happened():
            return result
        time.sleep(0.1)
    raise AssertionError(f"Waited {seconds:g} s in vain: {what}")


def answers(url: str) -> bool:
    """Tell whether an address answers with success."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return response.status == 200
    except OSError:
        return False
