"""Images as a model takes them: its processor's own steps with Pillow, and pixels kept where memory allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import memory
from engine.control import Control
from engine.data import image
from engine.data.stream import open_raw
from engine.errors import ModelError

if TYPE_CHECKING:
    import pyarrow as pa

#: The file that says how a model's images are made ready.
SETTINGS = "preprocessor_config.json"
#: Part of the free memory that the pixels of one table may take; beyond, images are decoded for each batch.
SHARE = 0.25


class NoProcessor(ModelError):
    """The base model has no preprocessor_config.json beside its weights, so images cannot be made ready for it."""

    kind = "no_processor"
    try_this = "Add the preprocessor_config.json that belongs to the model, or choose another base model."


class ProcessorUnusable(ModelError):
    """The model's preprocessor_config.json does not give images of one size: {problem}."""

    kind = "processor_unusable"
    try_this = "Set a fixed size in it: size with height and width, or a crop_size."


class Lazy:
    """The pixels of an image that is decoded each time they are asked for."""

    def __init__(self, processor: Any, cell: dict[str, Any], shape: tuple[int, ...]) -> None:
        """`cell` is an image as `engine.data.image.TYPE` keeps it; `shape` that of its pixels."""
        self.processor, self.cell, self.shape = processor, cell, shape

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return the pixels, float32 of (channels, height, width)."""
        return _of_shape(pixels(self.processor, self.cell), self.shape)


def has_processor(folder: Path) -> bool:
    """Tell whether a folder holds the settings of an image processor."""
    return (folder / SETTINGS).is_file()


def processor_of(folder: Path) -> Any:
    """Return the model's image processor with its Pillow steps; raises ProcessorUnusable."""
    from transformers import AutoImageProcessor

    from engine.skeleton import quiet

    try:
        with quiet():
            return AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False,
                                                      local_files_only=True)
    except (ValueError, OSError, KeyError, TypeError, ImportError) as error:
        problem = str(error).strip().partition("\n")[0][:200]
        raise ProcessorUnusable(str(folder / SETTINGS), problem=problem) from None


def pixels(processor: Any, cell: dict[str, Any]) -> np.ndarray:
    """Return an image made ready for the model, float32 of (channels, height, width); raises BrokenImage."""
    picture = image.decode(cell["bytes"], cell["path"] or "image")
    found = processor(images=picture, return_tensors="np")["pixel_values"]
    return np.ascontiguousarray(found[0], dtype=np.float32)


def prepared(processor: Any, column: pa.ChunkedArray) -> list[Any]:
    """Return the pixels of each image of a column: arrays where all fit into memory, else Lazy ones.

    Raises BrokenImage and ImageTooLarge by the image's name, ProcessorUnusable, Stopped.
    """
    cells: Sequence[dict[str, Any]] = column.to_pylist()
    if not cells:
        return []
    first = pixels(processor, cells[0])
    if first.nbytes * len(cells) > SHARE * memory.available():
        return [Lazy(processor, cell, first.shape) for cell in cells]
    found = [first]
    for cell in cells[1:]:
        Control.check()
        found.append(_of_shape(pixels(processor, cell), first.shape))
    return found


def _of_shape(found: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if found.shape != shape:
        sizes = " and ".join("×".join(map(str, each[1:])) for each in (shape, found.shape))
        raise ProcessorUnusable(SETTINGS, problem=f"{sizes} pixels")
    return found


def asked(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return a table of the images a person asks about: each row's `image` is a path or the bytes of a file."""
    import pyarrow as pa

    found: list[dict[str, Any]] = []
    for number, row in enumerate(rows, 1):
        given: Any = row["image"]
        if isinstance(given, bytes):
            found.append({"bytes": given, "path": f"image {number}"})
            continue
        path = Path(given)
        with open_raw(path) as file:
            found.append({"bytes": file.read(image.MAX_BYTES + 1), "path": path.name})
    return pa.table({"image": pa.array(found, image.TYPE)})


def tokens(shape: Sequence[int]) -> int:
    """Return what an image of (channels, height, width) counts for where batches are weighed by tokens."""
    return max(1, shape[-2] * shape[-1] // memory.PATCH)


__all__ = ["NoProcessor", "ProcessorUnusable", "asked", "has_processor", "pixels", "prepared", "processor_of", "tokens"]
