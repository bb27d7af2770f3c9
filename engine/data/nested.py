"""JSON objects that hold several rows: articles and passages with their questions, tasks with their instances."""

from __future__ import annotations

from typing import Any

from engine.data import squad


def rows(value: Any) -> list[dict[str, Any]] | None:
    """Return the rows of a nested object, the fields around them repeated; None for an object that is one row."""
    if not isinstance(value, dict):
        return None
    if squad.is_article(value):
        return list(squad.rows(value))
    if squad.is_paragraph(value):
        return list(squad.questions(value, value.get("title")))
    instances = value.get("instances")
    if isinstance(instances, list) and len(instances) > 1 and all(isinstance(item, dict) for item in instances):
        # Each instance is an example of its own, as Self-Instruct means them.
        return [value | {"instances": [item]} for item in instances]
    return None
