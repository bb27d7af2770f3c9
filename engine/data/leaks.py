"""Rows that should not be alike: the same twice, nearly the same, and rows to evaluate on that training has seen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from engine.data import cells, near
from engine.data.compute import pc
from engine.data.stats import key_of

#: Groups and leaks listed, rows listed of one group, characters shown of a row.
LISTED, MEMBERS, SHOWN = 200, 20, 240
#: Characters of a text that are looked at, and pairs of texts compared at most: the likeliest.
READ, COMPARED = 1_000, 60_000


class Group(BaseModel):
    """Rows (counted from 1) whose inputs are the same or nearly so, with their answers where those differ."""

    rows: list[int]
    count: int
    text: str
    alike: float = 1.0
    answers: list[str] = []


class Leak(BaseModel):
    """A row to evaluate on, and the row to learn from that is like it; both counted from 1."""

    row: int
    same_as: int
    text: str
    alike: float = 1.0


class Problems(BaseModel):
    """What was found; `done` names the parts that were looked at. Lists are cut, counts are not."""

    rows: int = 0
    done: list[str] = []
    same: list[Group] = []
    same_count: int = 0
    near: list[Group] = []
    near_count: int = 0
    conflicts: list[Group] = []
    conflict_count: int = 0
    leaks: list[Leak] = []
    leak_count: int | None = None
    near_leak_count: int | None = None


def find(table: pa.Table, columns: Mapping[str, str], answers: Collection[str], eval_table: pa.Table | None = None, *,
         progress: Callable[[float, Problems], None] | None = None,
         cancelled: Callable[[], bool] | None = None) -> Problems:
    """Return repeated rows, near-duplicates and leaks, by what the model is given: all roles but `answers`.

    `progress` hears what is there yet. Images are compared by their bytes alone. Raises Cancelled.
    """
    columns = {role: name for role, name in columns.items() if name in table.column_names}
    inputs = [name for role, name in columns.items() if role not in answers] or list(columns.values())
    keys = key_of(table, inputs)
    names = _names(table, inputs, keys)
    found = Problems(rows=table.num_rows)
    given = [name for role, name in columns.items() if role in answers and name not in inputs]
    _same(found, keys, names, key_of(table, given) if given else None)
    pictured = any(cells.is_image(table.column(name)) for name in inputs)
    others = None if eval_table is None or not set(inputs) <= set(eval_table.column_names) else \
        key_of(eval_table, inputs)
    if others is not None and eval_table is not None:
        _leaks(found, keys, others, _names(eval_table, inputs, others))
    found.done.append("same")
    if progress is not None:
        progress(0.1, found)
    if not pictured:
        _near(found, keys, others, names, lambda part: progress(0.1 + 0.9 * part, found) if progress else None,
              cancelled)
    found.done.append("near")
    return found


def _names(table: pa.Table, inputs: Sequence[str], keys: pa.Array) -> pa.Array:
    """Return what each row is shown by: its text, or the name of its image."""
    pictures = [table.column(name) for name in inputs if cells.is_image(table.column(name))]
    return cells.image_names(pictures[0]) if pictures else keys


def _codes(keys: pa.Array) -> np.ndarray:
    """Return one number a row, equal for equal inputs, -1 for empty ones."""
    codes = np.asarray(keys.dictionary_encode().indices).astype(np.int64)
    codes[np.asarray(pc.equal(keys, ""))] = -1
    return codes


def _grouped(codes: np.ndarray) -> list[np.ndarray]:
    """Return the places of rows that have a number in common, groups by their first row."""
    order = np.argsort(codes, kind="stable")
    order = order[codes[order] >= 0]
    parts = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if len(order) else []
    return sorted((part for part in parts if len(part) > 1), key=lambda part: int(part[0]))


def _same(found: Problems, keys: pa.Array, names: pa.Array, answers: pa.Array | None) -> None:
    for places in _grouped(_codes(keys)):
        found.same_count += len(places) - 1
        group = _group(places, names, answers, 1.0)
        if len(found.same) < LISTED:
            found.same.append(group)
        if len(group.answers) > 1:
            found.conflict_count += len(places)
            if len(found.conflicts) < LISTED:
                found.conflicts.append(group)


def _group(places: np.ndarray, names: pa.Array, answers: pa.Array | None, alike: float) -> Group:
    own = [] if answers is None else answers.take(pa.array(places)).to_pylist()
    given = sorted({str(value or "") for value in own})
    return Group(rows=[int(place) + 1 for place in places[:MEMBERS]], count=len(places), alike=round(alike, 3),
                 text=_text(names, places[0]), answers=[answer[:80] for answer in given[:5]] if len(given) > 1 else [])


def _text(names: pa.Array, place: int) -> str:
    return str(names[int(place)].as_py() or "")[:SHOWN].replace("\x1f", " · ")


def _leaks(found: Problems, keys: pa.Array, others: pa.Array, names: pa.Array) -> None:
    at = np.array(pc.fill_null(pc.index_in(others, value_set=keys), -1))
    at[np.asarray(pc.equal(others, ""))] = -1
    places = np.flatnonzero(at >= 0)
    found.leak_count = len(places)
    found.leaks = [Leak(row=int(place) + 1, same_as=int(at[place]) + 1, text=_text(names, place))
                   for place in places[:LISTED]]


def _near(found: Problems, keys: pa.Array, others: pa.Array | None, names: pa.Array,
          progress: Callable[[float], None], cancelled: Callable[[], bool] | None) -> None:
    """Compare all different inputs of both tables, and sort the pairs into near-duplicates and leaks."""
    joined = keys if others is None else pa.concat_arrays([keys, others])
    _, first = np.unique(_codes(joined), return_index=True)
    first = np.sort(first)
    pairs = near.pairs(joined.take(pa.array(first)), letters=READ, most=COMPARED, progress=progress,
                       cancelled=cancelled)
    border = len(keys)
    own: list[near.Pair] = []
    leaked: dict[int, tuple[int, float]] = {}
    for pair in pairs:
        one, two = int(first[pair.first]), int(first[pair.second])
        if two < border:
            own.append(near.Pair(one, two, pair.alike))
        elif one < border and pair.alike > leaked.get(two, (0, 0.0))[1]:
            leaked[two] = (one, pair.alike)
    for places, alike in _clusters(own):
        found.near_count += len(places) - 1
        if len(found.near) < LISTED:
            found.near.append(_group(np.array(places), names, None, alike))
    if others is not None:
        found.near_leak_count = len(leaked)
        found.leaks += [Leak(row=place - border + 1, same_as=one + 1, alike=round(alike, 3),
                             text=_text(others, place - border))
                        for place, (one, alike) in sorted(leaked.items())[:LISTED]]


def _clusters(pairs: Sequence[near.Pair]) -> list[tuple[list[int], float]]:
    """Return the places that hang together, in order, with the least alike of each group's pairs."""
    grouped = near.groups(pairs)
    members: dict[int, list[int]] = {}
    for place in sorted({place for pair in pairs for place in (pair.first, pair.second)}):
        members.setdefault(grouped.get(place, place), []).append(place)
    least: dict[int, float] = {}
    for pair in pairs:
        group = grouped[pair.second]
        least[group] = min(pair.alike, least.get(group, 1.0))
    return [(members[key], least[key]) for key in sorted(members)]

