"""How long a dataset's rows are for a base model, and what the chosen maximum length makes of them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from db import datasets
from db.blobs import Blobs
from db.looks import Look
from db.tables import Dataset
from db.users import User
from engine import tasks
from engine.data.findings import note, warning
from engine.data.paging import intact
from engine.data.token_lengths import TokenLengths, tokens_a_character
from engine.errors import StudioError
from engine.findings import Finding
from engine.shape import ModelShape
from engine.spec import RunSpec
from studio.service import looks

#: Rows whose script tells how many characters a token has.
PEEKED = 200
#: Share of cut rows from which on it is a warning.
MANY = 0.01
#: The least that the maximum length may be set to.
LEAST = 8


def look(user: User, spec: RunSpec, dataset: Dataset | None, *, ask: bool = False) -> Look:
    """Return how far counting the tokens of a run's rows is; `ask` has a worker count them where nobody did.

    In state "missing" too where they cannot be known beforehand: the run reads other columns or takes other steps than
    the dataset's own, or nothing of it is cut.
    """
    task = spec.make_task()
    if dataset is None or dataset.state != "ready" or dataset.parquet_key is None or task.reads != "text" \
            or task.beyond == "windows":
        return Look()
    own = (dataset.task, dataset.columns, _whole(dataset.task, dataset.options), dataset.steps)
    steps = [step.model_dump(mode="json") for step in spec.data.steps]
    if own != (spec.task, spec.data.columns, _whole(spec.task, spec.data.options), steps):
        return Look()
    try:
        return looks.lengths(user, dataset.id, spec.model.id, spec.model.revision, ask=ask)
    except StudioError:
        return Look()


def counted(user: User, spec: RunSpec, dataset: Dataset | None, *, ask: bool = False) -> TokenLengths | None:
    """Return the lengths in tokens of a run's rows where they were counted."""
    return lengths_of(look(user, spec, dataset, ask=ask))


def lengths_of(found: Look) -> TokenLengths | None:
    """Return the lengths in tokens that counting came to, None where it is not done."""
    try:
        made = TokenLengths.model_validate(found.found) if found.state == "ready" else None
    except ValidationError:
        return None
    return made if made is not None and made.lengths else None


def await_counted(user: User, spec: RunSpec, seconds: float, seen: Callable[[], object] = lambda: None) -> None:
    """Have the tokens of a run's rows counted, and wait for it up to so many seconds."""
    until = time.monotonic() + seconds
    while look(user, spec, datasets.get(user, spec.data.train), ask=True).working and time.monotonic() < until:
        seen()
        time.sleep(0.1)


def estimated(dataset: Dataset) -> tuple[int, int]:
    """Return (characters, tokens) that 95 % of the rows stay within, the tokens a generous guess; 0 where unknown."""
    spread = (dataset.stats or {}).get("characters")
    if not spread:
        return 0, 0
    return math.ceil(spread["p95"]), math.ceil(spread["p95"] * tokens_a_character(_texts(dataset))) + 2


def told(spec: RunSpec, shape: ModelShape, lengths: TokenLengths | None) -> list[dict[str, Any]]:
    """Return what a person should know about a run's maximum length: that it is cut down, or cuts rows."""
    if spec.make_task().reads != "text":
        return []
    taken = spec.method.virtual_tokens(shape.for_task(spec.task))
    if shape.max_length and taken >= shape.max_length:
        # No text is read at all: the method itself says so.
        return []
    asked, room = spec.training.max_length, limit(spec, shape)
    found: list[Finding] = []
    if asked > room:
        beside = f" leaves room for beside {taken:,} virtual tokens" if taken else " takes"
        less = f"Choose at most {room:,}" if room >= LEAST else "Give the method fewer virtual tokens"
        found.append(warning("max_length_beyond", f"Max length {asked:,} is more than this base model{beside}: the run "
                             f"uses {room:,} tokens.", "training.max_length",
                             f"{less}, or {'' if room >= LEAST else 'choose '}a base model that takes longer texts."))
    length = min(asked, room)
    share = lengths.over(length) if lengths is not None else 0.0
    if lengths is not None and share:
        made = warning if share >= MANY else note
        every = share == 1.0
        what = f"All rows are longer than {length:,} tokens and will be cut. Is that what you want?" if every else \
            f"{_percent(share)} of {lengths.told} are longer than {length:,} tokens and will be cut."
        found.append(made("too_long", what, "training.max_length", _longer(lengths, length, room)))
    return [one.model_dump(mode="json") for one in found]


def limit(spec: RunSpec, shape: ModelShape) -> int:
    """Return the most tokens of a text that the base model leaves room for beside the method's own."""
    if not shape.max_length:
        return spec.training.max_length
    return max(1, shape.max_length - spec.method.virtual_tokens(shape.for_task(spec.task)))


def _whole(task: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task's options with the defaults of those left out; as they are where they are not valid."""
    kind = tasks.every().get(task or "")
    try:
        return kind.model_validate({"name": task, **options}).model_dump(mode="json") if kind else dict(options)
    except ValidationError:
        return dict(options)


def _longer(lengths: TokenLengths, length: int, room: int) -> str:
    """Return what to do about rows that are cut."""
    fits = lengths.within(0.95)
    if length < room:
        return f"Raise max length: 95 % of {lengths.told} have at most {fits:,} tokens, the longest " \
               f"{lengths.lengths[-1]:,}; this base model takes {room:,}."
    return f"Split or shorten the texts (95 % have at most {fits:,} tokens), or choose a base model that takes longer."


def _percent(share: float) -> str:
    return f"{share:.1%}".replace("%", " %") if share >= 0.001 else "Less than 0.1 %"


def _texts(dataset: Dataset) -> Sequence[str]:
    """Return the first texts of the columns that play a part, one a cell; none where the rows are not there."""
    path = Blobs().local(dataset.parquet_key) if dataset.parquet_key else None
    kind = tasks.every().get(dataset.task or "")
    if path is None or kind is None or not path.is_file():
        return []
    with intact(path), pq.ParquetFile(path) as file:
        names = [name for name in file.schema_arrow.names if name in set(dataset.columns.values())]
        first = next(file.iter_batches(batch_size=PEEKED, columns=names), None) if names else None
    if first is None:
        return []
    values = pa.Table.from_batches([first]).to_pydict().values()
    return [one if isinstance(one, str) else json.dumps(one, ensure_ascii=False, default=str)
            for column in values for one in column if one is not None]
