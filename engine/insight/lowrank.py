"""What low-rank updates learned: their size, their singular values, how many directions they really use."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from engine.insight.places import Places, sorted_kinds
from engine.insight.report import Lines, Section, Series, Table, digits, rounded
from engine.insight.store import Base, Clock, Saved, norm

if TYPE_CHECKING:
    import torch

#: Singular values drawn of each kind of module; the table has every matrix.
DRAWN = 64


@dataclass(frozen=True)
class Update:
    """The update of one matrix: its rank as trained, its singular values (descending), and the norm of the matrix."""

    module: str
    rank: int
    values: tuple[float, ...]
    base: float | None

    @property
    def norm(self) -> float:
        """Frobenius norm of the update."""
        return math.sqrt(sum(value * value for value in self.values))

    @property
    def relative(self) -> float | None:
        """Norm of the update over that of the matrix it changes."""
        return self.norm / self.base if self.base else None

    @property
    def effective(self) -> float:
        """Effective rank of the update."""
        return effective_rank(self.values)


def effective_rank(values: Sequence[float]) -> float:
    """Return exp of the entropy of the singular values' shares of their sum (Roy & Vetterli, 2007); 0 for no values.

    k equal values have an effective rank of k.
    """
    total = sum(values)
    if not total:
        return 0.0
    shares = [value / total for value in values if value > 0]
    return math.exp(-sum(share * math.log(share) for share in shares))


def spectrum(down: torch.Tensor, up: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
    """Return the singular values of scale · up · down, (out, r) · (r, in), descending, without ever forming it.

    up = Q₁R₁ and downᵀ = Q₂R₂, so the values are those of the small R₁·R₂ᵀ.
    """
    import torch

    left = torch.linalg.qr(up.double(), mode="r").R
    right = torch.linalg.qr(down.double().T, mode="r").R
    return torch.linalg.svdvals(left @ right.T) * abs(scale)


def sections(saved: Saved, places: Places, base: Base, clock: Clock) -> list[Section]:
    """Return what LoRA's or AdaLoRA's updates learned; nothing for other adapters."""
    adaptive = saved.has("lora_E")
    found, skipped = updates(saved, base, clock)
    if not found:
        return []
    relative = {one.module: one.relative for one in found}
    missing = sum(value is None for value in relative.values())
    known = not missing
    sizes: Mapping[str, float | None] = relative if known else {one.module: one.norm for one in found}
    size = places.heat("‖ΔW‖ / ‖W‖" if known else "‖ΔW‖", sizes, percent=known)
    notes = [f"{skipped} of {skipped + len(found)} matrices were left out to save time."] if skipped else []
    if missing and missing < len(found):
        notes.append(f"The base model's own {missing} of {len(found)} matrices were not measured, to save time.")
    made = [Section(
        name="update_size", title="How much each matrix changed",
        how=("The length of the update over that of the matrix it changes (Frobenius norms): the stronger the "
             "colour, the more this layer was needed." if known else "The length of each update (its Frobenius norm): "
             "the stronger the colour, the more this layer was needed."),
        parts=[size, _table(found)], note=" ".join(notes)), _directions(found, places)]
    return made + ([_final_ranks(found, places)] if adaptive else []) + _dora(saved, places, base, clock)


def updates(saved: Saved, base: Base, clock: Clock) -> tuple[list[Update], int]:
    """Return the update of every matrix with two factors, and how many were left out because time was up."""
    found, skipped = [], 0
    for down_name in ("lora_A", "lora_embedding_A"):
        for module, name in saved.named(down_name):
            if clock.over:
                skipped += 1
                continue
            if (update := _update(saved, base, clock, module, name, down_name)) is not None:
                found.append(update)
    return found, skipped


def _update(saved: Saved, base: Base, clock: Clock, module: str, name: str, down_name: str) -> Update | None:
    other = name.replace(down_name, down_name.replace("_A", "_B"))
    if other not in saved.shapes:
        return None
    down, up = saved.tensor(name).float(), saved.tensor(other).float()
    rank = len(down)
    scale = _scale(saved, module, rank)
    if (kept := f"{module}.lora_E") in saved.shapes:
        values = saved.tensor(kept).float()
        # AdaLoRA divides alpha by the rank that every layer started with.
        down, rank = down * values, int((values != 0).sum())
    # A convolution's factors are (r, in, h, w) and (out, r, 1, 1).
    singular = spectrum(down.flatten(1), up.flatten(1), scale)
    weight = None if clock.late else base.tensor(f"{module}.weight")
    return Update(module, rank, tuple(float(value) for value in singular), norm(weight) if weight is not None else None)


def _scale(saved: Saved, module: str, rank: int) -> float:
    """Return what the update is multiplied by: alpha / r, or alpha / √r for rsLoRA."""
    patterns: dict[str, float] = saved.config.get("alpha_pattern") or {}
    # The way peft matches: a pattern is a name, or the end of one, or a regular expression for it.
    own = next((key for key in patterns if re.match(rf"(.*\.)?({key})$", module)), None)
    alpha = float(patterns[own] if own is not None else saved.config.get("lora_alpha") or 8)
    return alpha / (math.sqrt(rank) if saved.config.get("use_rslora") else max(rank, 1))


def _table(found: Sequence[Update]) -> Table:
    rows = [[one.module, one.rank, digits(one.norm), digits(one.relative), digits(one.effective, 4),
             digits(max(one.values, default=0.0))] for one in found]
    return Table(title=f"Every matrix ({len(found)})", numeric=[1, 2, 3, 4, 5], rows=rows,
                 columns=["Matrix", "Rank", "‖ΔW‖", "‖ΔW‖ / ‖W‖", "Effective rank", "Largest singular value"])


def _directions(found: Sequence[Update], places: Places) -> Section:
    kinds: dict[str, list[Update]] = {}
    for one in found:
        kinds.setdefault(places.of(one.module)[0], []).append(one)
    series = []
    for kind in sorted_kinds(kinds):
        longest = min(max(len(one.values) for one in kinds[kind]), DRAWN)
        # Shares of the largest, so that kinds of different size can be told apart by the shape of their fall alone.
        shares = [[value / one.values[0] for value in one.values] for one in kinds[kind] if one.values[0] > 0]
        means = [fmean(line[at] for line in shares if at < len(line)) for at in range(longest)
                 if any(at < len(line) for line in shares)]
        if means:
            series.append(Series(name=kind, x=list(range(1, len(means) + 1)), y=rounded(means)))
    return Section(
        name="directions", title="How many directions were used",
        how="The effective rank says how many equally strong directions would be as much as those learned: far below "
            "the rank, a smaller rank would do; close to it, a larger one may learn more.",
        parts=[places.heat("Effective rank", {one.module: one.effective for one in found}),
               Lines(title="Singular values, as shares of the largest", series=series, x_title="direction",
                     y_title="share of the largest")])


def _final_ranks(found: Sequence[Update], places: Places) -> Section:
    return Section(
        name="final_ranks", title="Where the rank went",
        how="The rank each matrix ended with, after the budget moved from where it mattered little to where it "
            "mattered most; 0 means that the matrix was left as it was.",
        parts=[places.heat("Final rank", {one.module: float(one.rank) for one in found},
                           say=lambda value: f"rank {value:g}")],
        facts={"total rank": sum(one.rank for one in found)})


def _dora(saved: Saved, places: Places, base: Base, clock: Clock) -> list[Section]:
    """Return how the lengths of the weights of each output changed, where they are learned and the base is there."""
    import torch

    changes: dict[str, float | None] = {}
    for module, name in saved.named("lora_magnitude_vector"):
        weight = None if clock.over else base.tensor(f"{module}.weight")
        if weight is None or weight.dim() != 2:
            continue
        learned = saved.tensor(name).float().flatten()
        rows = weight.float() if not saved.config.get("fan_in_fan_out") else weight.float().T
        before = torch.linalg.vector_norm(rows, dim=1)
        if before.shape == learned.shape:
            changes[module] = float(((learned - before).abs() / before.clamp_min(1e-12)).mean())
    if not changes:
        return []
    return [Section(
        name="magnitudes", title="How much the lengths changed",
        how="DoRA learns the length of each output's weights apart from their direction: this is the mean change of "
            "these lengths, as a share of what they were.",
        parts=[places.heat("Mean change of length", changes, percent=True)])]
