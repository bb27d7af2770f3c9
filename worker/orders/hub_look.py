"""Order `hub_look`: ask the Hub what a dataset holds, and fetch the first rows of one of its splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from worker.line import Line

#: Characters of a cell that are shown, and the entries of a list.
LONGEST, MOST = 2_000, 50


def carry_out(order: dict[str, Any], line: Line) -> dict[str, Any]:
    """Return what was found, as JSON values: `listing`, without the files of the splits, and what is `chosen`.

    `order`: data_dir and `asked`: id, revision (or null), config, split, and `rows`; with rows to show, `columns` and
    `rows` are those of the split, or `problem` says why there are none. Raises DataError.
    """
    from engine import hub_data
    from engine.errors import DataError

    asked = order["asked"]
    listing = hub_data.look(asked["id"], asked.get("revision"), Path(order["data_dir"]) / "hub")
    found: dict[str, Any] = {"listing": plain(listing), "chosen": None}
    try:
        chosen = listing.choose(asked.get("config") or "", asked.get("split") or "")
    except DataError:
        # Which one is left open by somebody who only looks.
        if asked.get("config") or asked.get("split"):
            raise
        return found
    found["chosen"] = chosen._asdict()
    if asked.get("rows"):
        line.progress(0.5, "Fetching the first rows")
        try:
            shown = hub_data.preview(listing, chosen.config, chosen.split, asked["rows"])
        except DataError as error:
            return found | {"problem": error.as_dict()}
        found |= {"columns": shown.columns, "rows": short(shown.rows)}
    return found


def plain(listing: Any) -> dict[str, Any]:
    """Return a listing with how many files a split has instead of their names."""
    made = listing.model_dump(mode="json")
    for config in made["configs"]:
        for split in config["splits"]:
            split["files"] = len(split["files"])
    return made


def short(value: Any) -> Any:
    """Return rows to be looked at: long texts and lists are cut."""
    if isinstance(value, str):
        return value if len(value) <= LONGEST else value[:LONGEST] + "…"
    if isinstance(value, dict):
        return {key: short(inner) for key, inner in value.items()}
    return [short(inner) for inner in value[:MOST]] if isinstance(value, list) else value
