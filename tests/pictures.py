"""Small images in folders, one folder a class: reddish and bluish noise that a tiny model can tell apart."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = {"bluish": (40, 60, 200), "reddish": (200, 60, 40)}


def noise(label: str, number: int, size: tuple[int, int] = (40, 32)) -> Image.Image:
    """Return an image of a class, `size` (width, height), the same for the same number."""
    chance = np.random.default_rng([number, len(label)])
    values = np.asarray(CLASSES[label]) + chance.integers(-40, 40, (size[1], size[0], 3))
    return Image.fromarray(values.clip(0, 255).astype("uint8"))


def data(image: Image.Image, kind: str = "PNG") -> bytes:
    """Return an image as the bytes of a file."""
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def folder(place: Path, each: int = 12) -> Path:
    """Write `each` images of every class into folders under `place`/pictures; every third one is a JPEG."""
    root = place / "pictures"
    for label in CLASSES:
        (root / label).mkdir(parents=True)
        for i in range(each):
            kind, ending = ("JPEG", "jpg") if i % 3 == 0 else ("PNG", "png")
            (root / label / f"{label} {i}.{ending}").write_bytes(data(noise(label, i), kind))
    return root


def archive(place: Path, each: int = 12) -> Path:
    """Write the same images as a zip archive, a folder around them and what systems leave behind beside them."""
    root, path = folder(place, each), place / "pictures.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for file in sorted(root.rglob("*.*")):
            packed.write(file, Path("pictures") / file.relative_to(root))
        packed.writestr("__MACOSX/pictures/._reddish.jpg", b"\0\5\x16\7")
        packed.writestr("pictures/.DS_Store", b"\0\0\0\1Bud1")
    return path
