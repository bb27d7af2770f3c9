'''The pages: one file each. A page file is found because its name stands in `ORDER`.

How a page is written
---------------------
`studio/pages/runs.py` defines `PAGE` and `build()`, and nothing at import but functions:

    PAGE = Page("runs", "Runs", icon="M3 17h4V9H3z…")          # path /runs; the home page has path /

    def build() -> None:
        """Draw the page; called once, when the app is made."""
        with shell.frame(PAGE, title="Runs", lead="What is training, and what came of it."):
            card = shell.html(elem_id="runs-error")               # where errors of the handlers below appear
            search = gr.Textbox(label="Search", elem_id="runs-search")
            listing = shell.html(elem_id="runs-list")
            timer = shell.poll(2, _listing, [search], [listing], card=card)
            shell.on(search.change, _listing, [search], [listing], card=card)
            shell.load(_listing, [search], [listing], card=card)

    def _listing(search: str, request: gr.Request) -> str:
        user = session.user(request)                              # every handler authorises for itself
        found = runs.find(user, search=search, limit=50, offset=0)
        if not found:
            return cards.empty("No runs yet", "Train something first.", [("Train", "/train")])
        return cards.table(["Name", "State"], [(r.name, cards.badge(r.state)) for r in found], "Runs", html_columns=[1])

Handlers annotate `request: gr.Request` (gr imported at module level, else Gradio does not see it; it may stand behind
`*args` as a keyword) and are small:
authorise, ask `db` or `worker.client`, return HTML strings or component updates. Never train, load a model or call the
Hub in one; anything longer than a second is the worker's.

What there is
-------------
`studio.shell`
    frame(PAGE, title=, lead=, width="normal"|"wide")      context manager: navigation, head (h1), footer
    section(title, lead, elem_id=)                          context manager: a card with a heading, for components
    on(triggers, fn, inputs, outputs, card=, busy="hidden"|"minimal"|"full", **gr.on options)   wires an event
    load(fn, inputs, outputs, card=)                        on opening and on refresh
    poll(seconds, fn, inputs, outputs, card=, active=) -> gr.Timer     return gr.Timer(active=False) to stop it
    query(request, "run")                                   a value of the page's URL
    html(value, elem_id=, classes=)                         a place for HTML from `cards`
    picker(options, chosen, label=, elem_id=, help=) / picks(...) / chosen(value)        a native select
    choice(options, chosen, label=, elem_id=, columns=) / choices(...) / chosen(value)   cards to choose one of
    confirm(label, question=, detail=, yes=, no=, danger=, elem_id=) / confirmation(...) button that asks; `.click`
    address(elem_id)                                        output "/runs?run=…" to go there, "?run=…" rewrites the URL
`studio.cards` (HTML strings; all of it escaped)
    badge(state)  error(StudioError)  note(text, tone, title)  findings(list[Finding], empty_text)
    empty(title, text, [(label, href)])  links([(label, href)])  progress(fraction|None, text, eta)
    facts([(label, value)])  stats([(label, value, remark)])  table(columns, rows, caption, numeric=, html_columns=)
    card(title, *html, actions=)  code(text, label)  more(summary, *html)
`studio.parts`    (components the list and detail pages share)
    chart(title, elem_id) -> figure under a heading  kept(elem_id) HTML that stays as opened  toolbar(elem_id) a row
    columns(elem_id, label) first rows, a role to choose for each column; `.input`  rename(elem_id) a button; `.submit`
    which(id, get, back=(label, href)) -> list, detail, error of a lost id  found(get) its result, or None
`studio.text`     esc count short size percent duration metric ago plural
`studio.form`     settings(groups, values, elem_id=) -> component whose `.input` fires on each change
    state(groups, values, elem_id=) its value; values(value) what was chosen, {group: {field: value}};
    Group(key, title, pydantic model class): any model whose fields are `knob`s, such as a chat's temperature and length
`studio.plots`    figure(elem_id=, label=) -> component; lines bars histogram points heat blank make its values
`studio.session`  user(request) -> User

Rules: stable `elem_id`s beginning with the page's name; every input has a label; wide things scroll inside themselves
(`cards.table` does); colours only through the classes and custom properties of studio/static/studio.css (`--ps-*`);
errors are raised, never formatted. Events must not put text of a person into `gr.HTML(html_template=...)` with `{{}}`:
Gradio evaluates it as JavaScript. Raise `StudioError`s freely: the wiring shows them.

Classes at hand: ps-card ps-grid ps-two (two columns, one on phones) ps-muted ps-num ps-mono ps-button ps-primary
ps-danger ps-actions ps-hidden (for screen readers only).
'''

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

#: The page files in the order of the navigation.
ORDER = ("home", "data", "models", "train", "runs", "compare", "adapters", "combine", "playground", "predict",
         "settings")


@dataclass(frozen=True)
class Page:
    """A page's name (its file's), its title in the navigation and the path of its icon on a 20 × 20 grid."""

    name: str
    title: str
    icon: str = ""

    @property
    def path(self) -> str:
        """The URL path."""
        return "/" if self.name == "home" else f"/{self.name}"

    @property
    def icon_svg(self) -> str:
        """The icon as inline SVG, hidden from screen readers."""
        return f'<svg class="ps-icon" viewBox="0 0 20 20" aria-hidden="true"><path d="{self.icon}"/></svg>'


@cache
def pages() -> tuple[Page, ...]:
    """Return the pages there are, in the order of the navigation."""
    return tuple(importlib.import_module(f"{__name__}.{name}").PAGE for name in ORDER if _exists(name))


def builder(page: Page) -> Callable[[], None]:
    """Return the function that draws `page` into the Blocks being made."""
    return importlib.import_module(f"{__name__}.{page.name}").build


def _exists(name: str) -> bool:
    return importlib.util.find_spec(f"{__name__}.{name}") is not None
