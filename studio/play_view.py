"""What the playground shows: one column for each model asked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from db.tables import Adapter
from db.users import User
from engine import tasks
from engine.errors import StudioError
from studio import cards, service
from studio.text import duration, esc, plural

#: Labels shown with their probability; the rest are counted.
MOST_LABELS = 12
#: Evaluation rows offered.
MOST_EXAMPLES = 6
#: How an evaluation record of a chat names who speaks.
_TURN = re.compile(r"^(?:user|system): ", re.MULTILINE)


def waiting(kind: str) -> str:
    """Return what stands where answers will be."""
    text = ("Write a text, or take one of the evaluation rows, and see how sure each model is."
            if kind == "classify" else "Each model answers in a conversation of its own.")
    return f'<p class="ps-plot-empty">{esc(text)}</p>'


def verdicts(names: Sequence[str], answers: Sequence[Any], doing: str) -> str:
    """Return a column for each model: its label and a bar for each probability.

    None is still awaited; `doing` says what happens meanwhile, and is empty once nothing more will come.
    """
    return _columns(_verdict(name, answer, doing) for name, answer in zip(names, answers, strict=True))


def _verdict(name: str, answer: Any, doing: str) -> str:
    if answer is None:
        return _column(name, cards.progress(None, doing) if doing else '<p class="ps-muted">No answer.</p>')
    first: Mapping[str, Any] = answer[0]
    chances = sorted((first.get("probabilities") or {}).items(), key=lambda item: -item[1])
    bars = "".join(
        f'<li><span title="{esc(label)}">{esc(label)}</span><span class="ps-bar" aria-hidden="true">'
        f'<i style="width:{chance * 100:.1f}%"></i></span><span class="ps-num">{chance:.1%}</span></li>'
        for label, chance in chances[:MOST_LABELS])
    rest = len(chances) - MOST_LABELS
    more = f'<p class="ps-muted">and {plural(rest, "label")} less likely</p>' if rest > 0 else ""
    note = cards.note(first["note"], "warn") if first.get("note") else ""
    return _column(name, f'<p class="ps-verdict">{esc(first.get("label") or "no label")}</p>'
                   f'<ul class="ps-chances">{bars}</ul>{more}{note}')


def talks(names: Sequence[str], turns: Sequence[Sequence[Mapping[str, str]]], writing: Sequence[bool],
          notes: Sequence[str]) -> str:
    """Return a column for each model with its conversation; `writing` marks those whose last turn is not finished."""
    return _columns(_column(name, _talk(said, busy) + (f'<p class="ps-muted">{esc(note)}</p>' if note else ""))
                    for name, said, busy, note in zip(names, turns, writing, notes, strict=True))


def _talk(turns: Sequence[Mapping[str, str]], busy: bool) -> str:
    who = {"user": "You", "assistant": "Model", "system": "System"}
    body = "".join(
        f'<li class="ps-said-{esc(turn["role"])}"><b>{who.get(turn["role"], "")}</b>{esc(turn["content"].strip())}'
        f'{"▍" if busy and number == len(turns) - 1 else ""}</li>' for number, turn in enumerate(turns))
    return f'<ol class="ps-talk">{body}</ol>'


def footer(answer: Mapping[str, Any]) -> str:
    """Return one line about a finished answer: how long, how fast, why it ended."""
    tokens, seconds = int(answer.get("tokens") or 0), float(answer.get("seconds") or 0)
    speed = f", {tokens / seconds:.1f} a second" if seconds > 0 else ""
    ends = {"eos": "", "length": " It reached the longest answer allowed.", "cancelled": " Stopped."}
    note = f" {answer['note']}" if answer.get("note") else ""
    return f"{plural(tokens, 'token')} in {duration(seconds)}{speed}.{ends.get(str(answer.get('stopped')), '')}{note}"


def examples(user: User, chosen: Sequence[Adapter]) -> tuple[list[dict[str, Any]], bool]:
    """Return evaluation rows of the run behind the first adapter as options to pick, and whether they are pairs.

    The hardest and the easiest stand in turn.
    """
    for row in chosen:
        found = _records(user, row)
        mixed = [record for pair in zip(found.get("best", []), found.get("worst", []), strict=False) for record in pair]
        made = [(_asked(record), str(record.get("expected", ""))) for record in mixed[:MOST_EXAMPLES]]
        chats = row.task in tasks.every() and tasks.get(row.task).playground == "chat"
        options = [{"value": json.dumps(asked, ensure_ascii=False), "title": _short(asked["text"]),
                    "tag": "" if chats else expected[:40]} for asked, expected in made if asked["text"].strip()]
        if options:
            return options, any("text_pair" in asked for asked, _ in made)
    return [], False


def example(value: str | None) -> tuple[str, str]:
    """Return the text and the second text of a picked option."""
    asked = json.loads(value) if value else {}
    return str(asked.get("text", "")), str(asked.get("text_pair", ""))


def _records(user: User, row: Adapter) -> dict[str, Any]:
    try:
        path = service.run_file(user, row.run_id, "examples.json") if row.run_id else None
        found = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (StudioError, OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _asked(record: Mapping[str, Any]) -> dict[str, str]:
    """Return what a person would type; of a chat, the last thing its user said."""
    asked = record.get("input")
    if isinstance(asked, Mapping):
        return {"text": "", **{str(key): str(value) for key, value in asked.items()}}
    return {"text": _TURN.split(str(asked))[-1].strip()}


def _short(text: str) -> str:
    return text if len(text) <= 110 else text[:109] + "…"


def _columns(parts: Any) -> str:
    return f'<div class="ps-columns-play" aria-live="polite">{"".join(parts)}</div>'


def _column(name: str, body_html: str) -> str:
    return f'<section class="ps-player"><h3>{esc(name)}</h3>{body_html}</section>'
