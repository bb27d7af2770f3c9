"""Images changed a little each time they are learned from: cut, mirrored and tinted, the same for the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Preset = Literal["none", "light", "strong"]
#: What keeps these random numbers apart from those that order the rows.
STREAM = 0x1A6E


@dataclass(frozen=True)
class Change:
    """How much an image may be changed: least share of its area that is kept, widest shape, strength of the tint."""

    area: float
    ratio: float
    tint: float


CHANGES: dict[Preset, Change] = {"light": Change(0.7, 1.1, 0.0), "strong": Change(0.35, 4 / 3, 0.4)}


def changed(pixels: np.ndarray, preset: Preset, numbers: Sequence[int]) -> np.ndarray:
    """Return an image, float32 of (channels, height, width), changed as `numbers` (seed, epoch, row) decide."""
    if preset == "none":
        return pixels
    change, chance = CHANGES[preset], np.random.default_rng([STREAM, *numbers])
    made = _cut(pixels, change, chance)
    if chance.random() < 0.5:
        made = made[:, :, ::-1]
    return np.ascontiguousarray(_tinted(made, change.tint, chance) if change.tint else made, dtype=np.float32)


def _cut(pixels: np.ndarray, change: Change, chance: np.random.Generator) -> np.ndarray:
    """Return a part of the image, stretched to its size (Szegedy et al., 2015)."""
    from PIL import Image

    height, width = pixels.shape[1:]
    share = chance.uniform(change.area, 1.0)
    ratio = np.exp(chance.uniform(-np.log(change.ratio), np.log(change.ratio)))
    wide, high = min(1.0, np.sqrt(share * ratio)) * width, min(1.0, np.sqrt(share / ratio)) * height
    left, top = chance.uniform(0, width - wide), chance.uniform(0, height - high)
    box = (left, top, min(width, left + wide), min(height, top + high))
    return np.stack([np.asarray(Image.fromarray(np.ascontiguousarray(channel)).resize(
        (width, height), Image.Resampling.BILINEAR, box=box)) for channel in pixels])


def _tinted(pixels: np.ndarray, tint: float, chance: np.random.Generator) -> np.ndarray:
    """Return the image with another brightness, contrast and saturation.

    The pixels are normalised, so brightness moves by parts of their spread; contrast turns around each channel's mean,
    which comes to the same before and after normalising.
    """
    brightness = chance.uniform(-tint, tint)
    contrast, saturation = chance.uniform(1 - tint, 1 + tint, 2)
    means = pixels.mean((1, 2), keepdims=True)
    made = means + contrast * (pixels - means) + brightness
    grey = made.mean(0, keepdims=True)
    return grey + saturation * (made - grey)
