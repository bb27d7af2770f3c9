"""docs/fidelity.md: the tables, and for each of the papers' claims whether it holds in them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bench.fidelity.comparison import Claim, Comparison, Effort

HEAD = """# Do the papers' findings hold here?

Mean and standard deviation over seeds, in points. In a comparison every method had the same rows, updates and effort:
learning rates around its own default were tried on rows of their own, and the best was taken. A claim holds where one
mean lies above the other as claimed; the lead, in points, is in brackets. Made by `python -m bench.fidelity`.
"""
#: Scores (0 to 1), one a seed, by model, dataset and method.
Scores = Mapping[tuple[str, str, str], Sequence[float]]


def render(found: Iterable[tuple[Comparison, Scores]]) -> str:
    """Return the page; comparisons without scores are left out."""
    return "\n".join([HEAD, *(line for comparison, scores in found if scores for line in _section(comparison, scores))])


def _section(comparison: Comparison, scores: Scores) -> list[str]:
    lines = [f"## {comparison.title}", "", comparison.about, "", _effort(comparison.effort), ""]
    for model in dict.fromkeys(model for model, _, _ in scores):
        metrics = {source.name: source.metric for source in comparison.sources
                   if any(key[:2] == (model, source.name) for key in scores)}
        lines += [f"### {Path(model).name}", "", *_table(comparison, scores, model, metrics), "",
                  *_claims(comparison, scores, model, list(metrics)), ""]
    return lines


def _effort(effort: Effort) -> str:
    *most, last = [f"{factor:.2g}" for factor in effort.factors]
    factors = f"{', '.join(most)} and {last}" if most else last
    return (f"At most {effort.train:,} rows to learn from and {effort.test:,} to be scored on; epochs: "
            f"{effort.epochs}, batch size: {effort.batch}, learning rates: {factors} times the default, seeds: "
            f"{len(effort.seeds)}.")


def _table(comparison: Comparison, scores: Scores, model: str, metrics: Mapping[str, str]) -> list[str]:
    several = len(metrics) > 1
    heads = ["Method", *(f"{name} ({metric})" for name, metric in metrics.items()), *(["mean"] if several else [])]
    rows = [heads, ["---"] * len(heads)]
    for method in comparison.methods:
        cells = [scores.get((model, source, method)) for source in metrics]
        known = [statistics.mean(cell) for cell in cells if cell]
        mean = f"{100 * statistics.mean(known):.1f}" if len(known) == len(cells) else ""
        if known:
            rows.append([method, *map(_cell, cells), *([mean] if several else [])])
    return [f"| {' | '.join(row)} |" for row in rows]


def _cell(values: Sequence[float] | None) -> str:
    if not values:
        return ""
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


def _claims(comparison: Comparison, scores: Scores, model: str, sources: Sequence[str]) -> list[str]:
    """Return the table of claims, and below it why those that do not hold do not, where that is known."""
    lines = ["| Claim | " + " | ".join(sources) + " |", "|---" * (len(sources) + 1) + "|"]
    reasons: dict[str, None] = {}
    for claim in comparison.claims:
        cells: list[str] = []
        for source in sources:
            lead = _lead(claim, scores, model, source)
            holds = lead is not None and claim.holds(lead)
            cells.append("" if lead is None else f"{'holds' if holds else '**does not hold**'} ({lead:+.1f})")
            if lead is not None and not holds and (reason := claim.reasons.get((Path(model).name, source))):
                reasons[f"- {source}: {reason}"] = None
        if any(cells):
            lines.append(f"| {claim.words()} | " + " | ".join(cells) + " |")
    return lines + (["", "Why some do not hold:", "", *reasons] if reasons else [])


def _lead(claim: Claim, scores: Scores, model: str, source: str) -> float | None:
    """Return by how many points the one leads the other; None while either is missing."""
    better, worse = (scores.get((model, source, name)) for name in (claim.better, claim.worse))
    if not better or not worse:
        return None
    return 100 * (statistics.mean(better) - statistics.mean(worse))
