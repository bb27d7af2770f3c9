"""A run belongs to nobody's window: a refresh, a second tab or the end of the web server change nothing about it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import urllib.request

import psutil
from journey import LONG, badge, start, start_button
from playwright.sync_api import expect
from watching import DESKTOP, answers, wait_for, watch

#: Longer than a web server takes to come back, on a quiet machine too; the run is stopped at the end.
PATIENT = '&set={"training":{"epochs":200,"max_length":32,"eval_every":"never"}}'


def asked(studio, run_id):
    """Return the run as the API tells it."""
    with urllib.request.urlopen(f"{studio.url}/api/v1/runs/{run_id}", timeout=20) as answer:
        return json.load(answer)


def web_of(studio):
    """Return the web server among the studio's processes, None while there is none."""
    for one in psutil.Process(studio.process.pid).children():
        with contextlib.suppress(psutil.Error):  # one that has just ended
            if "studio.web" in one.cmdline():
                return one
    return None


def test_a_run_outlives_refreshes_tabs_and_the_web_server(browser, studio, trained):
    context = browser.new_context(viewport=DESKTOP, base_url=studio.url)
    first, second = watch(context), watch(context)
    first.page.goto(f"/train?dataset={trained.dataset}&model=starter/minilm-l6&method=lora{PATIENT}")
    expect(start_button(first.page)).to_be_enabled(timeout=LONG)
    run_id = start(first.page)
    expect(first.page.locator("#run-live")).to_contain_text(re.compile(r"\b[1-9]\d* of 1,?000"), timeout=LONG)
    title = first.page.locator(".ps-run-head h2").inner_text()

    second.page.goto(f"/runs?run={run_id}")
    first.page.reload()
    for watched in (first, second):
        expect(watched.page.locator(".ps-run-head h2")).to_have_text(title)
        expect(watched.page.locator("#run-live [role=progressbar]")).to_be_visible()
        watched.check()
        watched.page.close()

    before, step = web_of(studio), asked(studio, run_id)["step"]
    os.kill(before.pid, signal.SIGKILL)
    wait_for(lambda: (one := web_of(studio)) and one.pid != before.pid, 60, "another web server")
    wait_for(lambda: answers(f"{studio.url}/readyz"), 90, "the new web server answers")
    wait_for(lambda: asked(studio, run_id)["step"] > step, 60, "the run goes on")

    third = watch(context)
    third.page.goto(f"/runs?run={run_id}")
    expect(badge(third.page)).to_have_text("Running")
    third.page.get_by_role("button", name="Stop and keep the result").click()
    third.page.get_by_role("dialog").get_by_role("button", name="Stop and keep the result").click()
    expect(badge(third.page)).to_have_text("Stopped", timeout=LONG)
    expect(third.page.get_by_text("what it learned is saved")).to_be_visible()
    told = asked(studio, run_id)
    assert (told["attempts"], told["state"]) == (1, "cancelled"), "The run began again"
    third.check()
    context.close()
