"""Multipart bodies written straight to disk: no part is ever held in memory, and no second copy is made."""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from engine.errors import DataError, NotEnough, Refused
from studio.api.errors import BadRequest

#: Longest text field, and most parts, that a form may have.
FIELD_BYTES = 1_048_576
PARTS = 64
BATCH_BYTES = 1_048_576
#: An upload whose folder did not change for so long is over.
ABANDONED_SECONDS = 86_400


class UploadTooLarge(Refused):
    """The upload is larger than the limit of {limit} bytes."""

    kind = "upload_too_large"
    try_this = "Send a smaller file, compress it (.gz), or raise STUDIO_MAX_UPLOAD_BYTES."
    status = 413


class UploadCutShort(DataError):
    """The upload ended before its last byte."""

    kind = "upload_cut_short"
    try_this = "Send it again."
    status = 400


@dataclass
class Part:
    """One part of a form: a text `value`, or a file `path` of `size` bytes that was called `filename`."""

    name: str
    filename: str | None = None
    value: str = ""
    path: Path | None = None
    size: int = 0


@dataclass
class Form:
    """What a multipart body held: text fields and files by name, in a folder that `discard` removes."""

    folder: Path
    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, list[Part]] = field(default_factory=dict)

    def file(self, name: str) -> Part:
        """Return the one file called `name`; raises BadRequest."""
        found = self.perhaps(name)
        if found is None:
            raise BadRequest(name, problem=f"it has no file part named '{name}'")
        return found

    def perhaps(self, name: str) -> Part | None:
        """Return the one file called `name`, None where there is none; raises BadRequest for several."""
        found = self.files.get(name, [])
        if len(found) > 1:
            names = ", ".join(str(part.filename)[:80] for part in found[:4])
            raise BadRequest(name, problem=f"it has {len(found)} file parts named '{name}' ({names}), and one is taken",
                             try_this="Send one of them; each further file is a request of its own.")
        return found[0] if found else None

    def discard(self) -> None:
        """Remove what is left of the upload; files that were moved away stay where they are."""
        shutil.rmtree(self.folder, ignore_errors=True)


async def receive(request: Request, folder: Path, limit: int) -> Form:
    """Write the multipart body of `request` into a new folder under `folder` and return what it held.

    Raises BadRequest, UploadTooLarge (above `limit` bytes), NotEnough (disk) and UploadCutShort; nothing is left then.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise BadRequest("Content-Type", problem="it must be multipart/form-data")
    announced = int(request.headers.get("content-length") or 0)
    if announced > limit:
        raise UploadTooLarge("body", limit=limit)
    await run_in_threadpool(_prepare, folder)
    free = shutil.disk_usage(folder).free
    if announced > free:
        raise NotEnough(str(folder), resource="disk space", needed=f"{announced} bytes", available=f"{free} bytes")
    form = Form(Path(tempfile.mkdtemp(prefix="upload-", dir=folder)))
    try:
        await _parse(request, _Writer(form), options[b"boundary"], limit)
    except BaseException:
        form.discard()
        raise
    return form


def _prepare(folder: Path) -> None:
    """Make the folder, and remove what uploads left there that a dying process could not clean up."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("upload-*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


async def _parse(request: Request, writer: _Writer, boundary: bytes, limit: int) -> None:
    parser = MultipartParser(boundary, writer.callbacks())  # pyright: ignore[reportArgumentType]
    received = parsed = 0
    try:
        batch: list[bytes] = []
        async for chunk in request.stream():
            received += len(chunk)
            if received > limit:
                raise UploadTooLarge("body", limit=limit)
            batch.append(chunk)
            if received - parsed >= BATCH_BYTES:
                # Writing may block on a slow disk: not in the event loop, and not once for every small chunk.
                await run_in_threadpool(parser.write, b"".join(batch))
                batch, parsed = [], received
        await run_in_threadpool(parser.write, b"".join(batch))
        parser.finalize()
    except FormParserError as error:
        raise BadRequest("body", problem=f"the multipart body is broken ({error})") from None
    except OSError as error:
        raise NotEnough("upload", resource="disk space", needed="more", available=error.strerror or "none") from None
    finally:
        writer.close()
    if not writer.ended:
        raise UploadCutShort("body")


class _Writer:
    """Receives the parser's callbacks and writes each file part as it arrives."""

    def __init__(self, form: Form) -> None:
        self.form, self.ended, self.count = form, False, 0
        self.part = Part("")
        self.handle: Any = None
        self.text = bytearray()
        self.header = (bytearray(), bytearray())
        self.headers: dict[bytes, Any] = {}

    def callbacks(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in (
            "on_part_begin", "on_part_data", "on_part_end", "on_header_field", "on_header_value", "on_header_end",
            "on_headers_finished", "on_end")}

    def on_part_begin(self) -> None:
        self.count += 1
        if self.count > PARTS:
            raise BadRequest("body", problem=f"it has more than {PARTS} parts")
        self.headers, self.header, self.text = {}, (bytearray(), bytearray()), bytearray()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self.header[0].extend(data[start:end])

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self.header[1].extend(data[start:end])

    def on_header_end(self) -> None:
        self.headers[bytes(self.header[0]).lower()] = bytes(self.header[1])
        self.header = (bytearray(), bytearray())

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self.headers.get(b"content-disposition", b""))
        if b"name" not in options:
            raise BadRequest("body", problem="a part has no name")
        self.part = Part(options[b"name"].decode("utf-8", "replace"))
        if b"filename" in options:
            # The name is only ever shown: the file itself gets a name of ours.
            told = options[b"filename"].decode("utf-8", "replace").replace("\\", "/")
            self.part.filename = PurePosixPath(told).name or "file"
            self.part.path = self.form.folder / f"part-{self.count}"
            self.handle = self.part.path.open("wb")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self.handle is not None:
            self.part.size += self.handle.write(memoryview(data)[start:end])
        elif len(self.text) + end - start > FIELD_BYTES:
            raise BadRequest(self.part.name, problem=f"the field '{self.part.name}' is too long; send it as a file")
        else:
            self.text.extend(data[start:end])

    def on_part_end(self) -> None:
        self.close()
        if self.part.path is not None:
            self.form.files.setdefault(self.part.name, []).append(self.part)
        elif self.part.name in self.form.fields:
            raise BadRequest(self.part.name[:80], problem=f"it has the field '{self.part.name[:80]}' twice")
        else:
            self.form.fields[self.part.name] = self.text.decode("utf-8", "replace")

    def on_end(self) -> None:
        self.ended = True

    def close(self) -> None:
        if self.handle is not None:
            self.handle.close()
            self.handle = None
