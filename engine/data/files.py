"""Several files of a folder or archive as the rows of one table: tables under each other, or texts with their class."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

import pyarrow as pa
import pyarrow.types as pt

from engine.data import bundle, delimited, kinds
from engine.data.compute import pc
from engine.data.entries import Entry, Listing, bounded, opened
from engine.data.errors import TooManyColumns
from engine.data.faults import Faults
from engine.data.kinds import Widened
from engine.data.source import Source
from engine.data.stream import Hooks
from engine.errors import DataError
from engine.findings import Finding

#: The column that says which file a row came from, where there are several.
FILE = "file"
#: Bytes of a file looked at to name its columns.
_HEAD = 33 << 20
#: Share of the narrower file's columns that two files must have in common to be read as one.
_ALIKE = 0.5
_MOST_COLUMNS = 10_000
_TEXT_BYTES, _TEXT_ROWS = 8 << 20, 2_000
#: Most bytes of a file that is one text.
_LONGEST = 16 << 20


class Reading(Protocol):
    """One pass over one file, as `engine.data.read` makes it."""

    faults: Faults

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the batches from the start."""
        ...

    def findings(self) -> list[Finding]:
        """Return what was noticed."""
        ...


#: How a file is read: its path inside, where it lies now, hooks, rows wanted (None: all).
Make = Callable[[str, Path, Hooks, int | None], Reading]


class Pile:
    """What is known of the files from earlier passes: the kind of each column."""

    def __init__(self) -> None:
        """Start knowing nothing."""
        self.types: dict[str, pa.DataType] = {}
        self.empty: set[str] = set()
        self.started = False

    def learn(self, batch: pa.RecordBatch) -> None:
        """Widen the columns; raises Widened when rows were already given out with narrower ones.

        A column that is empty so far says nothing about its kind.
        """
        for field, column in zip(batch.schema, batch.columns, strict=True):
            known = self.types.get(field.name)
            if column.null_count == len(column) and len(column):
                if known is not None:
                    continue
                self.empty.add(field.name)
            elif field.name in self.empty:
                self.empty.discard(field.name)
                known = field.type if known == field.type else None
            joined = field.type if known is None else _joined(known, field.type)
            if joined != known:
                self.types[field.name] = joined
                if len(self.types) > _MOST_COLUMNS:
                    raise TooManyColumns(field.name, count=len(self.types), limit=_MOST_COLUMNS)
                if self.started:
                    raise Widened(field.name)
        self.started = True

    def dressed(self, batch: pa.RecordBatch, name: str | None) -> pa.RecordBatch:
        """Return a batch with all columns, and the name of its file where there are several."""
        columns = {field.name: _cast(batch.column(i), self.types[field.name]) for i, field in enumerate(batch.schema)}
        arrays = [columns.get(key, pa.nulls(batch.num_rows, kind)) for key, kind in self.types.items()]
        if name is None:
            return pa.RecordBatch.from_arrays(arrays, names=list(self.types))
        return pa.RecordBatch.from_arrays([*arrays, pa.array([name] * batch.num_rows, pa.string())],
                                          names=[*self.types, FILE])


