"""A million rows: how fast a csv becomes a table, how soon any page of it is seen, and what tokens cost twice."""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from bench import server
from bench.report import Row, quantile
from bench.server import Memory

ROWS, FEW = 1_000_000, 40_000
#: A table's page may take so many seconds; the web process may have so many MiB.
PAGE_LIMIT, MEMORY_LIMIT = 0.3, 400
INGEST_SHARE = 0.5
PAGES, ROUNDS = 40, 3
MB = 2**20
TEXT = ("the order arrived late and the box was open; I would like my money back, please. "
         "nobody answers the phone! it worked for two days, then the screen went dark. "
         "que pasó con mi pedido? größer als erwartet, naïve Übersetzung, 日本語のレビュー, très déçu… "
         "great value, five stars, would buy again and again for my friends and family")
WORDS = TEXT.split()


def measure(quick: bool) -> list[Row]:
    """Return the rows of ingest, pages, search, memory, statistics and tokens."""
    rows = FEW if quick else ROWS
    with tempfile.TemporaryDirectory(prefix="bench-big-") as place:
        folder = Path(place)
        path = write(folder / "rows.csv", rows)
        return [*_ingest(path, folder / "rows.parquet", rows), *_pages(folder / "rows.parquet", rows),
                *_statistics(folder / "rows.parquet", rows), *_tokens(folder / "rows.parquet", folder, quick)]


def write(path: Path, rows: int, seed: int = 0) -> Path:
    """Write a csv of about a kilobyte a row: quotes, line breaks and letters of several scripts in its texts."""
    chance = random.Random(seed)
    pieces = [" ".join(chance.choices(WORDS, k=chance.randint(4, 40))) for _ in range(2_000)]
    for number in range(0, len(pieces), 7):
        pieces[number] += '\nShe said ""never again"", and left.'
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("id,title,text,label,score\n")
        for start in range(0, rows, 10_000):
            lines = []
            for number in range(start, min(rows, start + 10_000)):
                text = " ".join(chance.choices(pieces, k=chance.randint(2, 12)))
                label = chance.choice(("billing", "delivery", "praise", "other"))
                lines.append(f'{number},Ticket {number % 977},"{text} #{number}",{label},{number % 1000 / 10}\n')
            file.write("".join(lines))
    return path


def _ingest(path: Path, out: Path, rows: int) -> list[Row]:
    """Compare reading a csv into a checked, hashed and packed table with pyarrow.csv merely reading it."""
    from engine.data import read

    size = path.stat().st_size / 1e6
    ours: list[float] = []
    peers: list[float] = []
    for _ in range(ROUNDS):
        peers.append(_seconds(lambda: _stream(path)))
        ours.append(_seconds(lambda: read.ingest(path, out)))
    if pq.read_metadata(out).num_rows != rows:
        raise RuntimeError("rows were lost")
    note = f"{rows:,} rows, {size:,.0f} MB; medians of {ROUNDS}; pyarrow.csv keeps, checks and writes nothing"
    return [Row("Reading a csv into a table", size / statistics.median(ours), "MB/s", size / statistics.median(peers),
                "peer", INGEST_SHARE, higher=True, note=note)]


def _stream(path: Path) -> None:
    parse = pacsv.ParseOptions(newlines_in_values=True)
    with pacsv.open_csv(path, parse_options=parse) as reader:
        for _ in reader:
            pass


def _pages(parquet: Path, rows: int) -> list[Row]:
    """Ask a real web process for pages all over the table, searched and sorted."""
    chance = random.Random(1)
    ways: dict[str, dict[str, str]] = {
        "as it stands": {}, "of a search": {"search": "naïve"}, "in an order": {"sort": "title"},
        "of a search in an order": {"search": "naïve", "sort": "-text"}}
    found: list[Row] = []
    with _studio(parquet, rows) as (process, address):
        memory = Memory(process.pid)
        with memory, httpx.Client(timeout=600) as client:
            for name, how in ways.items():
                first = _seconds(lambda given=how: client.get(address, params=given | {"limit": 50}).raise_for_status())
                total = client.get(address, params=how | {"limit": 1}).json()["total"]
                taken = [_seconds(lambda at=place, given=how: client.get(
                    address, params=given | {"limit": 50, "offset": at}).raise_for_status())
                    for place in (chance.randrange(max(1, total - 50)) for _ in range(PAGES))]
                found.append(Row(f"Any page {name}, p95 of {PAGES}", quantile(taken, 0.95) * 1000, "ms",
                                 PAGE_LIMIT * 1000, note=f"{total:,} of {rows:,} rows; slowest "
                                 f"{max(taken) * 1000:.0f} ms; the first of all took {first:.1f} s"))
        found.append(Row("Web process: most memory meanwhile", memory.peak / MB, "MiB", MEMORY_LIMIT))
    return found


@contextmanager
def _studio(parquet: Path, rows: int) -> Iterator[tuple[server.Process, str]]:
    """Run the web server over a dataset that was read; yields it and the address of the dataset's rows."""
    with server.data_folder() as folder, server.web(folder) as process:
        from db import datasets, users

        place = folder / "datasets" / "big" / "rows.parquet"
        place.parent.mkdir(parents=True)
        place.symlink_to(parquet)
        row = datasets.create(users.local(), name="Big", state="ready", rows=rows, progress=1.0,
                              parquet_key="datasets/big/rows.parquet")
        yield process, f"{process.address}/api/v1/datasets/{row.id}/rows"


def _statistics(parquet: Path, rows: int) -> list[Row]:
    from engine import tasks
    from engine.data import stats
    from engine.data.paging import Rows

    looks: list[int] = []
    took = _seconds(lambda: stats.summarise(
        Rows(parquet), tasks.get("text_classification")(name="text_classification"), {"text": "text", "label": "label"},
        partial=lambda found: looks.append(found.counted or 0)))
    return [Row("Statistics of the whole table", took, "s", note=f"{rows:,} rows; {len(looks)} looks at what was "
                "known so far")]


def _tokens(parquet: Path, folder: Path, quick: bool) -> list[Row]:
    """Turn rows into tokens, and take them from the cache as the next run does."""
    from engine import models
    from engine.tasks import get
    from engine.token_cache import TokenCache

    table = pq.read_table(parquet, columns=["text", "label"]).slice(0, 5_000 if quick else 50_000)
    tokenizer = models.tokenizer_of(models.locate("starter/minilm-l6").path)
    cache = TokenCache(folder / "tokens", room=4 << 30)
    task = get("text_classification")(name="text_classification")
    columns, labels = {"text": "text", "label": "label"}, ["billing", "delivery", "other", "praise"]

    def encode() -> None:
        cache.encode(task, table, columns, tokenizer, 128, labels)

    first, again = _seconds(encode), statistics.median([_seconds(encode) for _ in range(ROUNDS)])
    return [Row("Tokens of rows that an earlier run had", again, "s", first, "peer", 0.1,
                note=f"{table.num_rows:,} rows; beside turning them into tokens")]


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))
