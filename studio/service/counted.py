"""What counting told of a dataset's labels."""

from __future__ import annotations

from db.tables import Dataset


def labels(row: Dataset) -> list[str]:
    """Return the labels of a dataset, of tags the kinds of entities; nothing where not all of them are known."""
    stats = row.stats or {}
    found, of = stats.get("labels") or {}, stats.get("labels_of")
    # Kinds of entities are few: those of a part of the rows are not all of them.
    whole = len(found) == stats.get("label_count") if of == "rows" else \
        of in ("entities", "words") and stats.get("labels_counted") is None
    return list(found) if whole else []
