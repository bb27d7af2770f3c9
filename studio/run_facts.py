"""What opens on demand on a run's page: its predictions, log, preparation, settings, parameters and environment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from db import logs
from db.tables import Run
from db.users import User
from engine import preparation
from engine.errors import StudioError
from studio import cards, data_looks, service
from studio.service.suspects import evaluated_on
from studio.text import count, duration, esc, metric, size


def why(user: User, run: Run) -> str:
    """Return log and settings of a run that failed, the log opened: they stand before everything else."""
    return _log(user, run, opened=True) + _settings(run) if run.state == "failed" else ""


def facts(user: User, run: Run) -> str:
    """Return predictions, log, settings, parameters and environment, each opening on demand."""
    told = run.state == "failed"
    parts = [_predictions(user, run), "" if told else _log(user, run), _preparation(run),
             "" if told else _settings(run), _parameters(run), _environment(user, run)]
    return "".join(part for part in parts if part)


def _predictions(user: User, run: Run) -> str:
    found = _file(user, run, "examples.json") if run.examples else None
    if not found:
        return ""
    both = (_examples(found.get(which, []), f"{which.capitalize()} predictions", evaluated_on(run))
            for which in ("worst", "best"))
    return cards.more("Worst and best predictions", *both, opened=True)


def _examples(records: Sequence[Mapping[str, Any]], title: str, dataset_id: str | None) -> str:
    """Return records as a table, with links to their rows on the dataset's page where those are known."""
    verdicts = {True: "right", False: "wrong", None: "–"}
    rows = [(data_looks.link(dataset_id, record["number"]) if dataset_id and record.get("number") else "–",
             *(_short(record.get(name)) for name in ("input", "expected", "predicted")), metric(record.get("loss")),
             verdicts[record.get("correct")]) for record in records[:10]]
    table = cards.table(["Row", "Input", "Expected", "Predicted", "Loss", "Verdict"], rows, title, numeric=[0, 4],
                        html_columns=[0], texts=[1])
    return f"<h3>{esc(title)}</h3>{table}"


def _short(value: Any, length: int = 240) -> str:
    """Return a cell's text; where a model was not asked to write, nothing was predicted."""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        text = ", ".join(value) or "none"
    else:
        text = value if isinstance(value, str) else "–" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= length else text[:length - 1] + "…"


def _log(user: User, run: Run, *, opened: bool = False) -> str:
    lines = logs.tail(user, run.id, 300)
    text = "\n".join(f"{datetime.fromtimestamp(line.at):%H:%M:%S}  "
                     f"{'' if line.level == 'info' else line.level.upper() + '  '}{line.text}" for line in lines)
    return cards.more(f"Log ({count(run.log_lines)} lines)", cards.code(text, "log"), opened=opened) if lines else ""


def _preparation(run: Run) -> str:
    """Return the steps the rows went through; what each did stands in the log."""
    try:
        steps = preparation.parse((run.spec.get("data") or {}).get("steps") or [])
    except StudioError:
        return ""
    items = "".join(f"<li>{esc(step.told())}</li>" for step in steps)
    return cards.more(f"Preparation ({count(len(steps))})", f"<ol>{items}</ol>") if steps else ""


def _settings(run: Run) -> str:
    resolved = [(name.replace("_", " "), value if not isinstance(value, float) else metric(value))
                for name, value in (run.resolved or {}).items()]
    document = json.dumps(run.spec, indent=2, ensure_ascii=False)
    return cards.more("Settings", cards.facts(resolved) if resolved else "", cards.code(document, "RunSpec"),
                      cards.code(f"peft-studio runs spec {run.id} > spec.json\npeft-studio train spec.json",
                                 "command line"))


def _parameters(run: Run) -> str:
    if not run.parameters:
        return ""
    wanted = ("trained", "stored", "head", "total")
    counts = [(name.capitalize(), count(run.parameters.get(name))) for name in wanted if name in run.parameters]
    seconds = (run.result or {}).get("seconds") or {}
    times = [(f"Time to {name}" if name not in ("total", "start") else name.capitalize(), duration(value))
             for name, value in seconds.items()]
    stored = [("Adapter file", size((run.result or {}).get("adapter_bytes")))] if run.result else []
    return cards.more("Parameters and times", cards.facts([*counts, *stored, *times], columns=True))


def _environment(user: User, run: Run) -> str:
    found = _file(user, run, "environment.json")
    if not found:
        return ""
    return cards.more("Environment", cards.code(json.dumps(found, indent=2, ensure_ascii=False), "environment"))


def _file(user: User, run: Run, name: str) -> dict[str, Any] | None:
    try:
        found = json.loads(service.run_file(user, run.id, name).read_text(encoding="utf-8"))
    except (StudioError, OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
