"""How a delimited text is written: delimiter, quotes, header."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter

from engine.data import names as known_names
from engine.data.source import Source

DELIMITERS = (",", "\t", ";", "|")
#: Delimiters that few files have; they must part nearly every row alike.
RARE = ("||", "::", "^", "~", "\x01", "\x1e", "\x1f", "¦", "§")
_SURE = 0.98
#: Stands for the delimiter of a file with one column, where no character separates anything, and for one of several
#: letters or beyond ASCII while rows are parsed.
LONE = "\x1f"
_NAME = re.compile(r"^[\w .\-/#()\[\]:&%?*+@$=<>'~^{}°]{1,48}$")
_NUMBER = re.compile(r"^\s*[-+]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][-+]?\d+)?\s*$")
_SAMPLE_ROWS = 400
#: Rows from which on a value that comes only once is telling.
MANY = 10
#: Characters looked at to tell whether quotes enclose the cells of a single column.
_LONE_SAMPLE = 8 << 20
_CELL = re.compile(r'"([^"]*(?:""[^"]*)*)"(?=\n|\Z)|([^"\n][^\n]*)|\n+')


def detect(text: str, whole: bool, sample: bytes = b"", *, header: bool | None = None) -> Source:
    """Return format, delimiter, quote, header and columns of a text; `whole` tells that nothing follows it.

    `sample` may hold a longer stretch of the file, to judge quotes by; `header` is what a person has said of it.
    """
    delimiter, quote, spaced = _delimiter(text, whole)
    separator = ""
    if len(delimiter) > 1 or not delimiter.isascii():
        separator, delimiter = delimiter, LONE
        text = text.replace(separator, LONE)
    if not (delimiter and quote) and _is_quoted_column(text, whole, sample):
        delimiter, quote, spaced = "", '"', False
    if delimiter == "\t" and sample and '"' in text:
        quote = '"' if _tab_quotes(sample) else ""
    elif delimiter in DELIMITERS and '"' in text:
        quote = _quote(text, delimiter, quote, whole, spaced)
    rows = rows_of(text, delimiter, quote, whole=whole, limit=_SAMPLE_ROWS, spaced=spaced)
    escape = "\\" if quote and re.search(r'\\"(?!\s*(?:[,;|\t\n]|$))', text) and '""' not in text else ""
    if escape:
        rows = rows_of(text, delimiter, quote, whole=whole, limit=_SAMPLE_ROWS, spaced=spaced, escape=escape)
    header = has_header(rows) if header is None else header
    width = Counter(len(row) for row in rows[1:] or rows).most_common(1)[0][0]
    first = rows[0] if header else [""] * width
    return Source(format="tsv" if delimiter == "\t" else "csv", delimiter=delimiter, separator=separator, quote=quote,
                  escape=escape, spaced=spaced, header=header,
                  columns=column_names(first, "text" if not delimiter else ""))


def rows_of(text: str, delimiter: str, quote: str, *, whole: bool, limit: int, spaced: bool = False,
            escape: str = "") -> list[list[str]]:
    """Return up to `limit` rows that are not empty; the last, which may be cut, is left out unless `whole`."""
    if not delimiter and not quote:
        lines = [[line] for line in text.split("\n")[:limit + 1] if line.strip()]
        return lines if whole or len(lines) < 2 else lines[:-1]
    reader = csv.reader(io.StringIO(text.replace("\0", ""), newline="\n"), delimiter=delimiter or LONE,
                        quotechar=quote or None, quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
                        skipinitialspace=spaced, escapechar=escape or None)
    rows: list[list[str]] = []
    csv.field_size_limit(1 << 28)
    try:
        for row in reader:
            if row:
                rows.append(row)
            if len(rows) > limit:
                return rows[:limit]
    except csv.Error:
        return rows or [[""]]
    return rows if whole or len(rows) < 2 else rows[:-1]


def column_names(first: list[str], lone: str = "") -> list[str]:
    """Return usable, distinct column names; nameless ones become column_1, column_2 ..."""
    names: dict[str, None] = {}
    for place, cell in enumerate(first, 1):
        name = " ".join(cell.replace("\ufeff", "").split()) or (lone or f"column_{place}")
        again = 2
        plain = name
        while name in names:
            name, again = f"{plain} ({again})", again + 1
        names[name] = None
    return list(names)


def has_header(rows: list[list[str]]) -> bool:
    """Tell whether the first row holds names: short, distinct, wordy cells unlike those below them.

    Two well-known names that no row below repeats are enough, whatever stands beside them.
    """
    if not rows:
        return False
    first = [cell.strip() for cell in rows[0]]
    body = rows[1:]
    names = [cell for cell in first if cell]
    if not names:
        return False
    if _surely_named(first, body):
        return True
    if any(_NUMBER.match(cell) for cell in names):
        return False
    known = sum(1 for cell in names if known_names.plain(cell) in known_names.KNOWN)
    if not all(_NAME.match(cell) and len(cell.split()) <= 5 for cell in names):
        return False
    if known >= max(1, (len(names) + 1) // 2) and not _seen_below(first, body):
        return True
    if len(rows) == 1 or max(map(len, rows)) == 1:
        return known > 0 and not _seen_below(first, body)
    return not _seen_below(first, body) and (_unlike(first, body) or _apart(first, body))


def _surely_named(first: list[str], body: list[list[str]]) -> bool:
    """Tell whether two cells or more, and half of them, are well-known names that do not occur below."""
    known = [cell if known_names.plain(cell) in known_names.KNOWN else "" for cell in first]
    count = sum(1 for cell in known if cell)
    short = all(len(cell) <= 48 and len(cell.split()) <= 5 for cell in first)
    return short and count >= 2 and 2 * count >= len(first) and len(set(first)) == len(first) \
        and not _seen_below(known, body)


def _apart(first: list[str], body: list[list[str]]) -> bool:
    """Tell whether the first row stands apart: shorter than the rows, and no class of a column of few classes.

    In a file without names the first row's class would come again, as nearly all others do.
    """
    widths = [sum(len(cell.strip()) for cell in row) for row in body]
    if len(body) < MANY or len(set(first)) < len(first) or sum(map(len, first)) >= sum(widths) / len(widths):
        return False
    for place in range(len(first)):
        counts = Counter(row[place].strip() for row in body if len(row) > place and row[place].strip())
        once = sum(1 for count in counts.values() if count == 1)
        if counts and 2 * len(counts) <= counts.total() and once <= 0.1 * counts.total():
            return True
    return False


def _seen_below(first: list[str], body: list[list[str]]) -> bool:
    """Tell whether a cell of the first row is also a value of its column: a label, so not a name."""
    if any(row[:len(first)] == first for row in body):
        return False
    return any(cell and any(len(row) > place and row[place].strip() == cell for row in body)
               for place, cell in enumerate(first))


def _unlike(first: list[str], body: list[list[str]]) -> bool:
    """Tell whether the cells below differ in kind from the first row: numbers, or far longer texts."""
    if any(not cell for cell in first) and any(cell for cell in first):
        return True
    for place, cell in enumerate(first):
        column = [row[place].strip() for row in body if len(row) > place and row[place].strip()]
        if not column:
            continue
        numeric = sum(1 for value in column if _NUMBER.match(value)) / len(column)
        mean = sum(map(len, column)) / len(column)
        if numeric > 0.9 or (mean > 3 * len(cell) and mean > 20 and len(cell.split()) <= 2):
            return True
        if re.fullmatch(r"[a-z]+_[a-z_0-9]+|[vxy]\d*", cell) and mean > len(cell):
            return True
    return False


def _delimiter(text: str, whole: bool) -> tuple[str, str, bool]:
    """Return delimiter, quote and whether blanks follow delimiters: the pair that gives the steadiest rows."""
    rare = _rare(text, whole)
    if rare:
        return rare, '"' if f'{rare}"' in text or text.startswith('"') else "", False
    best: tuple[float, str, str, bool] = (0.0, "", "", False)
    for place, delimiter in enumerate(DELIMITERS):
        if delimiter not in text:
            continue
        spaced = bool(re.search(re.escape(delimiter) + r'[ ]+"', text)) and delimiter != "\t" and \
            not re.search(re.escape(delimiter) + '"', text)
        for quote in ('"', "") if '"' in text else ('"',):
            score = _steadiness(rows_of(text, delimiter, quote, whole=whole, limit=_SAMPLE_ROWS, spaced=spaced))
            score -= 0.0001 * place + (0.02 if not quote and delimiter != "\t" else 0.0)
            if score > best[0] + 1e-9:
                best = (score, delimiter, quote, spaced)
    if best[0] < 0.6:
        return "", "", False
    return best[1:]


def _rare(text: str, whole: bool) -> str:
    """Return the rare delimiter that parts nearly every row alike, where no usual one does so; "" without one."""
    def steady(delimiter: str) -> bool:
        rows = rows_of(text.replace(delimiter, LONE), LONE, "", whole=whole, limit=_SAMPLE_ROWS)
        usual, count = Counter(len(row) for row in rows or [[]]).most_common(1)[0]
        return usual > 1 and len(rows) > 1 and count >= _SURE * len(rows)

    found = next((mark for mark in RARE if mark in text and steady(mark)), "")
    if found and not any(mark in text and found not in (mark, 2 * mark) and steady(mark) for mark in DELIMITERS):
        doubled = len(found) == 2 and text.count(found[0]) > 2 * text.count(found)
        return "" if doubled and found[0] in DELIMITERS else found
    return ""


def _is_quoted_column(text: str, whole: bool, sample: bytes = b"") -> bool:
    """Tell whether quotes enclose the cells of a file with one column, rather than belong to lines of text.

    Every quote that opens a line must close at the end of one. Then either all cells are quoted (a header may not be),
    or just those that have to be: they hold line breaks, doubled quotes or a delimiter, the others do not.
    """
    if len(sample) > len(text) and b"\n" in sample:
        # Only ASCII characters matter here, and they are the same in all encodings that come with a sample.
        text, whole = sample[:_LONE_SAMPLE].decode("latin-1").replace("\r\n", "\n"), len(sample) <= _LONE_SAMPLE
    if not (text.startswith('"') or '\n"' in text):
        return False
    quoted: list[str] = []
    bare: list[str] = []
    place = 0
    while place < len(text):
        cell = _CELL.match(text, place)
        if cell is None:
            # Of a column of quoted cells one is left open; reading it says where.
            if (whole or not (quoted or bare)) and not (len(quoted) > 1 >= len(bare)):
                return False
            break
        place = cell.end()
        if cell[1] is not None:
            quoted.append(cell[1])
        elif cell[2]:
            bare.append(cell[2])
    if not quoted or len(bare) <= 1:
        return bool(quoted)
    if all("\n" in cell or '""' in cell or "," in cell or "\t" in cell or ";" in cell for cell in quoted):
        sure = any("\n" in cell or '""' in cell for cell in quoted)
        return sure or not any("," in cell or '"' in cell for cell in bare)
    return False


def _quote(text: str, delimiter: str, quote: str, whole: bool, spaced: bool) -> str:
    """Return what encloses cells, by how cells that begin with a quote go on; `quote` is what parts rows best.

    One quote left open makes rows run together, so that taking all quotes for text looks steadier; it is not, where
    most are closed. A single one that is closed nowhere on its line is a slip; many are a file that knows no quoting.
    """
    edge = re.escape(delimiter)
    start = rf'(?:^|[\n{edge}])' + ("[ ]*" if spaced else "")
    opened = len(re.findall(start + '"', text))
    closed = len(re.findall(rf'{start}"(?:[^"]|"")*"(?=[ ]*(?:[\n{edge}]|\Z))', text))
    if not opened:
        return quote
    if 2 * closed >= opened:
        return '"'
    lone = len(re.findall(rf'{start}"[^"\n]*(?=\n|\Z)', text))
    if lone == opened and lone <= max(1, text.count("\n") // 100):
        return '"'
    steady = _steadiness(rows_of(text, delimiter, "", whole=whole, limit=_SAMPLE_ROWS)) >= _SURE
    return "" if steady else quote


def _steadiness(rows: list[list[str]]) -> float:
    """Return the share of rows with the usual number of fields; 0 for one field only."""
    if not rows:
        return 0.0
    usual, count = Counter(len(row) for row in rows).most_common(1)[0]
    if usual < 2:
        return _named(rows)
    share = count / len(rows)
    if len(rows[0]) == usual:
        share += 0.05
    if max(len(cell) for row in rows for cell in row) > 100_000:
        share -= 0.3
    return max(share, _named(rows))


def _named(rows: list[list[str]]) -> float:
    """Return a fair score for rows under a header of well-known names, however ragged they are."""
    names = [known_names.plain(cell) for cell in rows[0]]
    fair = len(names) > 1 and len(set(names)) == len(names) and all(name in known_names.KNOWN for name in names)
    return 0.7 if fair else 0.0


def _tab_quotes(sample: bytes) -> bool:
    """Tell whether quotes in a tab-separated file enclose fields, rather than belong to the text as in GLUE's files."""
    opened = len(re.findall(rb'(?:^|[\t\n])"', sample))
    if not opened:
        return False
    closed = len(re.findall(rb'(?:^|(?<=[\t\n]))"(?:[^"]|"")*"(?=[\t\r\n]|\Z)', sample))
    fields = sample.count(b"\t") + sample.count(b"\n")
    if closed > 0.3 * fields and closed >= 0.9 * opened:
        return True
    needed = re.search(rb'(?:^|[\t\n])"(?:[^"\t\n]|"")*(?:""|[\t\n])(?:[^"]|"")*"(?=[\t\r\n]|\Z)', sample) is not None
    return closed >= opened and (needed or opened > 0.3 * fields)
