"""Files that are no tables, and texts whose bytes, letters, JSON or YAML are broken."""

from __future__ import annotations

import pickle
import sqlite3
from pathlib import Path

from beast import GOOD, ROWS, Beast, data, lines, zipped

FIELDS = "\n".join(f"- text: example {i}\n  label: {'cat' if i % 2 else 'dog'}" for i in range(30)) + "\n"
RECORDS = [{"text": text, "label": label} for text, label in ROWS]


def database(path: Path) -> None:
    """Write an SQLite database."""
    connection = sqlite3.connect(path)
    connection.execute("create table rows (text, label)")
    connection.commit()
    connection.close()


def endless_line(path: Path) -> None:
    """Write one line of 500 MB (sparse text) without writing 500 MB to disk."""
    with path.open("wb") as file:
        file.write(b"text,label\n" + b"fine,a\n" * 10 + b"x" * (20 << 20))
        file.truncate(500 << 20)


def endless_json(path: Path) -> None:
    """Write one JSON text of 40 MB."""
    path.write_bytes(b'[{"text": "' + b"x" * (40 << 20) + b'"}]')


def yaml_bomb(levels: int = 9) -> str:
    """Return a YAML of a few lines whose aliases spell 9 to the power of `levels` words."""
    rows = ["a0: &a0 [" + ", ".join(["lol"] * 9) + "]"]
    return "\n".join([*rows, *(f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * 9) + "]" for i in range(1, levels)),
                      "rows:", "- text: *a8"]) + "\n"


