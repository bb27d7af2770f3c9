"""What learned vectors and narrow layers became: biases, scales and shifts, bottlenecks, norms, sparse changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.insight.parameters import PARTS
from engine.insight.places import Places
from engine.insight.report import Cell, Heat, Lines, Section, Series, Table, rounded
from engine.insight.store import Base, Clock, Saved, norm

if TYPE_CHECKING:
    import torch


def sections(saved: Saved, places: Places, base: Base, clock: Clock) -> list[Section]:
    """Return a section for each kind of vector the adapter holds."""
    found = [make(saved, places) for make in (_biases, _scales, _ia3, _bottlenecks, _steps, _sparse)]
    found += [_norms(saved, places, base, clock), _tokens(saved, base)]
    return [one for one in found if one is not None]


def _biases(saved: Saved, places: Places) -> Section | None:
    heat = _means(saved, places, "bitfit_bias", "Mean |Δb|", lambda values: values.abs())
    return heat and Section(
        name="bias_change", title="Which biases moved",
        how="The mean change of each bias, by kind of layer and depth (figure 2 of the BitFit paper, where those of "
            "the query and of the feed-forward layer's wide side move most).", parts=[heat])


def _scales(saved: Saved, places: Places) -> Section | None:
    scale = _means(saved, places, "ssf_scale", "Mean |scale − 1|", lambda values: (values - 1).abs())
    shift = _means(saved, places, "ssf_shift", "Mean |shift|", lambda values: values.abs())
    return scale and Section(
        name="scale_shift", title="How outputs were scaled and shifted",
        how="How far the learned scales are from 1 and the shifts from 0, on average over a layer's outputs: the "
            "stronger the colour, the more was changed.", parts=[part for part in (scale, shift) if part])


def _ia3(saved: Saved, places: Places) -> Section | None:
    heat = _means(saved, places, "ia3_l", "Mean |scale − 1|", lambda values: (values - 1).abs())
    return heat and Section(
        name="scales", title="What was strengthened and weakened",
        how="How far the learned scales are from 1, on average: the stronger the colour, the more a layer was "
            "strengthened or weakened.",
        parts=[heat])


def _bottlenecks(saved: Saved, places: Places) -> Section | None:
    # The two methods of this kind never meet in one file.
    word = next((word for word in ("bottleneck_up", "adaptformer_up") if saved.has(word)), None)
    heat = _means(saved, places, word, "‖W_up‖", lambda values: values.norm()) if word else None
    return heat and Section(
        name="bottlenecks", title="How much each adapter adds",
        how="The length of the way up of each bottleneck (its Frobenius norm), which starts at or near zero: the "
            "stronger the colour, the more is added there.", parts=[heat])


def _steps(saved: Saved, places: Places) -> Section | None:
    learned = [(*places.of(module), float(saved.tensor(name).flatten()[0]))
               for module, name in saved.named("adaptformer_scale")]
    if not learned:
        return None
    start = saved.config.get("scale")
    points = sorted((layer + 1, value) for _, layer, value in learned if layer is not None)
    lines = [Series(name="learned s", x=[x for x, _ in points], y=rounded(y for _, y in points))]
    if isinstance(start, int | float):
        lines.append(Series(name="start", x=[x for x, _ in points], y=[start] * len(points)))
    return Section(
        name="learned_scale", title="How strongly each branch counts",
        how="The scale s that each block's branch found for itself, beside the one it started with; a negative one "
            "takes away what the branch gives.",
        parts=[Lines(title="Scale s", series=lines, x_title="layer", y_title="s")])


def _sparse(saved: Saved, places: Places) -> Section | None:
    """Return the share of each module's numbers that changed. Places are counted through weight, then bias."""
    rows, shares, kept, of = [], dict[str, float | None](), 0, 0
    for module, name in saved.named("sparse_index"):
        known = places.module(module)
        size = known.parameters if known is not None else 0
        if not size:
            continue
        changed = saved.shapes[name][0]
        values = saved.tensor(f"{module}.sparse_values").float()
        kept, of = kept + changed, of + size
        shares[module] = changed / size
        rows.append([module, changed, size, f"{1 - changed / size:.3%}",
                     *rounded([values.abs().mean() if changed else 0.0], 4)])
    if not of:
        return None
    untouched = sum(share == 0 for share in shares.values())
    return Section(
        name="sparsity", title="Which weights changed at all",
        how="The share of each matrix's numbers that differ from the base model's; all others are exactly as they "
            "were, and matrices without colour were left alone.",
        parts=[places.heat("Share of changed numbers", shares, percent=True),
               Table(title=f"Every matrix ({len(rows)})", rows=rows, numeric=[1, 2, 3, 4],
                     columns=["Matrix", "Changed", "Of", "Sparsity", "Mean change"])],
        facts={"changed": kept, "of": of, "sparsity": f"{1 - kept / of:.3%}", "matrices left alone": untouched})


def _norms(saved: Saved, places: Places, base: Base, clock: Clock) -> Section | None:
    """Return the change of norm layers that were trained whole, as LN tuning saves them."""
    changes: dict[str, float | None] = {}
    for parameter in ("ln_tuning_layers", "ln_tuning_layers.default"):
        for module, name in saved.named(parameter):
            before = None if clock.over else base.tensor(f"{module}.weight", saved.shapes[name])
            if before is not None:
                changes[module] = norm(saved.tensor(name), before) / max(norm(before), 1e-12)
    if not changes:
        return None
    return Section(
        name="norm_change", title="How much each norm layer changed",
        how="The length of the change of a norm layer's weights over that of the weights it started from.",
        parts=[places.heat("‖Δw‖ / ‖w‖", changes, percent=True)])


def _tokens(saved: Saved, base: Base) -> Section | None:
    """Return how far the vectors of single tokens moved; they are saved as what they became."""
    from engine import models, weights
    from engine.insight.prompts import words_of

    ids = saved.config.get("token_indices")
    module, name = next(saved.named("trainable_tokens_delta"), ("", ""))
    table = base.tensor(f"{module}.weight") if name and isinstance(ids, list) else None
    if table is None or not isinstance(ids, list) or len(ids) != saved.shapes[name][0]:
        return None
    before, after = table[ids].float(), saved.tensor(name).float()
    words = words_of(models.tokenizer_of(saved.folder))(ids) if weights.has_tokenizer(saved.folder) else map(str, ids)
    shares = (after - before).norm(dim=1) / before.norm(dim=1).clamp_min(1e-12)
    rows: list[list[Cell]] = [[word, number, share] for word, number, share in
                              zip(words, ids, rounded(shares), strict=True)]
    return Section(
        name="tokens", title="How far each token moved",
        how="The length of the change of a token's vector over that of the vector it started from.",
        parts=[Table(title="Tokens", columns=["Token", "Number", "Change"], rows=rows, numeric=[1, 2], open=True)])


def _means(saved: Saved, places: Places, parameter: str, title: str,
           of: Callable[[torch.Tensor], torch.Tensor]) -> Heat | None:
    """Return the map of the mean of what `of` makes of each tensor of that name; None where there are none."""
    values: dict[str, float | None] = {module: float(of(saved.tensor(name).float()).mean())
                                       for module, name in saved.named(parameter)}
    return places.heat(title, values, called=PARTS.get(parameter, "")) if values else None
