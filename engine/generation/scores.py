"""How good written answers are: exact match, ROUGE, BLEU, chrF and what a pattern finds, from counts that add up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from engine import rouge
from engine.generation import chrf, pattern

#: Means over answers; the others come from sums over all of them.
MEANS = ("exact_match", "rouge1", "rouge2", "rougeL")
Counts = dict[str, Any]


def losses(nats: float, tokens: int) -> Counts:
    """Return the counts of a text whose `tokens` have a summed loss of `nats`."""
    return {"nats": nats, "tokens": tokens}


def compared(written: Sequence[str], expected: Sequence[Sequence[str]], wanted: str = "") -> list[Counts]:
    """Return the counts of each answer, compared with its references, of which there is at least one.

    `answers` 1, `exact_match`, the best `rouge1`, `rouge2` and `rougeL`, `bleu` (lengths, then matches and totals of 1
    to 4 words), `chrf`; and where the pattern `wanted` is found in a reference, `patterns` 1 and `pattern_match`.
    """
    import sacrebleu

    metric: Any = sacrebleu.BLEU()
    counts: list[Counts] = []
    for answer, references in zip(written, expected, strict=True):
        each = [rouge.scores(answer, text) for text in references]
        bleu = metric.corpus_score([answer], [[text] for text in references])
        counts.append({"answers": 1, "exact_match": int(any(same(answer, text) for text in references)),
                       **{name: max(found[name] for found in each) for name in each[0]},
                       "bleu": [int(n) for n in (bleu.sys_len, bleu.ref_len, *bleu.counts, *bleu.totals)],
                       "chrf": chrf.statistics(answer, references)})
    return _with_pattern(counts, written, expected, wanted) if wanted else counts


def _with_pattern(counts: list[Counts], written: Sequence[str], expected: Sequence[Sequence[str]],
                  wanted: str) -> list[Counts]:
    said = pattern.found(written, wanted)
    right = iter(pattern.found([text for references in expected for text in references], wanted))
    for count, one, references in zip(counts, said, expected, strict=True):
        options = {next(right) for _ in references} - {None}
        if options:
            count |= {"patterns": 1, "pattern_match": int(one in options)}
    return counts


def summary(counts: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the metrics of any number of texts, or of the sums of their counts: `loss`, `perplexity` and the others.

    BLEU and chrF (0 to 100) are those of the corpus, not means. BLEU is sacrebleu's with its defaults: 13a tokens,
    mixed case, exponential smoothing.
    """
    sums = _added(counts)
    metrics: dict[str, float] = {}
    if "tokens" in sums:
        loss = sums["nats"] / sums["tokens"] if sums["tokens"] else math.nan
        metrics = {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}
    if not sums.get("answers"):
        return metrics
    metrics |= {name: sums[name] / sums["answers"] for name in MEANS}
    import sacrebleu

    library: Any = sacrebleu
    lengths, correct, total = sums["bleu"][:2], sums["bleu"][2:6], sums["bleu"][6:]
    metrics["bleu"] = float(library.BLEU.compute_bleu(
        correct=correct, total=total, sys_len=round(lengths[0]), ref_len=round(lengths[1]), smooth_method="exp").score)
    metrics["chrf"] = chrf.score(sums["chrf"])
    if sums.get("patterns"):
        metrics["pattern_match"] = sums["pattern_match"] / sums["patterns"]
    return metrics


def shares(counts: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the metrics that are shares of texts, each right or wrong, with how many texts each is a share of."""
    return {"exact_match": sum(int(count.get("answers", 0)) for count in counts),
            "pattern_match": sum(int(count.get("patterns", 0)) for count in counts)}


def _added(counts: Sequence[Mapping[str, Any]]) -> Counts:
    """Return the sum of each count, lists place by place; in one order, so that equal rows give equal sums."""
    sums: Counts = {}
    for name in dict.fromkeys(name for count in counts for name in count):
        values = [count[name] for count in counts if name in count]
        lists = isinstance(values[0], list)
        sums[name] = [math.fsum(places) for places in zip(*values, strict=True)] if lists else math.fsum(values)
    return sums


def same(written: str, expected: str) -> bool:
    """Tell whether two texts are equal, spare blanks aside."""
    return written.split() == expected.split()


def spread(rows: int, most: int) -> list[int]:
    """Return at most `most` of the numbers below `rows`, evenly spread."""
    count = min(rows, most)
    return [i * rows // count for i in range(count)]
