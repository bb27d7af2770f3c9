"""What the playground shows: one column for each model asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from studio import cards
from studio.text import duration, esc, plural

#: Labels shown with their probability; the rest are counted.
MOST_LABELS = 12


def verdicts(names: Sequence[str], answers: Sequence[Any]) -> str:
    """Return a column for each model: its label and a bar for each probability; None is still awaited."""
    return _columns(_verdict(name, answer) for name, answer in zip(names, answers, strict=True))


def _verdict(name: str, answer: Any) -> str:
    if answer is None:
        return _column(name, cards.progress(None, "Asking"))
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
    body = "".join(f'<li class="ps-said-{esc(turn["role"])}"><b>{who.get(turn["role"], "")}</b>{esc(turn["content"])}'
                   f'{"▍" if busy and number == len(turns) - 1 else ""}</li>' for number, turn in enumerate(turns))
    return f'<ol class="ps-talk">{body}</ol>'


def footer(answer: Mapping[str, Any]) -> str:
    """Return one line about a finished answer: how long, how fast, why it ended."""
    tokens, seconds = int(answer.get("tokens") or 0), float(answer.get("seconds") or 0)
    speed = f", {tokens / seconds:.1f} a second" if seconds > 0 else ""
    ends = {"eos": "", "length": " It reached the longest answer allowed.", "cancelled": " Stopped."}
    note = f" {answer['note']}" if answer.get("note") else ""
    return f"{plural(tokens, 'token')} in {duration(seconds)}{speed}.{ends.get(str(answer.get('stopped')), '')}{note}"


def _columns(parts: Any) -> str:
    return f'<div class="ps-columns-play" aria-live="polite">{"".join(parts)}</div>'


def _column(name: str, body_html: str) -> str:
    return f'<section class="ps-player"><h3>{esc(name)}</h3>{body_html}</section>'