BEASTS = [
    Beast("empty.csv", data(b""), "file_empty"),
    Beast("blank.csv", data(b"\n \r\n\t\n"), "file_empty"),
    Beast("only_mark.csv", data(b"\xef\xbb\xbf"), "file_empty"),
    Beast("excel.csv", zipped({"xl/workbook.xml": "<xml/>"}), "not_a_table"),
    Beast("torch.csv", zipped({"archive/data.pkl": b"\x80\x02."}), "not_a_table"),
    Beast("old_excel.csv", data(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)), "not_a_table"),
    Beast("pickle.jsonl", lambda path: path.write_bytes(pickle.dumps({"text": ["a"], "label": [1]})), "not_a_table"),
    Beast("old_pickle.csv", lambda path: path.write_bytes(pickle.dumps([1, "a"], protocol=2)), "not_a_table"),
    Beast("png.csv", data(b"\x89PNG\r\n\x1a\n" + bytes(range(256))), "not_a_table"),
    Beast("jpeg.tsv", data(b"\xff\xd8\xff\xe0" + bytes(range(256))), "not_a_table"),
    Beast("pdf.csv", data(b"%PDF-1.7\n%\xe2\xe3\n1 0 obj"), "not_a_table"),
    Beast("sqlite.csv", database, "not_a_table"),
    Beast("html.csv", data(b"\n<!DOCTYPE html><html><body>404</body></html>"), "not_a_table"),
    Beast("xml.csv", data(b"<?xml version='1.0'?><rows><row/></rows>"), "not_a_table"),
    Beast("gguf.csv", data(b"GGUF" + bytes(64)), "not_a_table"),
    Beast("noise.csv", data(bytes((i * 7919 + i // 3) % 256 for i in range(4096))), "binary_file"),
    Beast("nul.csv", data(GOOD + b"a\0b,cat\n"), "nul_byte"),
    Beast("nuls.csv", data(GOOD + bytes(20) + GOOD), "nul_byte"),
    Beast("damaged_utf8.csv", data(b"text,label\n" + "é,a\nü,b\n".encode() * 30 + b"caf\xe9,a\n"),
          "invalid_text"),
    Beast("odd_utf16.csv", data(b"\xff\xfe" + "text,label\nfoo,a\n".encode("utf-16-le") + b"x"), "invalid_text"),
    Beast("endless.csv", endless_line, "line_too_long"),
    Beast("endless.json", endless_json, "line_too_long"),
    Beast("broken_line.jsonl", lines({"text": "a", "label": "x"}, {"text": "b", "label": "y"}, '{"text": "c", "la'),
          "broken_rows", "error"),
    Beast("numbers.jsonl", lines({"text": "a", "label": "x"}, {"text": "b", "label": "y"}, "17", "18"),
          "broken_rows", "error"),
    Beast("comma.json", data(b'[{"text": "a"} {"text": "b"}]'), "bad_json"),
    Beast("cut.json", data(b'[{"text": "a"}, {"text": "b"'), "bad_json"),
    Beast("tail.json", data(b'[{"text": "a"}, {"text": "b"}] and more'), "bad_json"),
    Beast("deep.json", data(b'[{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]"), "json_too_deep"),
    Beast("deep.jsonl", data(b'{"text": "a", "x": 1}\n{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"),
          "json_too_deep"),
    Beast("latin1.csv", data("text,label\ncafé au lait,a\nthé vert,b\n".encode("latin-1")), "old_encoding", "note"),
    Beast("broken_bytes.jsonl", data(b'{"text": "fine words", "label": "a"}\n{"text": "caf\xe9 x", "label": "b"}\n'),
          "invalid_utf8", "warning"),
    Beast("broken_bytes.json", data(b'[{"text": "fine words", "label": "a"}, {"text": "caf\xe9 x", "label": "b"}]'),
          "invalid_utf8", "warning"),
    Beast("ebcdic.csv", data(GOOD.decode().encode("cp500")), "old_encoding", "note"),
    Beast("shift_jis.csv", data(("text,label\n" + "これは猫です,cat\nそれは犬です,dog\n" * 30).encode("shift_jis")),
          "old_encoding", "note"),
    Beast("cyrillic.csv", data(("text,label\n" + "это большая кошка,cat\nэто собака,dog\n" * 30).encode("cp1251")),
          "old_encoding", "note"),
    Beast("two_encodings.csv", data(b"text,label\n" + "é à ü,cat\nö ä ß,dog\n".encode() * 30
                                    + "café,cat\n".encode("latin-1")), "invalid_text"),
    Beast("cut_letter.csv", data(GOOD + "last é".encode()[:-1]), "invalid_text"),
    Beast("surrogates.csv", data(GOOD + b"half \xed\xa0\xbd,cat\n" + "é ü ö ä ß é ü ö ä ß é ü,cat\n".encode()),
          "invalid_text"),
    Beast("garbled.csv", data(GOOD + "cafÃ© au lait,cat\nthÃ© vert,dog\n".encode()), "text_garbled", "warning",
          rows=(61, 62)),
    Beast("replaced.csv", data(GOOD + "caf\ufffd au lait,cat\n".encode()), "text_garbled", "warning", rows=(61,)),
    Beast("mark_in_header.csv", data(b"\xef\xbb\xbf" + GOOD), "byte_mark", "note"),
    Beast("two_marks.csv", data(b"\xef\xbb\xbf\xef\xbb\xbf" + GOOD), "byte_mark", "warning"),
    Beast("joined_files.csv", data(b"\xef\xbb\xbf" + GOOD + b"\xef\xbb\xbf" + GOOD), "byte_mark", "warning"),
    Beast("mark_inside.jsonl", lines(*RECORDS, '\ufeff{"text": "a", "label": "cat"}'),
          "broken_rows", "error", rows=(61,)),
    Beast("nan.json", data("NaN"), "not_rows"),
    Beast("single_quotes.jsonl", lines(*RECORDS, "{'text': 'a', 'label': 'cat'}"),
          "broken_rows", "error", rows=(61,)),
    Beast("key_twice.jsonl", lines(*RECORDS, '{"text": "a thing", "label": "cat", "text": "another"}'), "key_twice",
          "warning"),
    Beast("key_twice.json", data('[{"text": "a", "label": "x"}, {"text": "b", "label": "y", "label" : "z"}]'),
          "key_twice", "warning"),
    Beast("key_twice_inside.jsonl", lines(*({"text": f"row {i}", "label": i % 2} for i in range(9)), '{"text": "a", '
          '"label": 1, "extra": {"id": 1, "id": 2}}'), "key_twice", "warning"),
    Beast("column_twice.json", data('{"text": ["a", "b"], "label": ["x", "y"], "label": ["y", "x"]}'), "key_twice",
          "warning"),
    Beast("list_twice.json", data('{"data": [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}], "data": '
          '[{"text": "c", "label": "x"}]}'), "key_twice", "warning"),
    Beast("comments.json", data('[{"text": "a"}, // first\n{"text": "b"}]'), "bad_json"),
    Beast("trailing_comma.json", data('[{"text": "a"},{"text": "b"},]'), "bad_json"),
    Beast("number_too_long.json", data('[{"text": "a", "label": ' + "9" * 10_000 + "}]"), "bad_json"),
    Beast("python.yaml", data(FIELDS + "- text: !!python/object/apply:os.system [\"touch ran\"]\n  label: cat\n"),
          "yaml_broken"),
    Beast("python_mapping.yaml", data("rows:\n" + FIELDS + "- !!python/object/new:subprocess.Popen [[touch, ran]]\n"),
          "yaml_broken"),
    Beast("bomb.yaml", data(yaml_bomb()), "yaml_broken", heavy=True),
    Beast("listed_bomb.yaml", data("- text: &a words\n  label: *a\n" * 30), "yaml_broken"),
    Beast("deep.yaml", data("- " * 3_000 + "text: a\n- text: b\n"), "yaml_broken"),
    Beast("tabs.yaml", data(FIELDS + "- text: a\n\tlabel: cat\n"), "yaml_broken"),
    Beast("unlike_rows.yaml", data(FIELDS + "- just a text\n"), "broken_rows", "warning", rows=(31,)),
]
