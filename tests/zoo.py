"""Broken data files, each with the kind of the error or finding it must be met with.

`python tests/zoo.py DIR` writes them all, to try them by hand.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import pickle
import sqlite3
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = [(f"example number {i} about {'cats' if i % 2 else 'dogs'}", "cat" if i % 2 else "dog") for i in range(60)]


@dataclass(frozen=True)
class Beast:
    """A broken file: how to write it, and the kind it must be named by.

    `level` is "refused" when reading must stop, else that of the finding; `eval` writes a second file.
    """

    name: str
    write: Callable[[Path], object]
    kind: str
    level: str = "refused"
    columns: dict[str, str] | None = None
    problem: str = "single_label"
    eval: Callable[[Path], object] | None = None


def table(rows: list[tuple[object, ...]], header: tuple[str, ...] = ("text", "label"), delimiter: str = ",") -> bytes:
    """Return rows as csv bytes."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerows([header, *rows])
    return out.getvalue().encode()


def data(content: bytes) -> Callable[[Path], object]:
    """Return a writer of these bytes."""
    return lambda path: path.write_bytes(content)


def lines(*records: object) -> Callable[[Path], object]:
    """Return a writer of one JSON value a line; texts are written as they are."""
    text = "\n".join(item if isinstance(item, str) else json.dumps(item) for item in records) + "\n"
    return data(text.encode())


def chats(*conversations: list[tuple[str, object]]) -> Callable[[Path], object]:
    """Return a writer of conversations, the broken ones after 30 good ones."""
    good = [[("user", f"question {i}"), ("assistant", f"answer {i}")] for i in range(30)]
    return lines(*({"messages": [{"role": role, "content": text} for role, text in item]}
                   for item in [*good, *conversations]))


def zipped(member: str, content: bytes) -> Callable[[Path], object]:
    """Return a writer of a zip archive with one member."""
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(member, content)
    return write


def tarred(path: Path) -> None:
    """Write a tar archive."""
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("data.csv"), io.BytesIO(b""))


def database(path: Path) -> None:
    """Write an SQLite database."""
    connection = sqlite3.connect(path)
    connection.execute("create table rows (text, label)")
    connection.commit()
    connection.close()


def parquet(path: Path) -> None:
    """Write a whole parquet file."""
    pq.write_table(pa.table({"text": [row[0] for row in ROWS], "label": [row[1] for row in ROWS]}), path)


def cut_parquet(path: Path) -> None:
    """Write a parquet file without its end."""
    parquet(path)
    path.write_bytes(path.read_bytes()[:-40])


def scrambled_parquet(path: Path) -> None:
    """Write a parquet file whose footer is nonsense."""
    parquet(path)
    content = bytearray(path.read_bytes())
    content[-60:-8] = b"\xff" * 52
    path.write_bytes(content)


def scrambled_pages(path: Path) -> None:
    """Write a parquet file whose pages are nonsense."""
    parquet(path)
    content = bytearray(path.read_bytes())
    content[4:40] = b"\xff" * 36
    path.write_bytes(content)


