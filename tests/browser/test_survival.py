"""A run belongs to nobody's window: a refresh, a second tab or the end of the web server change nothing about it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import urllib.request

import psutil
from conftest import DESKTOP, answers, wait_for, watch
from journey import LONG, badge, start, start_button
from playwright.sync_api import expect


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
    first.page.goto(f"/train?from={trained.run}")
    expect(start_button(first.page)).to_be_enabled(timeout=LONG)
    run_id = start(first.page)
    expect(badge(first.page)).to_have_text("Running", timeout=LONG)
    title = first.page.locator(".ps-run-head h2").inner_text()

    second.page.goto(f"/runs?run={run_id}")
    first.page.reload()
    for watched in (first, second):
        expect(watched.page.locator(".ps-run-head h2")).to_have_text(title)
        expect(watched.page.locator("#run-live [role=progressbar]")).to_be_visible()
        watched.check()
    first.page.close()

    before = web_of(studio)
    os.kill(before.pid, signal.SIGKILL)
    after = wait_for(lambda: (one := web_of(studio)) and one.pid != before.pid and one, 60, "another web server")
    wait_for(lambda: answers(f"{studio.url}/readyz"), 90, "the new web server answers")
    assert after.is_running()
    second.page.close()

    third = watch(context)
    third.page.goto(f"/runs?run={run_id}")
    expect(badge(third.page)).to_have_text("Succeeded", timeout=LONG)
    third.check()
    context.close()
    told, twin = asked(studio, run_id), asked(studio, trained.run)
    assert told["attempts"] == 1, "The run began again"
    assert {key: told[key] for key in ("step", "loss", "metric_value", "train_rows")} == \
        {key: twin[key] for key in ("step", "loss", "metric_value", "train_rows")}, "The same run went another way"
