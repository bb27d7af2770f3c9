"""How the base model is held while many rows are asked: as it was when the adapter learned, where that can be."""

from __future__ import annotations

from engine import models
from engine.findings import Finding


def held(wanted: str | None, *, possible: bool | None = None) -> tuple[str | None, list[Finding]]:
    """Return how the base is loaded, and what is to be said when that is not as `wanted` (int8, nf4, None: in full).

    `possible` tells whether a model can be loaded in few bits; None asks this machine.
    """
    if not wanted or (models.quantizer_installed() if possible is None else possible):
        return wanted, []
    return None, [Finding(
        kind="base_unquantized", level="warning", where=wanted,
        what=f"The adapter learned on a base model held as {wanted}; without the package {models.QUANTIZER} the base "
             "is taken in full precision, so predictions may differ a little from those of the run.",
        try_this="Install it into the studio's environment (pip install bitsandbytes), and predict again.")]
