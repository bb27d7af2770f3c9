"""docs/fidelity.md: the tables, and for each of the papers' claims whether it holds in them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.report import ROOT

PAGE = ROOT / "docs" / "fidelity.md"
Scores = dict[tuple[str, str, str], list[float]]


@dataclass(frozen=True)
class Claim:
    """`better` scores at least `margin` points above `worse` (below zero: at most that much under it)."""

    better: str
    worse: str
    margin: float
    paper: str


CLAIMS = (
    Claim("bitfit b_q", "head", 0, "BitFit, table 3"), Claim("bitfit", "bitfit b_q", 0, "BitFit, table 3"),
    Claim("bitfit", "random uniform", 0, "BitFit, table 3"), Claim("bitfit", "random rows", 0, "BitFit, table 3"),
    Claim("bitfit", "full", -2, "BitFit, table 1"), Claim("lora", "full", -2, "LoRA, table 2"),
    Claim("adapter", "full", -2, "Houlsby et al., table 1"),
    Claim("p_tuning_v2", "prompt_tuning", 5, "P-tuning v2, table 2"))


def write(scores: Scores, methods: Sequence[str], metrics: dict[str, str]) -> None:
    """Write the page from scores (0 to 1) by model, dataset and method, one a seed."""
    lines = ["# Do the papers' findings hold here?", "",
             "Mean and standard deviation over seeds, in points. Every method had the same rows, updates and effort: "
             "three learning rates tried on rows of their own, the best taken. Made by `python -m bench.fidelity`.", ""]
    for model in dict.fromkeys(model for model, _, _ in scores):
        sources = list(dict.fromkeys(source for name, source, _ in scores if name == model))
        lines += [f"## {model}", "", "| Method | " + " | ".join(f"{s} ({metrics[s]})" for s in sources) + " | mean |",
                  "|---" * (len(sources) + 2) + "|"]
        for method in methods:
            cells = [scores.get((model, source, method)) for source in sources]
            known = [statistics.mean(cell) for cell in cells if cell]
            mean = f"{100 * statistics.mean(known):.1f}" if len(known) == len(sources) else ""
            lines.append(f"| {method} | " + " | ".join(map(_cell, cells)) + f" | {mean} |")
        lines += ["", "| Claim | " + " | ".join(sources) + " |", "|---" * (len(sources) + 1) + "|"]
        for claim in CLAIMS:
            found = [_holds(claim, scores, model, source) for source in sources]
            lines.append(f"| {_words(claim)} | " + " | ".join(found) + " |")
        lines.append("")
    PAGE.write_text("\n".join(lines), encoding="utf-8")


def _cell(values: list[float] | None) -> str:
    if not values:
        return ""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{100 * statistics.mean(values):.1f} ± {100 * spread:.1f}"


def _words(claim: Claim) -> str:
    if claim.margin < 0:
        return f"{claim.better} within {-claim.margin:g} points of {claim.worse} ({claim.paper})"
    more = f" by {claim.margin:g} points" if claim.margin else ""
    return f"{claim.better} above {claim.worse}{more} ({claim.paper})"


def _holds(claim: Claim, scores: Scores, model: str, source: str) -> str:
    """Return whether a claim holds on a dataset, and by how many points the one leads the other."""
    both = [scores.get((model, source, name)) for name in (claim.better, claim.worse)]
    if not both[0] or not both[1]:
        return ""
    lead = 100 * (statistics.mean(both[0]) - statistics.mean(both[1]))
    return f"{'holds' if lead >= claim.margin else '**no**'} ({lead:+.1f})"
