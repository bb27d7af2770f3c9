"""What the command line shows: tables, facts, progress, JSON, and one clear block for an error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

from engine.errors import StudioError
from engine.findings import Finding
from studio.text import count, duration, metric

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


def emit(value: Any) -> None:
    """Print a value as JSON for a program to read."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def say(text: str = "") -> None:
    """Print a line for a person."""
    typer.echo(text)


def aside(text: str) -> None:
    """Print a line about how things go, out of the way of what the command returns."""
    typer.echo(text, err=True)


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[tuple[str, str]], empty: str) -> None:
    """Print rows under the titles of `columns` (key, title), or `empty` when there are none."""
    cells = [[cell(row.get(key)) for key, _ in columns] for row in rows]
    if not cells:
        say(empty)
        return
    titles = [title for _, title in columns]
    widths = [max(len(line[i]) for line in [titles, *cells]) for i in range(len(titles))]
    for line in [titles, *cells]:
        say("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def facts(pairs: Iterable[tuple[str, Any]]) -> None:
    """Print `title  value` lines, those without a value left out."""
    shown = [(title, cell(value)) for title, value in pairs if value not in (None, "", [], {})]
    width = max((len(title) for title, _ in shown), default=0)
    for title, value in shown:
        say(f"{title.ljust(width)}  {value}")


def cell(value: Any) -> str:
    """Return a value as one short line."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        return metric(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={cell(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(cell(inner) for inner in value)
    return " ".join(str(value).split())


def failure(error: StudioError | Mapping[str, Any], *, as_json: bool = False) -> None:
    """Print an error on stderr: what happened, where, and what to do next."""
    parts = error.as_dict() if isinstance(error, StudioError) else dict(error)
    if as_json:
        typer.echo(json.dumps(parts, ensure_ascii=False), err=True)
        return
    typer.secho(f"Error: {parts.get('what')}", err=True, fg="red" if sys.stderr.isatty() else None)
    if parts.get("where"):
        typer.echo(f"  Where:    {parts['where']}", err=True)
    if parts.get("try_this"):
        typer.echo(f"  Try this: {parts['try_this']}", err=True)


def finding(item: Mapping[str, Any]) -> None:
    """Print one thing noticed about a dataset."""
    place = Finding.model_validate(item).place
    say(f"{str(item.get('level', '')).capitalize()}: {item.get('what')}" + (f" ({place})" if place else ""))
    if item.get("try_this"):
        say(f"  Try this: {item['try_this']}")


def progress(run: Mapping[str, Any]) -> str:
    """Return where a run is, in one line."""
    parts = [str(run.get("state"))]
    if run.get("state") == "running" and run.get("stage") not in ("train", "", None):
        parts.append(str(run["stage"]))
    if run.get("total_steps"):
        parts.append(f"update {count(run.get('step') or 0)} of {count(run['total_steps'])}")
    if run.get("loss") is not None:
        parts.append(f"training loss {metric(run['loss'])}")
    if run.get("metric_value") is not None:
        parts.append(f"evaluation {run.get('metric_name')} {metric(run['metric_value'])}")
    if run.get("eta") is not None and run.get("state") == "running":
        parts.append(f"{duration(run['eta'])} left")
    return " · ".join(parts)
