"""Uploads: the web process's memory while a large file arrives, and how soon a file's first rows are seen."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from bench import server
from bench.report import Row, quantile
from bench.server import Memory, Page

GROWTH_LIMIT, PREVIEW_LIMIT = 64, 1.0
MB = 2**20
EDGE = b"part-of-the-bench"
CHUNK = 256 * 1024


def measure(quick: bool) -> list[Row]:
    """Return the rows of memory (MiB) and of the first preview (s)."""
    large, middle, rounds = (200, 150, 1) if quick else (1024, 150, 5)
    with tempfile.TemporaryDirectory(prefix="bench-files-") as files, server.data_folder() as folder:
        big, usual, small = (_csv(Path(files), size) for size in (large, middle, 1))
        with server.web(folder) as process:
            for send in (_api, _page):
                send(process.address, small)
            rows = [_growth(process, send, big, how) for send, how in ((_api, "API"), (_page, "page"))]
            for send, how in ((_api, "API"), (_page, "page")):
                taken = [send(process.address, usual) for _ in range(rounds)]
                rows.append(Row(f"First preview of a {middle} MB csv after its last byte, {how}", max(taken), "s",
                                PREVIEW_LIMIT, note=f"slowest of {rounds}; median {quantile(taken, 0.5):.2f} s"))
    return rows


def _growth(process: server.Process, send: Any, path: Path, how: str) -> Row:
    memory, began = Memory(process.pid), time.monotonic()
    before = memory.now()
    with memory:
        send(process.address, path)
    seconds, size = time.monotonic() - began, path.stat().st_size / 1e6
    return Row(f"Web process: growth while {size:,.0f} MB are uploaded, {how}", (memory.peak - before) / MB, "MiB",
               GROWTH_LIMIT, note=f"{size / seconds:.0f} MB/s")


def _csv(folder: Path, megabytes: int) -> Path:
    """Write a csv of about so many megabytes: texts of several lengths, four labels."""
    path = folder / f"rows-{megabytes}.csv"
    lines = [f'"Row {number}: {"something was said about it, and then more; " * (1 + number * 7 % 9)}",'
             f'{("billing", "delivery", "praise", "other")[number % 4]}\n' for number in range(5000)]
    block = "".join(lines).encode()
    with path.open("wb") as file:
        file.write(b"text,label\n")
        while file.tell() < megabytes * 1_000_000:
            file.write(block)
    return path


class _Body:
    """A multipart body read from disk piece by piece; notes when its last byte was taken."""

    def __init__(self, path: Path, field: str) -> None:
        self.path = path
        self.sent_at = 0.0
        head = f'Content-Disposition: form-data; name="{field}"; filename="{path.name}"'
        self._head = b"--" + EDGE + b"\r\n" + head.encode() + b"\r\nContent-Type: text/csv\r\n\r\n"
        self._tail = b"\r\n--" + EDGE + b"--\r\n"
        length = len(self._head) + path.stat().st_size + len(self._tail)
        self.headers = {"Content-Type": f"multipart/form-data; boundary={EDGE.decode()}",
                        "Content-Length": str(length)}

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        with self.path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
        yield self._tail
        self.sent_at = time.monotonic()


def _api(address: str, path: Path) -> float:
    """Send a file to the API; returns the seconds from its last byte to its first rows."""
    body = _Body(path, "file")
    with httpx.Client(base_url=address, timeout=300) as client:
        answer = client.post("/api/v1/datasets", content=iter(body), headers=body.headers)
        answer.raise_for_status()
        shown = client.get(f"/api/v1/datasets/{answer.json()['id']}", params={"preview": 50})
        shown.raise_for_status()
        rows = shown.json()["preview"]["rows"]
        taken = time.monotonic() - body.sent_at
        if len(rows) != 50 or not rows[0]["text"].startswith("Row 0"):
            raise RuntimeError("the preview does not show the file")
        client.delete(f"/api/v1/datasets/{answer.json()['id']}").raise_for_status()
    return taken


def _page(address: str, path: Path) -> float:
    """Send a file as the Data page does, add it, open its page; returns seconds from its last byte to its rows."""
    page = Page(address, "/data")
    body = _Body(path, "files")
    answer = page.client.post("/gradio_api/upload", content=iter(body), headers=body.headers, timeout=300)
    answer.raise_for_status()
    file = {"path": answer.json()[0], "orig_name": path.name, "size": path.stat().st_size,
            "meta": {"_type": "gradio.FileData"}}
    [add] = page.triggered("click", "data-submit")
    link = str(page.send(add, [file, None, ""])[0])
    shown = Page(address, link)
    shown.client.cookies = page.client.cookies
    rows = str([shown.send(handler) for handler in shown.triggered("load")])
    taken = time.monotonic() - body.sent_at
    if "Row 0: something" not in rows:
        raise RuntimeError("the page does not show the file")
    found = link.rpartition("=")[2]
    httpx.delete(f"{address}/api/v1/datasets/{found}", timeout=60).raise_for_status()
    page.close()
    shown.close()
    return taken
