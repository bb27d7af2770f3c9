"""Broken tables: csv and tsv, JSON by columns, parquet, Arrow, Excel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
from beast import (
    COLUMNS,
    GOOD,
    HEADER,
    ROWS,
    Beast,
    changed,
    data,
    document,
    lines,
    parquet,
    scrambled,
    table,
    workbook,
    zipped,
)

PARQUET, BOOK = parquet(COLUMNS), workbook([HEADER, *ROWS])
QUOTED = b"text,label\n" + b"".join(f'"{text}",{label}\n'.encode() for text, label in ROWS)
WIDE = [f"c{i}" for i in range(10_001)]


def arrow(path: Path) -> None:
    """Write a whole Arrow file."""
    rows = pa.table(COLUMNS)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, rows.schema) as out:
        out.write_table(rows)


def stream(path: Path, count: int = len(ROWS)) -> None:
    """Write an Arrow stream of the first `count` rows."""
    rows = pa.table(COLUMNS).slice(0, count)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, rows.schema) as out:
        out.write_table(rows)


def wide(count: int, rows: int = 40) -> bytes:
    """Return a table of a text, a label and many columns of numbers, `count` in all."""
    return table([(text, label, *["1"] * (count - 2)) for text, label in ROWS[:rows]], (*HEADER, *WIDE[:count - 2]))


def formulas(path: Path) -> None:
    """Write a workbook whose labels are formulas nobody has counted."""
    book = openpyxl.Workbook()
    sheet: Any = book.active
    for row in [HEADER, *ROWS, ("a text", '=IF(A1="x","cat","dog")')]:
        sheet.append(row)
    book.save(path)


BEASTS = [
    Beast("cut.parquet", changed(PARQUET, lambda content: content[:-40]), "parquet_broken"),
    Beast("footer.parquet", changed(PARQUET, scrambled(-60, -8)), "parquet_broken"),
    Beast("pages.parquet", changed(PARQUET, scrambled(4, 40)), "parquet_broken"),
    Beast("tiny.parquet", data(b"PAR1PAR1"), "parquet_broken"),
    Beast("quote.csv", data(GOOD + b'"never closed,cat\nmore,dog\n'), "quote_not_closed"),
    Beast("quote_at_the_end.csv", data(QUOTED + b'"never closed,cat'), "quote_not_closed"),
    Beast("quote_between.csv", data(QUOTED + b'"never closed,cat\n' + QUOTED[11:]), "quote_not_closed", "error"),
    Beast("quote_alone.csv", data(GOOD + b'"never closed,cat\n' + GOOD[11:]), "quote_not_closed"),
    Beast("quote_at_the_end.tsv", data(QUOTED.replace(b",", b"\t") + b'"never closed\tcat\n'), "quote_not_closed"),
    Beast("quote_of_a_column.csv", data(b'text\n' + b'"a text, of many words"\n' * 40 + b'"never closed\n'),
          "quote_not_closed"),
    Beast("quote_after_blanks.csv", data(QUOTED.replace(b",", b', ') + b'"never closed, "cat"\n'), "ragged_rows",
          "error"),
    Beast("quotes_inside.csv", data(QUOTED + b'"He said "no" to me",cat\n'), "quote_inside", "warning"),
    Beast("inches.tsv", data(table(ROWS, delimiter="\t") + b'6" of it\tcat\n"5 inches\tdog\n'), "quote_lone",
          "warning"),
    Beast("many_fields.csv", data(GOOD + b"too, many, fields,cat\n"), "ragged_rows", "error"),
    Beast("few_fields.csv", data(GOOD + b"too few\n"), "ragged_rows", "error"),
    Beast("few_fields.tsv", data(table(ROWS, delimiter="\t") + b"a\tb\tc\td\n"), "ragged_rows", "error"),
    Beast("unlabelled.txt", lines(*(["NUM:date When is it ?", "HUM:ind Who is it ?"] * 60), "no label here"),
          "ragged_rows", "error"),
    Beast("settings.json", data(b'{"model": {"layers": {"a": 1}}, "list": [1, 2, 3]}'), "unequal_columns"),
    Beast("ragged_columns.json", data(b'{"text": ["a", "b"], "label": [1, 2, 3]}'), "unequal_columns"),
    Beast("duplicate_header.csv", data(table([(*row, "x") for row in ROWS], ("text", "label", "label"))),
          "duplicate_header", "warning"),
    Beast("header_only.csv", data(b"text,label\n"), "no_rows", "error", {"text": "text", "label": "label"}),
    Beast("one_row.csv", data(b"text,label\nhello there,cat\n"), "one_row", "error",
          {"text": "text", "label": "label"}),
    Beast("nested.jsonl", lines(*({"text": f"row {i}", "label": i % 2, "extra": {"a": {"b": [{"c": i}]}}}
                                  for i in range(40))), "nested_json", "warning"),
    Beast("nameless.csv", data(table([(row[0], "x", row[1]) for row in ROWS], ("text", "", "label"))), "header_blank",
          "note"),
    Beast("ten_thousand_columns.csv", data(wide(10_000, 20)), "columns_many", "warning", heavy=True),
    Beast("more_columns.csv", data(wide(10_001)), "too_many_columns"),
    Beast("more_columns.jsonl", lines(*({"text": text, "label": label} | dict.fromkeys(WIDE, 1)
                                        for text, label in ROWS[:20])), "too_many_columns", heavy=True),
    Beast("new_columns.jsonl", lines(*({"text": f"text {i}"} | {f"k{i}_{j}": j for j in range(500)}
                                       for i in range(30))), "too_many_columns", heavy=True),
    Beast("more_columns.json", document({key: ["a", "b"] for key in WIDE}), "too_many_columns"),
    Beast("more_columns.parquet", parquet({key: ["a", "b"] for key in WIDE}), "too_many_columns", heavy=True),
    Beast("no_columns.parquet", parquet({}), "file_empty"),
    Beast("no_rows.parquet", parquet({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())}),
          "no_rows", "error"),
    Beast("bytes.parquet", parquet(COLUMNS | {"raw": [b"\x00\x01"] * 60}), "binary_columns", "warning"),
    Beast("nested.parquet", parquet(COLUMNS | {"extra": [{"a": {"b": [1]}}] * 60}), "nested_json", "warning"),
    Beast("same_names.parquet", lambda path: pa.parquet.write_table(pa.Table.from_arrays(
        [pa.array(COLUMNS["text"]), pa.array(COLUMNS["label"]), pa.array(COLUMNS["label"])],
        names=["text", "label", "label"]), path), "duplicate_header", "warning"),
    Beast("cut.arrow", changed(arrow, lambda content: content[:-30]), "arrow_broken"),
    Beast("scrambled.arrow", changed(arrow, scrambled(40, 200)), "arrow_broken"),
    Beast("cut_stream.arrow", changed(stream, lambda content: content[:-700]), "arrow_broken"),
    Beast("no_rows.arrow", lambda path: stream(path, 0), "no_rows", "error"),
    Beast("cut.xlsx", changed(BOOK, lambda content: content[:-200]), "archive_broken"),
    Beast("damaged.xlsx", changed(BOOK, scrambled(1500, 1700)), "workbook_broken"),
    Beast("bad_xml.xlsx", zipped({"[Content_Types].xml": "<x", "xl/workbook.xml": "<x"}), "workbook_broken"),
    Beast("encrypted.xlsx", data(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500) + "EncryptedPackage".encode(
        "utf-16-le") + bytes(200)), "not_a_table"),
    Beast("empty.xlsx", workbook([]), "workbook_empty"),
    Beast("only_header.xlsx", workbook([HEADER]), "no_rows", "error", {"text": "text", "label": "label"}),
    Beast("errors.xlsx", workbook([HEADER, *ROWS, ("a text", "#REF!")]), "cell_error", "warning", rows=(61,)),
    Beast("uncounted.xlsx", formulas, "formula_uncounted", "warning"),
    Beast("wide_row.xlsx", workbook([HEADER, *ROWS, ("a", "cat", "c", "d")]), "header_blank", "note"),
]
