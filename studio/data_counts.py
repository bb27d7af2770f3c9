"""What was counted in a dataset, as figures on its page: rows, labels, lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from db.tables import Dataset
from studio import cards, plots
from studio.text import count, percent, plural

SHOWN_LABELS = 40


def numbers(row: Dataset, beside: Sequence[Dataset]) -> str:
    """Return the counts a person wants before paying for training."""
    stats = row.stats or {}
    if not stats:
        return ""
    duplicates, overlap = stats.get("duplicates") or {}, stats.get("overlap") or {}
    empty, lengths = sum((stats.get("empty") or {}).values()), stats.get("characters") or {}
    other = stats.get("eval_rows") or next((one.rows for one in beside), None)
    more = f"{count(other)} more to evaluate on" if other else "" if row.eval_of_id or beside else \
        "a share is kept to evaluate"
    if stats.get("counted"):
        more = f"{count(stats['counted'])} counted so far"
    items = [("Rows", count(stats.get("rows")), more),
             ("Duplicates", count(duplicates.get("count")),
              f"{count(duplicates['conflicting'])} with different answers" if duplicates.get("conflicting") else ""),
             ("Empty cells", count(empty), "in all columns")]
    if lengths:
        longest = f"characters; the longest has {count(lengths.get('max'))}"
        items.append(("Typical length", count(lengths.get("p50")), longest))
    if stats.get("label_count"):
        kinds = stats.get("labels_of") in ("entities", "words")
        items.insert(1, ("Tags" if kinds else "Labels", count(stats["label_count"]),
                         plural(len(stats["labels"]), "kind") if kinds else ""))
    if overlap:
        share = f"{percent(overlap.get('share'))} of the evaluation"
        items.append(("Also in training", count(overlap.get("count")), share))
    return cards.stats(items)


def labels(row: Dataset) -> plots.Figure:
    """Return how many rows each label has, entities each kind, questions an answer; or how numbers are spread."""
    stats = row.stats or {}
    found: Mapping[str, int] = stats.get("labels") or {}
    if spread := stats.get("label_numbers"):
        return plots.histogram(spread["edges"], spread["counts"], label="Scores", x_title="score")
    if not found:
        if row.columns and stats:
            return plots.blank("Labels", "This data has no labels to count: its answers are texts.")
        return plots.blank("Labels", "Labels are drawn here when a column holds them.")
    most = sorted(found.items(), key=lambda item: -item[1])[:SHOWN_LABELS]
    rest = len(found) - len(most)
    of = str(stats.get("labels_of") or "rows")
    title = {"entities": "Entities", "words": "Tags", "questions": "Answers"}.get(of, "Labels")
    return plots.bars(dict(most), label=title, title=f"{of}; {rest} rarer ones not shown" if rest > 0 else of)


def lengths(row: Dataset) -> plots.Figure:
    """Return how long rows are: in tokens against the model's limit where they were tokenised, else in characters."""
    stats = row.stats or {}
    tokens: Mapping[str, Any] | None = stats.get("tokens")
    spread = tokens or stats.get("characters")
    if not spread:
        return plots.blank("Lengths", "Lengths are drawn here once the file is read.")
    unit = "tokens" if tokens else "characters"
    mark = tokens.get("limit") if tokens else None
    return plots.histogram(spread["edges"], spread["counts"], label=f"Lengths in {unit}", x_title=unit, mark=mark,
                           mark_text=f"limit: {count(mark)} tokens" if mark else "")


def over(row: Dataset) -> str:
    """Return in words how much of the data is longer than the model takes."""
    tokens = (row.stats or {}).get("tokens") or {}
    if not tokens:
        return ""
    limit, share = tokens.get("limit"), tokens.get("over") or 0
    windows = (row.stats or {}).get("beyond") == "windows"
    text = f"Half of the rows have at most {count(tokens.get('p50'))} tokens, 95 % at most {count(tokens.get('p95'))}."
    if limit:
        then = "are read in several windows" if windows else "would be cut"
        text += f" {percent(share)} are longer than {count(limit)} tokens and {then}." if share else (
            f" None is longer than {count(limit)} tokens.")
    if tokens.get("sampled"):
        text += f" Counted on {count(tokens.get('rows'))} rows drawn at random."
    return cards.note(text, "warn" if share > 0.05 and not windows else "info")
