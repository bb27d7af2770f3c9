"""One image as a data file holds it: recognised by its first bytes, checked, and turned into upright RGB."""

from __future__ import annotations

import io
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from engine.data.errors import BrokenImage, ImageTooLarge

if TYPE_CHECKING:
    from PIL.Image import Image

#: How a table keeps an image: the file's bytes and its name, as the `datasets` library does.
TYPE = pa.struct([("bytes", pa.large_binary()), ("path", pa.string())])
#: Formats that are opened: those whose readers start no other program.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
#: Most pixels of one image: a few bytes can promise many gigabytes.
MAX_PIXELS = 64_000_000
#: Most bytes of one image file.
MAX_BYTES = 64 << 20
_MARKS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")


def known(head: bytes) -> bool:
    """Tell whether a file of these first bytes is an image that can be opened."""
    return head.startswith(_MARKS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def is_image(kind: pa.DataType) -> bool:
    """Tell whether a column of this type holds images as TYPE does."""
    return pt.is_struct(kind) and {kind.field(i).name for i in range(kind.num_fields)} == {"bytes", "path"}


def check(data: bytes, name: str) -> None:
    """Raise BrokenImage or ImageTooLarge when an image cannot be used; JPEGs are decoded at an eighth of their size."""
    image = _opened(data, name)
    image.draft("RGB", (max(1, image.width // 8), max(1, image.height // 8)))
    _loaded(image, name)


def measure(data: bytes, name: str) -> tuple[int, int]:
    """Return width and height as an image's first bytes tell them; raises BrokenImage, ImageTooLarge."""
    image = _opened(data, name)
    return int(image.width), int(image.height)


def thumbnail(data: bytes, name: str, side: int) -> bytes:
    """Return an image as a JPEG whose longer side has at most `side` pixels; raises BrokenImage, ImageTooLarge."""
    made: Any = decode(data, name)
    made.thumbnail((side, side))
    written = io.BytesIO()
    made.save(written, "JPEG", quality=85)
    return written.getvalue()


def decode(data: bytes, name: str) -> Image:
    """Return an image as RGB, turned as its camera held it; its first frame if it moves.

    Raises BrokenImage, ImageTooLarge.
    """
    from PIL import Image, ImageOps

    image: Any = _loaded(_opened(data, name), name)
    with suppress(OSError, ValueError, SyntaxError, KeyError, TypeError):
        # Orientation that cannot be read leaves the image as it lies.
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        # 16-bit greys: Pillow would cut them at 255 instead of scaling.
        image = Image.fromarray((np.asarray(image) >> 8).astype("uint8"))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        over = Image.new("RGBA", image.size, "white")
        over.alpha_composite(image.convert("RGBA"))
        image = over
    return image.convert("RGB")


def _opened(data: bytes, name: str) -> Any:
    """Return the image with its size read and checked, its pixels not yet."""
    from PIL import Image

    if not data:
        raise BrokenImage(name, name=name, reason="the file is empty")
    if len(data) > MAX_BYTES:
        raise ImageTooLarge(name, name=name, size=f"{len(data) >> 20} MB", limit=f"{MAX_BYTES >> 20} MB")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise ImageTooLarge(name, name=name, size="far too many pixels", limit=_pixels(MAX_PIXELS)) from None
    except (OSError, ValueError, SyntaxError, TypeError, OverflowError) as error:
        raise BrokenImage(name, name=name, reason=_reason(error)) from None
    if image.width * image.height > MAX_PIXELS:
        raise ImageTooLarge(name, name=name, size=f"{image.width} × {image.height} pixels", limit=_pixels(MAX_PIXELS))
    return image


def _loaded(image: Any, name: str) -> Any:
    try:
        image.load()
    except Exception as error:
        # Decoders raise whatever a damaged file leads them into; each means the same.
        raise BrokenImage(name, name=name, reason=_reason(error)) from None
    return image


def _pixels(count: int) -> str:
    return f"{count / 1e6:.0f} million pixels"


def _reason(error: Exception) -> str:
    text = str(error).partition("<_io")[0].strip() or type(error).__name__
    return "it is no image of a known format" if text.startswith("cannot identify") else text[:200]
