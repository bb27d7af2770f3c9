"""The rows of a question: checked against what the task reads, and their images put where a worker finds them."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from db.blobs import Blobs
from engine.data import image
from engine.data.errors import ImageTooLarge
from engine.errors import Refused
from engine.tasks.base import Task
from engine.tasks.terms import ColumnRole

#: Most bytes of one image, and of all images of one question.
IMAGE_BYTES, IMAGES_BYTES = 10 * 2**20, 40 * 2**20

Row = Mapping[str, Any]


class RowInvalid(Refused):
    """Row {row} {problem}."""

    kind = "row_invalid"
    try_this = "A row is {{{taken}}}; {needed} must be filled."


class TooManyImages(Refused):
    """The images of one question are larger than {limit} MB together."""

    kind = "images_too_large"
    try_this = "Ask about fewer images at once, or about smaller ones."
    status = 413


def checked(kind: type[Task], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows with images as {"name", "data"}; what nobody reads and what asks nothing is refused.

    Raises RowInvalid, BrokenImage, ImageTooLarge, TooManyImages.
    """
    roles = {role.name: role for role in kind.asks}
    made = [_row(kind, roles, row, number) for number, row in enumerate(rows, 1)]
    total = sum(len(value["data"]) for row in made for value in row.values() if isinstance(value, dict))
    if total > IMAGES_BYTES:
        raise TooManyImages("rows", limit=IMAGES_BYTES >> 20)
    return made


def stored(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the rows as they are kept with a question; images go to the blob store, under `files`."""
    images = [(i, role, value) for i, row in enumerate(rows) for role, value in row.items() if isinstance(value, dict)]
    if not images:
        return {"rows": [dict(row) for row in rows]}
    folder, kept = f"asked/{secrets.token_hex(8)}", [dict(row) for row in rows]
    with tempfile.TemporaryDirectory(prefix="asked-") as place:
        for i, role, value in images:
            path = Path(place) / str(i) / _safe(value["name"])
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(value["data"])
            kept[i][role] = {"key": f"{folder}/{i}/{path.name}", "name": value["name"], "bytes": len(value["data"])}
        Blobs().put(Path(place), folder)
    return {"rows": kept, "files": folder}


def read_image(path: Path, name: str = "") -> str:
    """Return the image in a file as a row holds it; raises ImageTooLarge."""
    if (size := path.stat().st_size) > IMAGE_BYTES:
        raise _too_large(name or path.name, size)
    return image_text(path.read_bytes(), name or path.name)


def image_text(data: bytes, name: str) -> str:
    """Return an image's bytes as a row holds them: a data URI with its name."""
    return f"data:image;name={_safe(name)};base64,{base64.b64encode(data).decode()}"


def _row(kind: type[Task], roles: Mapping[str, ColumnRole], row: Row, number: int) -> dict[str, Any]:
    taken, needed = ", ".join(roles), " and ".join(kind.lacks(()))

    def refused(key: str, problem: str) -> RowInvalid:
        return RowInvalid(f"row {number}, {key}", row=number, problem=problem, taken=taken, needed=needed)

    for key, value in row.items():
        if key not in roles:
            raise refused(key[:80], f"has a key '{key[:80]}', with which this task is not asked")
        if isinstance(value, list) and roles[key].kind != "words":
            raise refused(key, f"has a list as its '{key}'")
    for key in kind.lacks({key for key, value in row.items() if "".join(value).strip()}):
        raise refused(key, f"has {'an empty' if key in row else 'no'} '{key}'")
    return {key: _image(value, number, refused) if roles[key].kind == "image" else value for key, value in row.items()}


def _image(value: str, number: int, refused: Any) -> dict[str, Any]:
    """Return the name and the bytes of an image that came as base64; its pixels are read by the worker."""
    head, _, text = value.rpartition(",")
    named = re.search(r";name=([^;,]{1,120})", head)
    name = named[1] if named else f"image {number}"
    if len(text) > IMAGE_BYTES * 4 // 3 + 4:
        raise _too_large(name, len(text) * 3 // 4)
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise refused("image", "has an image that is not base64") from None
    image.measure(data, name)
    return {"name": name, "data": data}


def _too_large(name: str, size: int) -> ImageTooLarge:
    return ImageTooLarge(name, name=name, size=f"{size / 2**20:.1f} MB", limit=f"{IMAGE_BYTES >> 20} MB")


def _safe(name: str) -> str:
    """Return a file name made of letters, digits and a few marks, as the blob store takes it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", PurePosixPath(name.replace("\\", "/")).name).lstrip("._-")[-80:] or "image"
