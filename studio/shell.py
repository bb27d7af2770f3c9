"""What every page is made with: its frame, its wiring and the way its errors are shown."""

from __future__ import annotations

import functools
import inspect
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl, urlsplit

import gradio as gr
from gradio.blocks import Block
from gradio.context import Context

from engine import __version__
from engine.errors import StudioError
from studio import cards
from studio.text import esc
from studio.widgets import address, asset, choice, choices, chosen, confirm, confirmation, html, picker, picks

if TYPE_CHECKING:
    from studio.pages import Page

__all__ = ["address", "choice", "choices", "chosen", "confirm", "confirmation", "footer", "frame", "html", "load",
           "navigation", "on", "picker", "picks", "poll", "queries", "query", "safely", "section"]

log = logging.getLogger("studio")
Busy = Literal["full", "minimal", "hidden"]
#: Stands before an error of something that is repeated by itself.
POLLED = "<i data-polled hidden></i>"


@contextmanager
def frame(page: Page, *, title: str = "", lead: str = "",
          width: Literal["normal", "wide"] = "normal") -> Iterator[None]:
    """Draw navigation, page head and footer around the components made inside."""
    html(navigation(page), elem_id="ps-header", classes=["ps-header"])
    with gr.Column(elem_id=f"page-{page.name}", elem_classes=["ps-page", f"ps-{width}"]):
        if title or lead:
            html(f'<div class="ps-head"><h1 id="main" tabindex="-1">{esc(title or page.title)}</h1>'
                 f'<p class="ps-lead">{esc(lead)}</p></div>', elem_id="page-head")
        yield
        html(footer(), elem_id="ps-footer")


@contextmanager
def section(title: str, lead: str = "", *, elem_id: str | None = None) -> Iterator[gr.Column]:
    """Draw a card with a heading around the components made inside."""
    with gr.Column(elem_classes=["ps-section"], elem_id=elem_id) as column:
        html(f'<h2 class="ps-card-title">{esc(title)}</h2>' + (f'<p class="ps-lead">{esc(lead)}</p>' if lead else ""))
        yield column


def on(triggers: Any, fn: Callable[..., Any], inputs: Any = None, outputs: Any = None, *, card: gr.HTML | None = None,
       busy: Busy = "hidden", clears: bool = True, **options: Any) -> Any:
    """Call `fn` when any of `triggers` fires; its errors appear in `card` (or as a notice when there is none).

    With `clears`, an error in `card` goes once `fn` went well. The endpoint is private; `busy` shows Gradio's spinner
    ("minimal" for what may take a second). Returns Gradio's dependency, so `.then(...)` works; `options` are those of
    `gr.on`.
    """
    targets = _as_list(outputs)
    wired = safely(fn, outputs=len(targets), card=card, clears=clears)
    return gr.on(triggers, wired, inputs, [*targets, card] if card is not None else targets, show_progress=busy,
                 api_visibility="private", **options)


def load(fn: Callable[..., Any], inputs: Any = None, outputs: Any = None, *, card: gr.HTML | None = None) -> Any:
    """Call `fn` when the page is opened or refreshed; it reads the URL with `query(request, name)`."""
    root = Context.root_block
    if root is None:
        raise RuntimeError("load() belongs inside build(), where a page is being made")
    # Several of these run at once: one that went well must not take away the error of another.
    return on([root.load], fn, inputs, outputs, card=card, clears=False)


def poll(seconds: float, fn: Callable[..., Any], inputs: Any = None, outputs: Any = None, *,
         card: gr.HTML | None = None, active: bool = True) -> gr.Timer:
    """Call `fn` every `seconds` while the tab is visible; make the returned timer one of the outputs to stop it.

    A tick that comes while the last is still running is dropped. One that went well takes away the error of an
    earlier tick, never what a click has said.
    """
    timer, targets = gr.Timer(seconds, active=active), _as_list(outputs)
    if card is None:
        on([timer.tick], fn, inputs, outputs, trigger_mode="once")
        return timer

    def tick(*given: Any, request: gr.Request) -> Any:
        def called(*values: Any) -> Any:
            return fn(*values, request=request)
        called.__qualname__ = getattr(fn, "__qualname__", str(fn))
        *values, shown = given
        mine = POLLED in (shown or "")
        *drawn, said = safely(called, outputs=len(targets), card=card, clears=mine)(*values)
        return *drawn, POLLED + said if isinstance(said, str) and said else said
    gr.on([timer.tick], _with_request(tick), [*_as_list(inputs), card], [*targets, card], show_progress="hidden",
          api_visibility="private", trigger_mode="once")
    return timer


def query(request: gr.Request, name: str, default: str = "") -> str:
    """Return a value from the page's URL, at most 200 characters."""
    return str(queries(request).get(name, default))[:200]


def queries(request: gr.Request) -> dict[str, str]:
    """Return everything after the ? of the page's URL; events carry the page's address in their Referer."""
    now = dict(parse_qsl(urlsplit(request.headers.get("referer", "")).query, max_num_fields=40))
    return now or {name: str(value) for name, value in dict(request.query_params).items()}


