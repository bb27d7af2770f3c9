"""What is shown of several runs together: overlaid curves, differing settings, scores, quality against cost."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from db.metrics import Curve
from db.tables import Run
from engine import spec
from engine.errors import StudioError
from studio import cards, form, measures, plots, titles
from studio.run_view import how_far, link
from studio.service.suspects import evaluated_on
from studio.text import duration, esc, metric, percent, short, size

#: Metrics that are drawn on the run's page only: they describe the machine, not the run.
HIDDEN = ("train/rss_bytes", "train/cuda_bytes")


def labels(runs: Sequence[Run]) -> dict[str, str]:
    """Return a name for each run id, made distinct where two runs are called the same."""
    names = [run.name for run in runs]
    return {run.id: run.name if names.count(run.name) == 1 else f"{run.name} ({run.id[-4:]})" for run in runs}


def title(name: str) -> str:
    """Return a metric's name as a person reads it: "eval/f1_micro" -> "Evaluation: Micro F1"."""
    part, _, word = name.partition("/")
    return f"{ {'train': 'Training', 'eval': 'Evaluation'}.get(part, part)}: {measures.title(word)}"


def metric_names(runs: Sequence[Run]) -> list[str]:
    """Return the metrics that any of the runs has, evaluation first."""
    names = {name for run in runs for name in run.latest or {}} - set(HIDDEN)
    return sorted(names or {"train/loss"}, key=lambda name: (not name.startswith("eval/"), name))


def deciding(runs: Sequence[Run], names: Sequence[str]) -> str:
    """Return the metric to draw first: the training loss, which has the most points."""
    return "train/loss" if "train/loss" in names else names[0]


def amount(text: str) -> float:
    """Return the smoothing an address asks for, between 0 and 0.99; 0 for what is no number."""
    try:
        return min(max(float(text), 0.0), 0.99)
    except ValueError:
        return 0.0


def curves(runs: Sequence[Run], found: Sequence[Curve], name: str, axis: str, smoothing: float) -> plots.Figure:
    """Return the overlaid curves of one metric; `axis` is step, epoch or time, `smoothing` from 0 to below 1.

    Where a curve is smoothed, what was measured stands behind it as a pale line.
    """
    shown = labels(runs)
    places = {run.id: place for place, run in enumerate(runs)}
    series: dict[str, tuple[Sequence[plots.Number], Sequence[plots.Number]]] = {}
    colours: dict[str, int] = {}
    behind: list[dict[str, Any]] = []
    for curve in found:
        label = shown[curve.run_id]
        x = _positions(curve, axis)
        series[label] = (x, smooth(curve.mean, smoothing))
        colours[label] = places[curve.run_id]
        if smoothing > 0:
            behind.append({"type": "scatter", "mode": "lines", "x": x, "y": list(curve.mean), "showlegend": False,
                           "hoverinfo": "skip", "name": plots.plain(f"{label}, measured"),
                           "line": {"color": f"{plots.colour(places[curve.run_id])}/0.3", "width": 1}})
    below = {"step": "update", "epoch": "epoch", "time": "seconds since the start"}[axis]
    drawn = plots.lines(series, label=f"Curves: {title(name)}", x_title=below, y_title=title(name), colours=colours,
                        height=380)
    part, _, score = name.partition("/")
    if part == "eval" and drawn["data"]:
        drawn["layout"]["yaxis"] |= measures.axis([score], [value for curve in found for value in curve.mean])
    drawn["data"] = [*behind, *drawn["data"]]
    return drawn


def _positions(curve: Curve, axis: str) -> list[float | None]:
    if axis == "epoch":
        return list(curve.epochs)
    if axis == "time":
        return [moment - curve.times[0] for moment in curve.times]
    return [float(step) for step in curve.steps]


def smooth(values: Sequence[float | None], amount: float) -> list[float | None]:
    """Return the exponential moving average of `values`, corrected for its start; gaps stay gaps."""
    if amount <= 0:
        return list(values)
    average, weight, result = 0.0, 0.0, list[float | None]()
    for value in values:
        if value is None:
            result.append(None)
            continue
        average = amount * average + (1 - amount) * value
        weight = amount * weight + (1 - amount)
        result.append(average / weight)
    return result