def batches(path: Path, source: Source, faults: Faults, hooks: Hooks, pile: Pile, make: Make,
            rows: int | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the files that `source.part` names; raises Widened to start again, or DataError."""
    with opened(path) as every:
        found = bundle.plan(every, path.name)
        chosen = found.chosen(source.part)
        bounded(chosen, hooks, path.name)
        tell(found, source.part, faults, every)
        try:
            if found.labels and chosen and all(entry.path in found.labels for entry in chosen):
                reader = _documents if found.layout == "documents" else _classes
                yield from reader(chosen, found.labels, faults, hooks, rows)
            else:
                yield from _tables(chosen, faults, hooks, pile, make, rows)
        except DataError as error:
            if path.name not in error.where:
                error.where = f"{path.name}: {error.where}"
            raise


def tell(found: bundle.Plan, part: str, faults: Faults, every: Listing) -> None:
    """Note which files evaluate, which are left out, and what else of `every` file is no row."""
    _tell_hollow(found, faults, every)
    chosen = {entry.path for entry in found.chosen(part)}
    if found.eval and not part and not chosen & {entry.path for entry in found.eval}:
        faults.note(Finding(
            kind="parts_found", level="note",
            what=f"These rows are from {bundle.called(found.train)}; those to evaluate on stand in "
                 f"{bundle.called(found.eval)}.",
            try_this="Choose another part where it is added if that is not what you want."))
    left = [entry for entry in found.left if entry.path not in chosen]
    if left and not part:
        others = "1 other file is" if len(left) == 1 else f"{len(left):,} other files are"
        faults.note(Finding(kind="other_files", level="note", count=len(left), where=str(left[0].path),
                            what=f"{others} left out: {bundle.listed(left, 3)}.",
                            try_this="Go on, or add one of them by itself, or as the part to read."))


def _tell_hollow(found: bundle.Plan, faults: Faults, every: Listing) -> None:
    """Note links, which are not followed, and folders beside those of classes without a file in them."""
    if every.links:
        faults.note(Finding(kind="links_skipped", level="warning", where=every.links[0], count=len(every.links),
                            what=f"'{every.links[0]}' is a link to another file; links are not followed.",
                            try_this="Pack the file itself if its rows are wanted."))
    if found.layout not in ("images", "documents"):
        return
    classes = {entry.path.parent.parent for entry in found.train if entry.label}
    empty = [folder for folder in every.hollow() if folder.parent in classes]
    if empty:
        faults.note(Finding(kind="class_empty", level="warning", where=str(empty[0]), count=len(empty),
                            what=f"The folder '{empty[0]}' is empty, so there is no such class.",
                            try_this="Put the examples of that class into it, or remove it."))


def _tables(chosen: Sequence[Entry], faults: Faults, hooks: Hooks, pile: Pile, make: Make,
            rows: int | None) -> Iterator[pa.RecordBatch]:
    pile.started = False
    total, read, before = max(1, sum(entry.size for entry in chosen)), 0, 0
    differing: list[tuple[Entry, list[str]]] = []
    with tempfile.TemporaryDirectory(prefix="files-") as folder:
        names = _columns(max(chosen, key=lambda entry: entry.size), Path(folder), hooks, make) \
            if len(chosen) > 1 else None
        for entry in chosen:
            copy = entry.copy(Path(folder) / entry.path.name, hooks)
            reading = make(str(entry.path), copy, hooks.within(read / total, entry.size / total), rows)
            count = 0
            for batch in reading.batches():
                fitting = _fitting(batch, names)
                if fitting is None:
                    differing.append((entry, list(batch.schema.names)))
                    break
                pile.learn(fitting)
                count += batch.num_rows
                yield pile.dressed(fitting, str(entry.path) if len(chosen) > 1 else None)
                if rows is not None and before + count >= rows:
                    return
            faults.take(reading.findings(), entry.path.name, before)
            before, read = before + count, read + entry.size
            copy.unlink()
    if differing:
        faults.note(Finding(kind="files_differ", level="warning", where=str(differing[0][0].path), count=len(differing),
                            what=f"Other columns than those of the largest file stand in "
                                 f"{bundle.listed(entry for entry, _ in differing)} (such as "
                                 f"{', '.join(map(repr, differing[0][1][:4]))}); that is left out.",
                            try_this="Add it by itself if you need it."))


def _columns(entry: Entry, folder: Path, hooks: Hooks, make: Make) -> list[str]:
    """Return the columns of a file by its first batch."""
    copy = entry.copy(folder / entry.path.name, hooks)
    try:
        batch = next(iter(make("the columns of all", copy, hooks.within(0, 0), 20).batches()), None)
    finally:
        copy.unlink()
    return [] if batch is None else list(batch.schema.names)


def _fitting(batch: pa.RecordBatch, names: list[str] | None) -> pa.RecordBatch | None:
    """Return a batch with columns like those of the largest file; None for a file of another kind.

    A file without a header and with as many columns gets the names of the others.
    """
    if names is None or list(batch.schema.names) == names:
        return batch
    nameless = all(name.startswith("column_") for name in batch.schema.names)
    if nameless and len(names) == batch.num_columns:
        return batch.rename_columns(names)
    common = len(set(batch.schema.names) & set(names))
    return batch if common >= _ALIKE * min(batch.num_columns, len(names)) else None


def _classes(chosen: Sequence[Entry], labels: Mapping[PurePosixPath, str], faults: Faults, hooks: Hooks,
             rows: int | None) -> Iterator[pa.RecordBatch]:
    """Yield `text` and `label`, a line a row, from one file a class; a preview shows some of each."""
    from engine.data.sniff import sniff

    total, read = max(1, sum(entry.size for entry in chosen)), 0
    most = None if rows is None else max(1, -(-rows // len(chosen)))
    with tempfile.TemporaryDirectory(prefix="files-") as folder:
        for entry in chosen:
            copy = entry.copy(Path(folder) / entry.path.name, hooks)
            # Whatever its lines look like, they are one text each.
            found = sniff(copy).model_dump(include={"encoding", "compression", "newline"})
            lines = Source(format="text", columns=["text"], **found)
            part, count = hooks.within(read / total, entry.size / total), 0
            for batch in delimited.batches(copy, lines, faults, part, delimited.LARGE_BLOCK):
                texts = batch.column(0) if most is None else batch.column(0).slice(0, most - count)
                count += len(texts)
                yield _labelled(texts, [labels[entry.path]] * len(texts))
                if most is not None and count >= most:
                    break
            read += entry.size
            copy.unlink()


def _documents(chosen: Sequence[Entry], labels: Mapping[PurePosixPath, str], faults: Faults, hooks: Hooks,
               rows: int | None) -> Iterator[pa.RecordBatch]:
    """Yield `text` and `label`, one file a row, the class being the folder it lies in."""
    from engine.data.sniff import encoding_of

    if rows is not None and rows < len(chosen):
        # A preview shows some of every class, not only of the first.
        chosen = chosen[::max(1, len(chosen) // rows)]
    texts, known, weight = list[str](), list[str](), 0
    for number, entry in enumerate(chosen, 1):
        hooks.at(number / len(chosen))
        if entry.size > _LONGEST:
            faults.add("text_too_long", number, f"The file '{entry.path}' is too long for one text.",
                       "Split it, or leave it out.", where=str(entry.path))
            continue
        data = entry.read()
        encoding = encoding_of(data, str(entry.path)) if data else "utf-8"
        texts.append(data.decode(encoding, "replace").lstrip("\ufeff").replace("\0", " ").strip())
        known.append(labels[entry.path])
        weight += len(data)
        if weight > _TEXT_BYTES or len(texts) >= _TEXT_ROWS:
            yield _labelled(pa.array(texts, pa.string()), known)
            texts, known, weight = [], [], 0
    if texts:
        yield _labelled(pa.array(texts, pa.string()), known)


def _labelled(texts: pa.Array, labels: list[str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([texts, pa.array(labels, pa.string())], names=["text", "label"])


def _joined(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    """Return the narrowest kind of column that holds both."""
    if first == second:
        return first
    if {first, second} == {pa.int64(), pa.float64()}:
        return pa.float64()
    return pa.string()


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if array.type == kind:
        return array
    if array.null_count == len(array):
        return pa.nulls(len(array), kind)
    if pt.is_nested(array.type):
        return kinds.array(array.to_pylist(), "json", "", 1, Faults())
    return pc.cast(array, kind)