def bomb(path: Path) -> None:
    """Write 64 MB of one short row, packed into little."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"text,label\n")
        for _ in range(64):
            file.write(b"so small,label\n" * ((1 << 20) // 15))


def endless_line(path: Path) -> None:
    """Write one line of 500 MB (sparse text) without writing 500 MB to disk."""
    with path.open("wb") as file:
        file.write(b"text,label\n" + b"fine,a\n" * 10 + b"x" * (20 << 20))
        file.truncate(500 << 20)


def endless_json(path: Path) -> None:
    """Write one JSON text of 40 MB."""
    path.write_bytes(b'[{"text": "' + b"x" * (40 << 20) + b'"}]')


GOOD = table(ROWS)
BEASTS = [
    Beast("empty.csv", data(b""), "file_empty"),
    Beast("blank.csv", data(b"\n \r\n\t\n"), "file_empty"),
    Beast("only_mark.csv", data(b"\xef\xbb\xbf"), "file_empty"),
    Beast("zip.csv", zipped("data.zip", GOOD), "nothing_inside"),
    Beast("excel.csv", zipped("xl/workbook.xml", b"<xml/>"), "not_a_table"),
    Beast("torch.csv", zipped("archive/data.pkl", b"\x80\x02."), "not_a_table"),
    Beast("old_excel.csv", data(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)), "not_a_table"),
    Beast("tar.csv", tarred, "not_a_table"),
    Beast("pickle.jsonl", lambda path: path.write_bytes(pickle.dumps({"text": ["a"], "label": [1]})), "not_a_table"),
    Beast("old_pickle.csv", lambda path: path.write_bytes(pickle.dumps([1, "a"], protocol=2)), "not_a_table"),
    Beast("png.csv", data(b"\x89PNG\r\n\x1a\n" + bytes(range(256))), "not_a_table"),
    Beast("jpeg.tsv", data(b"\xff\xd8\xff\xe0" + bytes(range(256))), "not_a_table"),
    Beast("pdf.csv", data(b"%PDF-1.7\n%\xe2\xe3\n1 0 obj"), "not_a_table"),
    Beast("sqlite.csv", database, "not_a_table"),
    Beast("html.csv", data(b"\n<!DOCTYPE html><html><body>404</body></html>"), "not_a_table"),
    Beast("xml.csv", data(b"<?xml version='1.0'?><rows><row/></rows>"), "not_a_table"),
    Beast("gguf.csv", data(b"GGUF" + bytes(64)), "not_a_table"),
    Beast("zip.csv.gz", data(gzip.compress(b"PK\x03\x04" + bytes(100) + b"a")), "not_a_table"),
    Beast("noise.csv", data(bytes((i * 7919 + i // 3) % 256 for i in range(4096))), "binary_file"),
    Beast("nul.csv", data(GOOD + b"a\0b,cat\n"), "nul_byte"),
    Beast("nuls.csv", data(GOOD + bytes(20) + GOOD), "nul_byte"),
    Beast("damaged_utf8.csv", data(b"text,label\n" + "é,a\nü,b\n".encode() * 30 + b"caf\xe9,a\n"),
          "invalid_text"),
    Beast("odd_utf16.csv", data(b"\xff\xfe" + "text,label\nfoo,a\n".encode("utf-16-le") + b"x"), "invalid_text"),
    Beast("cut.csv.gz", data(gzip.compress(GOOD * 3000)[:-400]), "gzip_broken"),
    Beast("flipped.csv.gz", data(bytearray(gzip.compress(GOOD))[:60] + b"\xff" * 60), "gzip_broken"),
    Beast("twice.csv.gz", data(gzip.compress(gzip.compress(GOOD))), "gzip_broken"),
    Beast("bomb.csv.gz", bomb, "expanded_too_large"),
    Beast("endless.csv", endless_line, "line_too_long"),
    Beast("endless.json", endless_json, "line_too_long"),
    Beast("cut.parquet", cut_parquet, "parquet_broken"),
    Beast("footer.parquet", scrambled_parquet, "parquet_broken"),
    Beast("pages.parquet", scrambled_pages, "parquet_broken"),
    Beast("tiny.parquet", data(b"PAR1PAR1"), "parquet_broken"),
    Beast("quote.csv", data(GOOD + b'"never closed,cat\nmore,dog\n'), "quote_not_closed"),
    Beast("many_fields.csv", data(GOOD + b"too, many, fields,cat\n"), "ragged_rows", "error"),
    Beast("few_fields.csv", data(GOOD + b"too few\n"), "ragged_rows", "error"),
    Beast("few_fields.tsv", data(table(ROWS, delimiter="\t") + b"a\tb\tc\td\n"), "ragged_rows", "error"),
    Beast("unlabelled.txt", lines(*(["NUM:date When is it ?", "HUM:ind Who is it ?"] * 60), "no label here"),
          "ragged_rows", "error"),
    Beast("broken_line.jsonl", lines({"text": "a", "label": "x"}, {"text": "b", "label": "y"}, '{"text": "c", "la'),
          "broken_rows", "error"),
    Beast("numbers.jsonl", lines({"text": "a", "label": "x"}, {"text": "b", "label": "y"}, "17", "18"),
          "broken_rows", "error"),
    Beast("comma.json", data(b'[{"text": "a"} {"text": "b"}]'), "bad_json"),
    Beast("cut.json", data(b'[{"text": "a"}, {"text": "b"'), "bad_json"),
    Beast("tail.json", data(b'[{"text": "a"}, {"text": "b"}] and more'), "bad_json"),
    Beast("settings.json", data(b'{"model": {"layers": {"a": 1}}, "list": [1, 2, 3]}'), "unequal_columns"),
    Beast("ragged_columns.json", data(b'{"text": ["a", "b"], "label": [1, 2, 3]}'), "unequal_columns"),
    Beast("deep.json", data(b'[{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]"), "json_too_deep"),
    Beast("deep.jsonl", data(b'{"text": "a", "x": 1}\n{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"),
          "json_too_deep"),
    Beast("nested.jsonl", lines(*({"text": f"row {i}", "label": i % 2, "extra": {"a": {"b": [{"c": i}]}}}
                                  for i in range(40))), "nested_json", "warning"),
    Beast("duplicate_header.csv", data(table([(*row, "x") for row in ROWS], ("text", "label", "label"))),
          "duplicate_header", "warning"),
    Beast("latin1.csv", data("text,label\ncafé au lait,a\nthé vert,b\n".encode("latin-1")), "old_encoding", "note"),
    Beast("header_only.csv", data(b"text,label\n"), "no_rows", "error", {"text": "text", "label": "label"}),
    Beast("one_row.csv", data(b"text,label\nhello there,cat\n"), "one_row", "error",
          {"text": "text", "label": "label"}),
    Beast("one_label.csv", data(table([(text, "cat") for text, _ in ROWS])), "one_label", "error"),
    Beast("nan_labels.csv", data(table([*ROWS, ("who knows", ""), ("and this", "NaN")])), "label_missing", "error"),
    Beast("null_labels.jsonl", lines(*({"text": f"row {i}", "label": None if i == 7 else i % 2} for i in range(40))),
          "label_missing", "error"),
    Beast("empty_texts.csv", data(table([*ROWS, ("", "cat"), ("  ", "dog")])), "text_empty", "warning"),
    Beast("no_texts.csv", data(table([("", label) for _, label in ROWS])), "text_empty", "error",
          {"text": "text", "label": "label"}),
    Beast("constant.csv", data(table([("the same", label) for _, label in ROWS])), "text_constant", "error",
          {"text": "text", "label": "label"}),
    Beast("wrong_column.csv", data(GOOD), "column_missing", "error", {"text": "sentence", "label": "label"}),
    Beast("twice_mapped.csv", data(GOOD), "column_twice", "error", {"text": "text", "label": "text"}),
    Beast("words_as_scores.csv", data(GOOD), "label_not_number", "error", {"text": "text", "label": "label"},
          "regression"),
    Beast("unseen.csv", data(GOOD), "label_unseen", "error", eval=data(table([*ROWS[:5], ("a cow", "cow")]))),
    Beast("eval_columns.csv", data(GOOD), "column_missing", "error", eval=data(table(ROWS[:5], ("body", "label")))),
    Beast("eval_empty.csv", data(GOOD), "no_rows", "error", eval=data(b"text,label\n")),
    Beast("capitals.csv", data(table([*ROWS, ("Cats", "Cat"), ("Dogs", "Dog")])), "labels_alike", "warning"),
    Beast("unbalanced.csv", data(table([(text, "dog" if i else "cat") for i, (text, _) in enumerate(ROWS)])),
          "label_unbalanced", "warning"),
    Beast("system_late.jsonl", chats([("user", "a"), ("assistant", "b"), ("system", "c")]), "system_late", "error"),
    Beast("two_users.jsonl", chats([("user", "a"), ("user", "b"), ("assistant", "c")]), "role_order", "warning"),
    Beast("answer_first.jsonl", chats([("assistant", "a"), ("user", "b"), ("assistant", "c")]), "role_order",
          "warning"),
    Beast("no_answer.jsonl", chats([("user", "a")]), "no_answer", "error"),
    Beast("open_end.jsonl", chats([("user", "a"), ("assistant", "b"), ("user", "c")]), "ends_with_question", "warning"),
    Beast("strange_role.jsonl", chats([("wizard", "a"), ("assistant", "b")]), "role_unknown", "error"),
    Beast("no_content.jsonl", chats([("user", None), ("assistant", "b")]), "content_missing", "error"),
    Beast("no_messages.jsonl", chats([]), "conversation_empty", "error"),
    Beast("odd_messages.jsonl", lines(*({"messages": [{"role": "user", "content": "a"},
                                                      {"role": "assistant", "content": "b"}]},) * 9,
                                      {"messages": ["hello", "hi"]}), "messages_malformed", "error"),
    Beast("texts_as_messages.jsonl", lines(*({"messages": "hello"},) * 30), "not_messages", "error"),
    Beast("lists_as_messages.jsonl", lines(*({"messages": ["hello", "hi"]},) * 30), "not_messages", "error"),
    Beast("objects_as_messages.jsonl", lines(*({"messages": [{"a": i}, {"b": i}]} for i in range(30))),
          "not_messages", "error"),
    Beast("broken_bytes.jsonl", data(b'{"text": "fine words", "label": "a"}\n{"text": "caf\xe9 x", "label": "b"}\n'),
          "invalid_utf8", "warning"),
    Beast("broken_bytes.json", data(b'[{"text": "fine words", "label": "a"}, {"text": "caf\xe9 x", "label": "b"}]'),
          "invalid_utf8", "warning"),
]


def main(folder: Path) -> None:
    """Write every broken file into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for beast in BEASTS:
        beast.write(folder / beast.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