def table(runs: Sequence[Run]) -> str:
    """Return scores and costs, one row a run; the best of each score is marked among runs of the same task and data."""
    names = list(dict.fromkeys(name for run in runs for name in _scores(run)))
    best = {(name, _group(run)): _best(name, [other for other in runs if _group(other) == _group(run)])
            for name in names for run in runs}

    def score(run: Run, name: str) -> str:
        value = _scores(run).get(name)
        text = esc(measures.score(name, value))
        return f"<b>{text}</b>" if value is not None and value == best[name, _group(run)] else text

    columns = ["Run", "State", *(measures.title(name) for name in names), "Trained", "Share", "Adapter", "Time",
               "Examples/s", "Memory"]
    rows = [(link(run), cards.badge(run.state) if run.state in ("succeeded", "failed", "cancelled") else how_far(run),
             *(score(run, name) for name in names), *_costs(run)) for run in runs]
    count = len(columns)
    made = cards.table(columns, rows, "Scores and costs", numeric=list(range(2, count)),
                       html_columns=list(range(2 + len(names))))
    return cards.card("Scores and costs", _measured_apart(runs), made)


def _group(run: Run) -> tuple[Any, ...]:
    """Return what a run was measured on: runs whose scores may be compared have the same."""
    told = run.spec.get("data") or {}
    # The rows of a dataset that was deleted are told from others by its id.
    return run.task, evaluated_on(run) or told.get("eval") or told.get("train"), run.eval_rows


def _measured_apart(runs: Sequence[Run]) -> str:
    """Return a word of warning where the runs' scores are not of the same rows."""
    groups = {_group(run) for run in runs if _scores(run)}
    if len(groups) < 2:
        return ""
    what = "for different tasks" if len({group[0] for group in groups}) > 1 else "on different rows"
    return cards.note("The best is marked only among runs that share task and rows. To compare them all, evaluate the "
                      "adapters on one dataset, on their pages.", "warn", f"These runs were measured {what}.")


def _scores(run: Run) -> dict[str, float]:
    final = (run.result or {}).get("metrics")
    if isinstance(final, dict) and final:
        return {name: value for name, value in final.items() if isinstance(value, int | float)}
    return {name[5:]: value for name, value in (run.latest or {}).items()
            if name.startswith("eval/") and isinstance(value, int | float)}


def _rises(name: str) -> bool:
    return name not in ("loss", "perplexity", "mse", "mae")


def _best(name: str, runs: Sequence[Run]) -> float | None:
    """Return the best of a score among comparable runs, None when fewer than two have it or all are equal."""
    known = [value for run in runs if (value := _scores(run).get(name)) is not None]
    greater = {run.metric_name: run.metric_greater for run in runs}.get(name, _rises(name))
    return (max(known) if greater else min(known)) if len(set(known)) > 1 else None


def _costs(run: Run) -> tuple[str, ...]:
    result, parameters = run.result or {}, run.parameters or {}
    memory = result.get("memory", {})
    share = parameters.get("percent")
    return (short(run.trained_parameters), percent(share / 100) if share is not None else "–",
            size(result.get("adapter_bytes")), duration((result.get("seconds") or {}).get("total")),
            metric((result.get("throughput") or {}).get("examples_per_second")),
            size(memory.get("peak_cuda_bytes") or memory.get("peak_rss_bytes")))


def scatter(runs: Sequence[Run]) -> plots.Figure:
    """Return quality against trained parameters, for the metric that decides most of the runs."""
    deciders = [run.metric_name for run in runs]
    name = max(deciders, key=deciders.count)
    shown = labels(runs)
    points = [(shown[run.id], run.trained_parameters, run.metric_value if run.metric_name == name else None)
              for run in runs]
    sizes = [x for _, x, y in points if x and y is not None]
    drawn = plots.points(points, label="Quality against trained parameters", x_title="trained parameters",
                         y_title=measures.title(name), log_x=bool(sizes) and max(sizes) >= 10 * min(sizes))
    if drawn["data"]:
        drawn["layout"]["yaxis"] |= measures.axis([name], [y for _, x, y in points if x is not None])
        drawn["layout"]["xaxis"] |= {"tickformat": f".{digits(sizes)}~s"}
        if drawn["layout"]["xaxis"]["type"] == "log":
            drawn["layout"]["xaxis"]["dtick"] = "D2"
        if sizes and min(sizes) == max(sizes):
            drawn["layout"]["xaxis"]["range"] = [sizes[0] / 2, sizes[0] * 3 / 2]
    return drawn


