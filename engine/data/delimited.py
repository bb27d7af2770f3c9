"""Rows of csv, tsv and one-text-a-line files as record batches of strings."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv

from engine.data.chunk_file import ChunkFile
from engine.data.compute import pc
from engine.data.dialect import LONE
from engine.data.errors import LineTooLong, QuoteNotClosed, TooManyColumns
from engine.data.faults import Faults
from engine.data.kinds import Widened
from engine.data.quotes import Quotes, unquoted, watched
from engine.data.source import Source
from engine.data.stream import STRAY_CR, Hooks, clean, size_text

#: Bytes parsed at a time. Arrow reads up to 32 blocks ahead, so they are small until a row needs more.
BLOCK = 1 << 20
LARGE_BLOCK = 4 << 20
MOST_COLUMNS = 10_000
_END = "\uf8feend\uf8fe"
_FIX = "Quote fields that hold the delimiter and correct the rows, or leave them out."


def batches(path: Path, source: Source, faults: Faults, hooks: Hooks,
            block: int = BLOCK) -> Iterator[pa.RecordBatch]:
    """Yield batches of string columns; raises Widened when a row needs LARGE_BLOCK, else DataError."""
    if len(source.columns) > MOST_COLUMNS:
        raise TooManyColumns(path.name, count=len(source.columns), limit=MOST_COLUMNS)
    if source.spaced:
        yield from _by_python(path, source, faults, hooks)
    else:
        yield from _by_arrow(path, source, faults, hooks, block)


def _by_arrow(path: Path, source: Source, faults: Faults, hooks: Hooks, block: int) -> Iterator[pa.RecordBatch]:
    """Parse with Arrow. A last row of our own must come out whole: if it does not, a quote was left open."""
    names = [str(i) for i in range(len(source.columns))]
    strays: list[bool] = []
    chunks = clean(path, source, hooks.shorter(block), block, lambda: strays.append(True))
    quotes = Quotes(source.delimiter)
    file = ChunkFile(_with_end(_followed(chunks, source, quotes, faults), source))
    offset = 2 if source.header else 1
    done = 0

    def unfit(row: pacsv.InvalidRow) -> str:
        if _END not in row.text:
            number = (row.number or offset) - offset + 1
            _ragged(faults, number, row.actual_columns, row.expected_columns)
        return "skip"

    waiting: pa.RecordBatch | None = None
    try:
        reader = pacsv.open_csv(
            pa.PythonFile(file, mode="r"),
            read_options=pacsv.ReadOptions(block_size=block, use_threads=False, column_names=names,
                                           skip_rows_after_names=1 if source.header else 0),
            parse_options=pacsv.ParseOptions(
                delimiter=source.delimiter or LONE, quote_char=source.quote or False,
                escape_char=source.escape or False, newlines_in_values=bool(source.quote), invalid_row_handler=unfit),
            convert_options=pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()),
                                                 strings_can_be_null=False, check_utf8=False))
        with closing(reader):
            for batch in reader:
                if waiting is not None and waiting.num_rows:
                    done += waiting.num_rows
                    yield _named(waiting, source, bool(strays))
                waiting = batch
    except (pa.ArrowInvalid, LineTooLong):
        if block < LARGE_BLOCK and (file.error is None or isinstance(file.error, LineTooLong)):
            raise Widened("block") from None
        raise file.error or _explained(path, done, waiting, source, quotes) from None
    whole = waiting is not None and waiting.num_rows and waiting.column(0)[-1].as_py() == _END
    if not whole:
        raise _explained(path, done, waiting, source, quotes)
    if waiting is not None and waiting.num_rows > 1:
        yield _named(waiting.slice(0, waiting.num_rows - 1), source, bool(strays))


def _followed(chunks: Iterator[bytes], source: Source, quotes: Quotes, faults: Faults) -> Iterator[bytes]:
    """Return the chunks, with their quotes followed where they mean anything: lines of plain text hold any."""
    if source.quote:
        return chunks if source.escape else watched(chunks, quotes, faults)
    return unquoted(chunks, source.delimiter, faults) if source.delimiter else chunks


def _explained(path: Path, done: int, waiting: pa.RecordBatch | None, source: Source, quotes: Quotes) -> Exception:
    row = done + (waiting.num_rows if waiting is not None else 0) + 1
    if source.quote:
        place = f"line {quotes.opened}" if quotes.inside else f"row {row}"
        return QuoteNotClosed(f"{path.name}, {place}", place=place)
    return LineTooLong(f"{path.name}, row {row}", line=row, limit=size_text(LARGE_BLOCK))


def _with_end(chunks: Iterator[bytes], source: Source) -> Iterator[bytes]:
    last = b"\n"
    for data in chunks:
        last = data[-1:]
        yield data
    mark = _END + (source.delimiter or "") * (len(source.columns) - 1)
    yield (b"" if last == b"\n" else b"\n") + mark.encode() + b"\n"


def _named(batch: pa.RecordBatch, source: Source, strays: bool) -> pa.RecordBatch:
    """Return the batch under its real names, with carriage returns back in their places where there are `strays`."""
    if not strays:
        return pa.RecordBatch.from_arrays(batch.columns, names=source.columns)
    mark = STRAY_CR.encode()
    columns = [pc.replace_substring(column, STRAY_CR, "\r") if _holds(column, mark) else column
               for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=source.columns)


def _holds(column: pa.Array, mark: bytes) -> bool:
    data = column.buffers()[2]
    return data is not None and mark in memoryview(data).tobytes()


def _ragged(faults: Faults, row: int, found: int, expected: int) -> None:
    many = "many" if found > expected else "few"
    columns = "is 1 column" if expected == 1 else f"are {expected} columns"
    what = f"Row {row} has too {many} fields: {found} where there {columns}."
    faults.add("ragged_rows", row, what, _FIX)


def _by_python(path: Path, source: Source, faults: Faults, hooks: Hooks, size: int = 5_000) -> Iterator[pa.RecordBatch]:
    """Parse with Python's csv module, which knows blanks after delimiters."""
    width = len(source.columns)
    held: list[list[str]] = []
    number = 0
    skip = source.header
    for row in _python_rows(path, source, hooks):
        if not row:
            continue
        if skip:
            skip = False
            continue
        number += 1
        if row[0] == _END:
            break
        if len(row) != width:
            _ragged(faults, number, len(row), width)
            continue
        held.append(row)
        if len(held) >= size:
            yield _strings(held, source)
            held = []
    else:
        raise QuoteNotClosed(f"{path.name}, row {number}", place=f"row {number}")
    if held:
        yield _strings(held, source)


def _python_rows(path: Path, source: Source, hooks: Hooks) -> Iterator[list[str]]:
    file = io.TextIOWrapper(io.BufferedReader(ChunkFile(_with_end(clean(path, source, hooks), source)), 1 << 16),
                            encoding="utf-8", newline="\n")
    csv.field_size_limit(1 << 28)
    yield from csv.reader(
        file, delimiter=source.delimiter, quotechar=source.quote or None, escapechar=source.escape or None,
        skipinitialspace=source.spaced, quoting=csv.QUOTE_MINIMAL if source.quote else csv.QUOTE_NONE)


def _strings(rows: list[list[str]], source: Source) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    return pa.RecordBatch.from_arrays(
        [pa.array([cell.replace(STRAY_CR, "\r") for cell in column], pa.string()) for column in columns],
        names=source.columns)
