"""Home: what this is, a first run in two clicks, what happened last."""

from __future__ import annotations

import functools

import gradio as gr

from db import runs
from db.states import ACTIVE
from db.tables import Run
from db.users import User
from engine import methods
from studio import cards, measures, parts, samples, session, shell
from studio.pages import Page
from studio.text import ago, duration, esc, plural
from worker import client

PAGE = Page("home", "Home", icon="M3 9.5 10 3.5l7 6M5 8.5V16.5h10V8.5M8.5 16.5v-4.5h3v4.5")
LEAD = ("PEFT Studio fine-tunes language models on your own machine, without code: bring a table of texts, choose a "
        "model and a method, and watch it learn. Then try what it learned beside the original, and take the adapter "
        "with you.")


def build() -> None:
    """Draw the page."""
    with shell.frame(PAGE, title="Teach a model something of yours", lead=LEAD):
        card = shell.html(elem_id="home-error")
        go = shell.address("home-address")
        with gr.Row(elem_classes=["ps-starts"], elem_id="home-start"):
            for sample in samples.SAMPLES.values():
                with shell.section(sample.title, sample.text):
                    button = gr.Button("Start with sample data", variant="primary" if sample.name == "support_tickets"
                                       else "secondary", elem_id=f"home-{sample.name}")
                    shell.on(button.click, functools.partial(_prepare, sample.name), None, [go], card=card,
                             busy="minimal")
            with shell.section("Use your own data", "Tables, texts, chats or images, as files or zip archives; "
                               "what is in them is recognised."):
                shell.html(cards.links([("Add data", "/data")], primary=False), elem_id="home-own")
        state = shell.html(elem_id="home-state")
        with shell.section("Recent runs", elem_id="home-runs"):
            listing = parts.kept("home-run-list", ["ps-stack"])
        shell.load(_look, None, [state, listing], card=card)
        shell.poll(3, _look, None, [state, listing], card=card)


def _prepare(name: str, request: gr.Request) -> str:
    return "/train" + samples.prepare(session.user(request), name).url()


def _look(request: gr.Request) -> tuple[str, str]:
    user = session.user(request)
    return _state(user), _recent(user)


def _state(user: User) -> str:
    """Return workers and queue in one line."""
    queue, numbers = client.queue_state(), runs.counts(user)
    waiting = numbers["queued"] + numbers["interrupted"]
    at_work = sum(numbers[state] for state in ACTIVE) - waiting
    here = f"{plural(queue['workers'], 'worker')}, {queue['busy']} of {plural(queue['slots'], 'slot')} busy"
    if not queue["workers"]:
        return cards.note("Runs wait safely until a worker starts: peft-studio up starts everything.", "warn",
                          "No worker is running")
    told = "" if queue["broker"] else " · the broker does not answer, so runs start a little later"
    return (f'<p class="ps-line" role="status"><span class="ps-dot"></span>{esc(here)} · '
            f'{plural(at_work, "run")} at work · {waiting} waiting{esc(told)}</p>')


def _recent(user: User) -> str:
    rows = runs.find(user, limit=8)
    if not rows:
        return cards.empty("Nothing has been trained yet",
                           "Start with sample data above, or bring your own. The first run takes about a minute.",
                           [("Add data", "/data")])
    more = '<p class="ps-under"><a href="/runs">All runs</a></p>'
    return cards.table(["Run", "State", "Method", "Result", "Started"], [_row(row) for row in rows], "Recent runs",
                       html_columns=[0, 1]) + more


def _row(row: Run) -> tuple[str, ...]:
    link = f'<a href="/runs?run={esc(row.id)}">{esc(row.name)}</a>'
    state = cards.badge(row.state)
    if row.state in ACTIVE and row.total_steps:
        left = f", {duration(row.eta)} left" if row.eta else ""
        state += f' <span class="ps-muted">{100 * row.step // row.total_steps} %{esc(left)}</span>'
    kind = methods.every().get(row.method)
    result = measures.scored(row.metric_name, row.metric_value)
    return link, state, kind.card.title if kind else row.method, result, ago(row.created_at)