def digits(numbers: Sequence[float]) -> int:
    """Return how many digits tell marks between the smallest and the largest number apart, at least 3."""
    spread = max(numbers, default=0) - min(numbers, default=0)
    return max(3, math.ceil(math.log10(max(numbers) / spread)) + 2) if spread > 0 else 3


def differences(runs: Sequence[Run], names: Mapping[str, str]) -> str:
    """Return the settings in which the runs differ, one row a setting, one column a run; `names` are of datasets."""
    documents = [complete(run.spec) for run in runs]
    flat = [found_out(flatten(whole, whole), run.resolved or {}) for run, whole in zip(runs, documents, strict=True)]
    keys = list(dict.fromkeys(key for one in flat for key in one))
    differing = [key for key in keys if len({json.dumps(one.get(key), sort_keys=True) for one in flat}) > 1]
    if len(runs) < 2 or not differing:
        text = "Every setting is the same." if len(runs) > 1 else "Choose a second run to see where they differ."
        return cards.card("Settings that differ", f"<p>{esc(text)}</p>")
    shown = labels(runs)
    rows = [_row(key, documents, flat, names) for key in differing]
    return cards.card("Settings that differ", cards.table(["Setting", *shown.values()], rows, "Settings that differ"))


def found_out(flat: Mapping[str, Any], resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with what "auto" came to beside the word: "0.002 (auto)"."""
    shown: dict[str, Any] = {}
    for key, value in flat.items():
        came_to = resolved.get(key.rpartition(".")[2])
        text = metric(came_to) if isinstance(came_to, float) else str(came_to)
        shown[key] = f"{text} (auto)" if value == "auto" and came_to not in (None, "auto") else value
    return shown


def complete(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's document with the default of every setting it leaves out; as it is where it is no longer valid."""
    try:
        parsed = spec.parse(dict(document))
    except StudioError:
        return dict(document)
    options = {key: value for key, value in parsed.make_task().model_dump(mode="json").items() if key != "name"}
    whole = parsed.model_dump(mode="json")
    return whole | {"data": whole["data"] | {"options": options}}


def flatten(part: Mapping[str, Any], document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a part of a document as one mapping of dotted keys; pairs that are one setting's value stay together."""
    flat: dict[str, Any] = {}
    for key, value in part.items():
        found = titles.find(f"{prefix}{key}", document)
        pairs = found is not None and found.field is not None and form.field(key, found.field)["kind"] == "pairs"
        if isinstance(value, Mapping) and value and (not pairs or f"{prefix}{key}" in titles.PARTS):
            flat |= flatten(value, document, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _row(key: str, documents: Sequence[Mapping[str, Any]], flat: Sequence[Mapping[str, Any]],
         names: Mapping[str, str]) -> tuple[str, ...]:
    """Return a setting's title and its value in each run; a run whose method or task does not know it has a dash."""
    known = [titles.find(key, whole) if key in one else None for whole, one in zip(documents, flat, strict=True)]
    first = next((found for found in known if found is not None), None)
    # What has no title is said by its path: "columns › text".
    title = first.whole if first is not None else key.replace("_", " ").replace(".", " › ")
    return title, *(_value(key, one[key], found, names) if key in one else "–"
                    for found, one in zip(known, flat, strict=True))


def _value(key: str, value: Any, found: titles.Setting | None, names: Mapping[str, str]) -> str:
    own = names.get(value, "") if isinstance(value, str) else ""
    return own or titles.called(key, value) or titles.shown(found, value)
