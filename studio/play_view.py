"""What the playground shows: one column for each model asked, and evaluation rows to try."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from db.tables import Adapter
from db.users import User
from engine import tasks
from engine.data import image
from engine.errors import StudioError
from studio import cards, drawn, service
from studio.text import duration, esc, plural

#: Evaluation rows offered.
MOST_EXAMPLES = 6
#: Longer side of a small picture, in pixels, and the most pixels of an image that one is made of.
THUMBNAIL, MOST_PIXELS = 320, 24_000_000
#: What is said of an answer that was cut off, and of one that had not begun.
STOPPED, NOT_BEGUN = "Stopped.", "Stopped before it began."
#: How an evaluation record of a chat names who speaks.
_TURN = re.compile(r"^(?:user|system): ", re.MULTILINE)


def waiting(text: str) -> str:
    """Return what stands where answers will be."""
    return f'<p class="ps-plot-empty">{esc(text)}</p>'


def answers(names: Sequence[str], heard: Sequence[Mapping[str, Any] | None], doing: str, expected: str = "") -> str:
    """Return a column for each model: what it replied to the one row asked, and how long that took.

    None is still awaited; `doing` says what happens meanwhile, and is empty once nothing more will come. `expected` is
    the right answer, where the row comes with one.
    """
    tones = drawn.tones_of(reply for one in heard if one for reply in one["answer"])
    right = f'<p class="ps-expected"><b>Expected</b> {esc(expected)}</p>' if expected and any(heard) else ""
    return right + _columns(_answer(name, one, doing, tones) for name, one in zip(names, heard, strict=True))


def _answer(name: str, heard: Mapping[str, Any] | None, doing: str, tones: Mapping[str, int]) -> str:
    if heard is None or not heard["answer"]:
        return _column(name, cards.progress(None, doing) if doing else '<p class="ps-muted">No answer.</p>')
    reply: Mapping[str, Any] = heard["answer"][0]
    note = cards.note(reply["note"], "warn") if reply.get("note") else ""
    return _column(name, f"{drawn.reply(reply, tones)}{note}"
                   f'<p class="ps-muted ps-timing">{esc(timing(heard.get("seconds"), heard.get("tokens")))}</p>')


def timing(seconds: float | None, tokens: int | None) -> str:
    """Return how long an answer took, and how fast it was written if it was: "12 tokens in 0.5 s, 24.0 a second."."""
    if seconds is None:
        return ""
    if not tokens:
        return f"{seconds * 1000:.0f} ms." if seconds < 1 else f"{duration(seconds)}."
    speed = f", {tokens / seconds:.1f} a second" if seconds > 0 else ""
    return f"{plural(tokens, 'token')} in {duration(seconds)}{speed}."


def talks(names: Sequence[str], turns: Sequence[Sequence[Mapping[str, str]]], writing: Sequence[bool],
          notes: Sequence[str]) -> str:
    """Return a column for each model with its conversation; `writing` marks those whose last turn is not finished."""
    return _columns(_column(name, _talk(said, busy) + (f'<p class="ps-muted">{esc(note)}</p>' if note else ""))
                    for name, said, busy, note in zip(names, turns, writing, notes, strict=True))


def _talk(turns: Sequence[Mapping[str, str]], busy: bool) -> str:
    body = "".join(_turn(turn, busy and number == len(turns) - 1) for number, turn in enumerate(turns))
    return f'<ol class="ps-talk">{body}</ol>'


def _turn(turn: Mapping[str, str], going: bool) -> str:
    who = {"user": "You", "assistant": "Model", "system": "System"}
    end = "▍" if going else f' <i class="ps-cut">… {esc(turn["stopped"])}</i>' if turn.get("stopped") else ""
    return (f'<li class="ps-said-{esc(turn["role"])}"><b>{who.get(turn["role"], "")}</b>'
            f'{esc(turn["content"].strip())}{end}</li>')


def footer(answer: Mapping[str, Any]) -> str:
    """Return one line about a finished answer of a chat: how long, how fast, why it ended."""
    ends = {"eos": "", "length": " It reached the longest answer allowed."}
    note = f" {answer['note']}" if answer.get("note") else ""
    spent = timing(float(answer.get("seconds") or 0), int(answer.get("tokens") or 0))
    return f"{spent}{ends.get(str(answer.get('stopped')), '')}{note}"


def thumbnail(data: bytes, name: str) -> str:
    """Return a small picture of an image with its name and size; raises BrokenImage, ImageTooLarge."""
    width, height = image.measure(data, name)
    said = f'<figcaption>{esc(name)}, {width} × {height} pixels</figcaption>'
    if width * height > MOST_PIXELS:
        return f'<figure class="ps-thumbnail">{said}</figure>'
    small = base64.b64encode(image.thumbnail(data, name, THUMBNAIL)).decode()
    return (f'<figure class="ps-thumbnail"><img src="data:image/jpeg;base64,{small}" alt="The image that is asked '
            f'about: {esc(name)}">{said}</figure>')


# -- evaluation rows to try ------------------------------------------------------------------------------------------


def examples(user: User, chosen: Sequence[Adapter]) -> list[dict[str, Any]]:
    """Return evaluation rows of the run behind the first adapter as options to pick.

    The hardest and the easiest stand in turn. An option's value is JSON: `asked` (a value for each role), `expected`,
    `run` and, for a chat, `text`.
    """
    for row in chosen:
        if row.task not in tasks.every():
            continue
        found = _records(user, row)
        mixed = [record for pair in zip(found.get("best", []), found.get("worst", []), strict=False) for record in pair]
        options = [option for record in mixed[:MOST_EXAMPLES] if (option := _option(row, record)) is not None]
        if options:
            return options
    return []


def _option(row: Adapter, record: Mapping[str, Any]) -> dict[str, Any] | None:
    kind = tasks.get(row.task)
    asked = {role: " ".join(value) if isinstance(value, list) else str(value)
             for role, value in (record.get("asked") or {}).items()}
    text = _last_said(record) if kind.playground == "chat" else " · ".join(asked[role.name] for role in kind.asks
                                                                           if asked.get(role.name, "").strip())
    if not text.strip() or (kind.playground != "chat" and kind.lacks(asked)):
        return None
    if any(role.kind == "image" for role in kind.asks):
        text = str(record.get("input") or text)
    value = {"asked": asked, "text": text, "expected": expected_words(record.get("expected")), "run": row.run_id}
    return {"value": json.dumps(value, ensure_ascii=False), "title": _short(text)}


def expected_words(expected: Any) -> str:
    """Return the right answer as words; nothing where none is known."""
    if expected is None:
        return ""
    words = ", ".join(str(one) for one in expected) if isinstance(expected, list) else str(expected)
    return words.strip() or "nothing"


def example(value: str | None) -> dict[str, Any]:
    """Return what a picked option holds."""
    return json.loads(value) if value else {}


def _records(user: User, row: Adapter) -> dict[str, Any]:
    try:
        path = service.run_file(user, row.run_id, "examples.json") if row.run_id else None
        found = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (StudioError, OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _last_said(record: Mapping[str, Any]) -> str:
    """Return the last thing the user of a conversation said."""
    return _TURN.split(str(record.get("input") or ""))[-1].strip()


def _short(text: str) -> str:
    return text if len(text) <= 110 else text[:109] + "…"


def _columns(parts: Any) -> str:
    return f'<div class="ps-columns-play" aria-live="polite">{"".join(parts)}</div>'


def _column(name: str, body_html: str) -> str:
    return f'<section class="ps-player"><h2>{esc(name)}</h2>{body_html}</section>'
