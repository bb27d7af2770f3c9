"""How far weights moved: those of a model trained whole, and those that an adapter would give the model if merged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.insight.places import Places
from engine.insight.report import Section
from engine.insight.store import Base, Clock, Saved, norm

if TYPE_CHECKING:
    import torch

HOW = ("The length of the change of each matrix over that of the matrix itself (Frobenius norms): the stronger "
       "the colour, the more this layer was needed.")


def of_model(saved: Saved, places: Places, base: Base, clock: Clock) -> list[Section]:
    """Return how far each matrix of a whole model is from the base model's; what the base lacks is left out."""
    changes: dict[str, float | None] = {}
    skipped = 0
    for name, shape in saved.shapes.items():
        module, _, parameter = name.rpartition(".")
        if parameter != "weight" or places.module(module) is None:
            continue
        if clock.over:
            skipped += 1
            continue
        before = base.tensor(name, shape)
        if before is not None:
            changes[module] = _relative(before, saved.tensor(name))
    return _section(places, changes, skipped)


def of_merge(model: Any, places: Places, clock: Clock) -> list[Section]:
    """Return how far each matrix would move if the adapter of a peft model were merged; its weights are put back.

    Works for every adapter that can be merged into weights of full precision, whatever its arithmetic is.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    changes: dict[str, float | None] = {}
    skipped = 0
    inner: Any = model.base_model.model
    for name, layer in inner.named_modules():
        weight = getattr(layer.get_base_layer(), "weight", None) if isinstance(layer, BaseTunerLayer) else None
        if weight is None or not weight.is_floating_point() or weight.dim() < 2:
            continue
        if clock.over:
            skipped += 1
        elif (change := _merged(layer, weight)) is not None:
            changes[name] = change
    return _section(places, changes, skipped)


def _merged(layer: Any, weight: torch.Tensor) -> float | None:
    """Return the relative change of one layer's weight, or None where it cannot be merged."""
    import torch

    before = weight.detach().clone()
    try:
        with torch.no_grad():
            layer.merge()
            return _relative(before, layer.get_base_layer().weight.detach())
    except (ValueError, NotImplementedError, AttributeError, TypeError, RuntimeError):
        return None
    finally:
        if getattr(layer, "merged", False):
            with torch.no_grad():
                layer.unmerge()
                # Taking out again rounds; the weights are to be the very same.
                layer.get_base_layer().weight.copy_(before)


def _relative(before: torch.Tensor, after: torch.Tensor) -> float:
    return norm(after, before) / max(norm(before), 1e-12)


def _section(places: Places, changes: dict[str, float | None], skipped: int) -> list[Section]:
    if not changes:
        return []
    note = f"{skipped} of {skipped + len(changes)} matrices were left out to save time." if skipped else ""
    return [Section(name="weight_change", title="How much each matrix changed", how=HOW, note=note,
                    parts=[places.heat("‖ΔW‖ / ‖W‖", changes, percent=True)])]
