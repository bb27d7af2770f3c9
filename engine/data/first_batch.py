"""What the model really sees: the first rows as tokens, with what is learned of each, and how much is cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from engine.data.errors import Cancelled

if TYPE_CHECKING:
    from engine.tasks.base import Task

#: Rows shown, tokens shown of one sequence, and rows counted to tell how many are cut.
ROWS, SHOWN, COUNTED = 8, 2_048, 2_000
SEED = 0
#: How tokenizers write a blank before a word, and a line break.
_SIGNS = str.maketrans({"Ġ": "·", "▁": "·", "Ċ": "⏎"})


class Token(BaseModel):
    """A token: its number and text, whether the loss counts it, and the tag or mark it is to get."""

    id: int
    text: str
    learned: bool = False
    tag: str = ""
    special: bool = False


class Piece(BaseModel):
    """Tokens in a row; `title` tells apart what is read and what is to be written. `cut` counts those not shown."""

    title: str = ""
    tokens: list[Token]
    length: int
    cut: int = 0


class Example(BaseModel):
    """One encoded row (counted from 1) and its answer where that is one for the whole row."""

    row: int
    sequences: list[Piece]
    answer: str = ""
    targets: int = 0


class Batch(BaseModel):
    """The first batch and what holds for all rows.

    `learns` says what the loss counts: "rows", "tokens" or "targets". `truncated` of `counted` rows are longer than
    `max_length`; `lengths` are tokens of the median, of 95 % and of the longest of them.
    """

    max_length: int
    learns: Literal["rows", "tokens", "targets"]
    examples: list[Example]
    counted: int
    truncated: int
    windows: int
    lengths: dict[str, int]
    padding: float
    note: str = ""


def make(table: pa.Table, task: Task, columns: Mapping[str, str], tokenizer: Any, max_length: int,
         progress: Callable[[float], None] | None = None, cancelled: Callable[[], bool] | None = None) -> Batch:
    """Return the first batch of a table of texts exactly as training encodes it; raises DataError, Cancelled."""
    at = progress or (lambda _: None)
    labels = task.label_names(table, columns)
    note = task.prepare_tokenizer(tokenizer, columns)
    shown = task.encode(table.slice(0, ROWS), columns, tokenizer, max_length, labels)
    at(0.5)
    if cancelled is not None and cancelled():
        raise Cancelled()
    chosen = np.arange(table.num_rows)
    if len(chosen) > COUNTED:
        chosen = np.sort(np.random.default_rng(SEED).choice(len(chosen), COUNTED, replace=False))
    counted = task.encode(table.take(pa.array(chosen)), columns, tokenizer, max_length, labels)
    lengths = np.array([task.length(row) for row in counted.rows] or [0])
    spread = {"median": int(np.median(lengths)), "p95": int(np.percentile(lengths, 95)), "longest": int(lengths.max())}
    specials = set(getattr(tokenizer, "all_special_ids", []))
    examples = [_example(row, i, tokenizer, labels, specials) for i, row in enumerate(shown.rows[:2 * ROWS])]
    own = [task.length(row) for row in shown.rows]
    at(1.0)
    return Batch(
        max_length=max_length, learns=_learns(shown.rows), examples=examples, counted=len(chosen),
        truncated=counted.truncated, windows=len(counted.rows), note=note,
        lengths=spread,
        padding=round(1 - sum(own) / (max(own) * len(own)), 4) if own and max(own) else 0.0)


def _learns(rows: Sequence[Mapping[str, Any]]) -> Literal["rows", "tokens", "targets"]:
    """Return what the loss counts: told by the form of the targets."""
    if not rows or "offsets" in rows[0] or not isinstance(rows[0].get("labels"), np.ndarray):
        return "rows"
    return "tokens" if all(len(row["labels"]) == len(row["input_ids"]) and _own_places(row) for row in rows) \
        else "targets"


def _own_places(row: Mapping[str, Any]) -> bool:
    """Tell whether targets stand at the places of the tokens: they are the tokens, or tags of the words."""
    learned = row["labels"] != -100
    return "words" in row or bool((row["labels"][learned] == row["input_ids"][learned]).all())


def _example(row: Mapping[str, Any], place: int, tokenizer: Any, labels: Sequence[str], specials: set[int]) -> Example:
    number = int(row.get("row", place)) + 1
    given, ids = row.get("labels"), row["input_ids"]
    if "offsets" in row:
        return _answered(row, number, tokenizer, specials)
    if isinstance(given, np.ndarray):
        if _learns([row]) == "targets":
            target = _sequence(given, tokenizer, specials, title="to be written", learned=np.ones(len(given), bool))
            return Example(row=number, targets=len(given),
                           sequences=[_sequence(ids, tokenizer, specials, title="read"), target])
        learned = given != -100
        tags = [labels[int(tag)] if known else "" for tag, known in zip(given, learned, strict=True)] \
            if "words" in row and labels else None
        return Example(row=number, targets=int(learned.sum()),
                       sequences=[_sequence(ids, tokenizer, specials, learned=learned, tags=tags)])
    return Example(row=number, sequences=[_sequence(ids, tokenizer, specials)], answer=_answer(given, labels),
                   targets=int(given is not None and given != -100))


def _answered(row: Mapping[str, Any], number: int, tokenizer: Any, specials: set[int]) -> Example:
    """Return a window of a passage with the tokens of its answer marked."""
    first, last = (int(place) for place in row["labels"][:2])
    learned = np.zeros(len(row["input_ids"]), dtype=bool)
    if first >= 0:
        learned[first:last + 1] = True
    tags = ["answer" if marked else "" for marked in learned]
    said = "not learned from: its answer was not found" if first < 0 else \
        "no answer in this window" if first == last == 0 else "the answer is marked"
    return Example(row=number, answer=said, targets=int(first >= 0), sequences=[
        _sequence(row["input_ids"], tokenizer, specials, learned=learned, tags=tags)])


def _answer(given: Any, labels: Sequence[str]) -> str:
    if isinstance(given, list):
        return ", ".join(label for label, value in zip(labels, given, strict=False) if value) or "none"
    if isinstance(given, int | np.integer):
        return labels[int(given)] if 0 <= given < len(labels) else "unknown"
    return "" if given is None else f"{float(given):g}"


def _sequence(ids: np.ndarray, tokenizer: Any, specials: set[int], *, title: str = "",
              learned: np.ndarray | None = None, tags: Sequence[str] | None = None) -> Piece:
    numbers = [int(number) for number in ids[:SHOWN]]
    texts = tokenizer.convert_ids_to_tokens(numbers)
    tokens = [Token(id=number, text=_text(text), special=number in specials,
                    learned=bool(learned[i]) if learned is not None else False, tag=tags[i] if tags else "")
              for i, (number, text) in enumerate(zip(numbers, texts, strict=True))]
    return Piece(title=title, tokens=tokens, length=len(ids), cut=max(0, len(ids) - SHOWN))


def _text(piece: Any) -> str:
    """Return a token as a person reads it: blanks and line breaks as signs."""
    return str(piece if piece is not None else "?").translate(_SIGNS)