def safely(fn: Callable[..., Any], *, outputs: int = 0, card: Any = None,
           clears: bool = True) -> Callable[..., Any]:
    """Return `fn` with its errors made readable.

    With a `card` the handler has one output more, the last: the error's card, or nothing when all went well (and
    `clears`); the other outputs stay as they are on an error. Without one, a notice opens and the outputs stay as they
    are.
    """
    fn = _with_request(fn)
    nothing = "" if clears else gr.skip()

    def finished(result: Any) -> Any:
        if card is None:
            return result
        if isinstance(result, dict) and result and all(isinstance(key, Block) for key in result):
            return {card: nothing, **result}
        return _spread(result, outputs, nothing)

    if inspect.isgeneratorfunction(fn):
        @functools.wraps(fn)
        def streaming(*args: Any, **kwargs: Any) -> Iterator[Any]:
            try:
                for result in fn(*args, **kwargs):
                    yield finished(result)
            except Exception as problem:
                yield _failed(fn, problem, outputs, card)
        return streaming

    @functools.wraps(fn)
    def calling(*args: Any, **kwargs: Any) -> Any:
        try:
            return finished(fn(*args, **kwargs))
        except Exception as problem:
            return _failed(fn, problem, outputs, card)
    return calling


def _with_request(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return `fn` with `request` first where Gradio would not find it: behind `*args`, or in a partial."""
    parameter = inspect.signature(fn).parameters.get("request")
    plain = not isinstance(fn, functools.partial)
    if parameter is None or (plain and parameter.kind is not parameter.KEYWORD_ONLY):
        return fn
    if inspect.isgeneratorfunction(fn):
        def asking(request: gr.Request, *args: Any) -> Any:
            yield from fn(*args, request=request)
    else:
        def asking(request: gr.Request, *args: Any) -> Any:
            return fn(*args, request=request)
    named = fn if plain else fn.func
    asking.__name__, asking.__qualname__, asking.__doc__ = named.__name__, named.__qualname__, named.__doc__
    return asking


def _failed(fn: Callable[..., Any], problem: Exception, outputs: int, card: Any) -> Any:
    if isinstance(problem, gr.Error):
        raise problem
    if isinstance(problem, StudioError):
        what, shown = problem.what, cards.error(problem)
        hint = problem.try_this
    else:
        reference = secrets.token_hex(4)
        log.error("reference %s in %s", reference, getattr(fn, "__qualname__", fn), exc_info=problem)
        what, shown = f"Something went wrong, reference {reference}.", cards.unexpected(reference)
        hint = "Try again. If it stays, look for the reference in the server's log."
    if card is None:
        raise gr.Error(f"{esc(what)}<br>{esc(hint)}", title="This did not work", duration=None, print_exception=False)
    return _spread([gr.skip()] * outputs, outputs, shown)


def _spread(result: Any, outputs: int, shown: Any) -> Any:
    if outputs == 0:
        return shown
    if outputs == 1:
        return (result[0] if isinstance(result, list) and len(result) == 1 else result), shown
    if isinstance(result, list | tuple) and len(result) == outputs:
        return (*result, shown)
    return (*[result] * outputs, shown)


def _as_list(items: Any) -> list[Any]:
    if items is None:
        return []
    return list(items) if isinstance(items, Sequence | set) else [items]


def navigation(page: Page) -> str:
    """Return the links to every page, that of `page` marked as the one that is open."""
    from studio.pages import pages

    here = ' aria-current="page"'
    entries = "".join(f'<li><a href="{esc(p.path)}"{here if p.name == page.name else ""}>{p.icon_svg}'
                      f"<span>{esc(p.title)}</span></a></li>" for p in pages())
    return (f'<a class="ps-skip" href="{esc(page.path)}#main">Skip to content</a>'
            f'<div class="ps-brand"><a href="/" aria-label="PEFT Studio, home">{LOGO}'
            "<span>PEFT <i>Studio</i></span></a>"
            '<button type="button" class="ps-burger" data-menu aria-expanded="false" aria-controls="ps-menu">'
            '<span class="ps-hidden">Menu</span><i></i></button></div>'
            f'<nav id="ps-menu" aria-label="Pages"><ul>{entries}</ul></nav>'
            '<div class="ps-nav-end"><button type="button" class="ps-theme" data-theme-switch '
            'title="Switch between light and dark"><span aria-hidden="true">◐</span> <span>Light or dark</span>'
            f'</button>{_sign_out()}</div>'
            f'<i data-title="{esc(page.title)}" hidden></i>')


def _sign_out() -> str:
    from studio import login

    if not login.enabled():
        return ""
    button = '<button type="submit" class="ps-theme" id="sign-out">Sign out</button>'
    return f'<form method="post" action="/logout">{button}</form>'


def footer() -> str:
    """Return what stands at the end of every page."""
    return (f'<footer class="ps-footer"><span>PEFT Studio {esc(__version__)}</span>'
            '<span>Everything stays on your machines.</span></footer>')


LOGO = ('<svg class="ps-logo" viewBox="0 0 32 32" aria-hidden="true"><rect x="2" y="2" width="28" height="28" rx="8" '
        'fill="var(--ps-accent)"/><path d="M9 23V9M15 23V13M21 23v-6" stroke="var(--ps-on-accent)" stroke-width="3" '
        'stroke-linecap="round"/><circle cx="23" cy="10" r="2.6" fill="var(--ps-on-accent)"/></svg>')





def head() -> str:
    """Return what goes into every page's <head>: stylesheet, script, icon.

    Gradio would rewrite a stylesheet given as `css=` and break what it does not know.
    """
    return (f'<link rel="stylesheet" href="{asset("studio.css")}"><script src="{asset("studio.js")}"></script>'
            f'<script src="{asset("upload.js")}"></script>'
            f'<link rel="icon" href="{asset("icon.svg")}">')
