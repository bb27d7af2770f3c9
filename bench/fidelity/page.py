"""docs/fidelity.md: the tables, and for each of the papers' claims whether it holds in them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bench.fidelity.comparison import Comparison, Effort

HEAD = """# Do the papers' findings hold here?

Mean and standard deviation over seeds, in points. In a comparison every method had the same rows, updates and effort:
learning rates around its own default were tried on rows of their own, and the best was taken. A claim holds where one
mean lies above the other as claimed; the lead, in points, is in brackets. Made by `python -m bench.fidelity`.
"""
#: Scores (0 to 1), one a seed, by model, dataset and method.
Scores = Mapping[tuple[str, str, str], Sequence[float]]


def render(found: Iterable[tuple[Comparison, Scores]]) -> str:
    """Return the page; comparisons without scores, and datasets not yet run with every method, are left out."""
    return "\n".join([HEAD, *(line for comparison, scores in found if scores for line in _section(comparison, scores))])


def _section(comparison: Comparison, scores: Scores) -> list[str]:
    lines: list[str] = []
    for model in dict.fromkeys(model for model, _, _ in scores):
        metrics = {source.name: source.metric for source in comparison.sources
                   if _complete(comparison, scores, model, source.name)}
        if not metrics:
            continue
        lines += [f"### {Path(model).name}", "", *_table(comparison, scores, model, metrics), "",
                  *_claims(comparison, scores, model, list(metrics)), ""]
    head = [f"## {comparison.title}", "", comparison.about, "", _effort(comparison.effort), ""]
    return head + lines if lines else []


def _complete(comparison: Comparison, scores: Scores, model: str, source: str) -> bool:
    """Tell whether all methods were run on a dataset, each with as many seeds."""
    counts = {len(scores.get((model, source, method), ())) for method in comparison.methods}
    return len(counts) == 1 and 0 not in counts


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
        cells = [scores[model, source, method] for source in metrics]
        mean = f"{100 * statistics.mean(map(statistics.mean, cells)):.1f}"
        rows.append([method, *map(_cell, cells), *([mean] if several else [])])
    return [f"| {' | '.join(row)} |" for row in rows]


def _cell(values: Sequence[float]) -> str:
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


def _claims(comparison: Comparison, scores: Scores, model: str, sources: Sequence[str]) -> list[str]:
    """Return the table of claims, and below it why those that do not hold do not, where that is known."""
    lines = ["| Claim | " + " | ".join(sources) + " |", "|---" * (len(sources) + 1) + "|"]
    reasons: dict[str, None] = {}
    for claim in comparison.claims:
        cells: list[str] = []
        for source in sources:
            better, worse = (100 * statistics.mean(scores[model, source, name]) for name in (claim.better, claim.worse))
            holds = claim.holds(better - worse)
            cells.append(f"{'holds' if holds else '**does not hold**'} ({better - worse:+.1f})")
            if not holds and (reason := claim.reasons.get((Path(model).name, source))):
                reasons[f"- {source}: {reason}"] = None
        lines.append(f"| {claim.words()} | " + " | ".join(cells) + " |")
    return lines + (["", "Why some do not hold:", "", *reasons] if reasons else [])
