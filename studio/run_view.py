"""What is shown of one run: HTML and figures from its row, its curves and its files."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from db import adapters, datasets
from db.metrics import Curve
from db.tables import Adapter, Run
from db.users import User
from engine import methods, tasks
from engine.errors import StudioError
from engine.evaluation.report import Evaluation
from studio import cards, measures, plots, preview, rate_view, service
from studio.text import ago, count, duration, esc, metric, percent, short, size

STAGES = {"load": "Loading the model", "prepare": "Preparing the data", "train": "Training",
          "evaluate": "Evaluating", "save": "Saving"}
#: Why runs fail that may well succeed when they are started once more.
LOST = ("child_killed", "child_crashed", "child_unresponsive", "attempts_used_up", "not_enough", "out_of_memory")
#: Evaluation metrics drawn together must share a scale; these do, the others are drawn only when they decide.
SHARES = ("accuracy", "f1", "f1_micro", "matthews_correlation", "pearson", "spearman", "exact_match",
          "precision", "recall", "rouge1", "rouge2", "rougeL", "pattern_match")


def link(run: Run) -> str:
    """Return the run's name as a link, its model beneath."""
    return (f'<a href="/runs?run={esc(run.id)}"><b>{esc(run.name)}</b></a>'
            f'<br><span class="ps-muted">{esc(run.model)}</span>')


def how_far(run: Run) -> str:
    """Return progress as a small bar with the time left, or how long it took."""
    if run.state in ("succeeded", "failed", "cancelled"):
        took = (run.finished_at or 0) - (run.started_at or run.finished_at or 0)
        return f'<span class="ps-muted">{esc(duration(took))}</span>' if run.started_at else "–"
    if run.state in ("queued", "interrupted"):
        return '<span class="ps-muted">Waiting for a worker</span>'
    if not run.total_steps:
        return cards.progress(None, STAGES.get(run.stage, "Starting"))
    return cards.progress(run.step / run.total_steps, f"{run.step} of {run.total_steps}", run.eta)


def head(user: User, run: Run) -> str:
    """Return the run's name and state, what it is made of, its error and what to do next."""
    dataset = _named(user, run.dataset_id) or (run.data_names or {}).get("train", {}).get("name", "")
    method = methods.every().get(run.method)
    task = tasks.every().get(run.task)
    parts = [task.card.title if task else run.task, method.card.title if method else run.method, run.model, dataset,
             f"started {ago(run.created_at)}"]
    about = esc(" · ".join(part for part in parts if part))
    # What ended without a chart shows no empty ones: the stylesheet looks for data-over.
    over = " data-over" if run.state in ("succeeded", "cancelled", "failed") else ""
    title = (f'<div class="ps-run-head"{over}><p class="ps-crumb"><a href="/runs">All runs</a></p><h2>{esc(run.name)} '
             f'{cards.badge(run.state)}</h2><p class="ps-muted">{about}</p></div>')
    error = cards.error(run.error, run.spec) if run.error and run.state == "failed" else ""
    adapter = adapters.of_run(user, run.id)
    return title + error + (rate_view.result(run) or _next_steps(run, adapter)) + _sections(run, adapter)


def _sections(run: Run, adapter: Adapter | None) -> str:
    """Return links to the parts of the page of a run that has learned something, which is long."""
    if run.state not in ("succeeded", "cancelled") or not run.step:
        return ""
    there = [("Curves", "run-loss", True), ("How good it is", "run-evaluation", run.examples),
             ("Where the parameters are", "run-where", True), ("What was learned", "run-insight", adapter is not None),
             ("Predictions, log and settings", "run-facts", True)]
    items = "".join(f'<li><a href="#{id}">{esc(title)}</a></li>' for title, id, shown in there if shown)
    return f'<nav class="ps-sections" aria-label="On this page"><ul>{items}</ul></nav>'


def _named(user: User, dataset_id: str | None) -> str:
    try:
        return datasets.get(user, dataset_id).name if dataset_id else ""
    except StudioError:
        return ""


def _next_steps(run: Run, adapter: Adapter | None) -> str:
    again = ("Duplicate and edit", f"/train?from={run.id}")
    if run.state not in ("succeeded", "cancelled", "failed"):
        return ""
    if adapter is None:
        return cards.links([again, ("Compare", f"/compare?runs={run.id}")])
    lead = "The adapter is ready." if run.state == "succeeded" else "The run was stopped; what it learned is saved."
    trial = [("Try it beside the base", f"/playground?adapter={adapter.id}")] if tasks.playable(run.task) else []
    return cards.card("What next?", f"<p>{esc(lead)}</p>", actions=[
        *trial,
        ("Compare with other runs", f"/compare?runs={run.id}"),
        ("See and download the adapter", f"/adapters?adapter={adapter.id}"), again])


def beside(run: Run) -> str:
    """Return the link to other runs while this one trains; once it has ended, that stands among the next steps."""
    if run.state in ("succeeded", "cancelled", "failed"):
        return ""
    return cards.links([("Compare with other runs", f"/compare?runs={run.id}")], primary=False)


def live(run: Run, told: Evaluation | None = None, losses: Curve | None = None) -> str:
    """Return progress and the figures of the moment; `told` is the run's evaluation once there is one.

    Of a run that failed before it learned there are none.
    """
    if run.state == "failed" and not run.step:
        return ""
    bar = "" if run.state in ("succeeded", "failed", "cancelled") else cards.card("", how_far(run))
    latest, result = run.latest or {}, run.result or {}
    throughput, memory = result.get("throughput", {}), result.get("memory", {})
    speed = throughput.get("examples_per_second") or latest.get("train/examples_per_second")
    tokens = throughput.get("tokens_per_second") or latest.get("train/tokens_per_second")
    used = memory.get("peak_cuda_bytes") or memory.get("peak_rss_bytes") or latest.get("train/rss_bytes")
    parameters = run.parameters or {}
    share = parameters.get("percent")
    return bar + cards.stats([
        _score(run, told),
        loss(run, losses),
        ("Trained parameters", short(run.trained_parameters),
         f"{percent(share / 100)} of {short(run.total_parameters)}" if share else ""),
        ("Examples a second", metric(speed), f"{short(tokens)} tokens a second" if tokens else ""),
        ("Memory", size(used), f"{size(run.estimated_bytes)} were expected" if run.estimated_bytes else ""),
        _time(run)])


def loss(run: Run, losses: Curve | None) -> tuple[str, str, str]:
    """Return the training loss as the mean over the last tenth of the updates: that of one batch is noisy."""
    so_far = f"update {count(run.step)}, epoch {run.epoch:.2f}"
    points = list(zip(losses.steps, losses.mean, strict=True)) if losses else []
    last = [value for step, value in points if value is not None and step > 0.9 * points[-1][0]]
    if not last:
        return "Training loss", metric(run.loss), so_far
    return "Training loss", metric(sum(last) / len(last)), f"mean of the last tenth of updates; {so_far}"


def _score(run: Run, told: Evaluation | None) -> tuple[str, str, str]:
    """Return the score that decides: of what was saved once the run has ended, the best so far until then."""
    title = measures.title(run.metric_name)
    result = run.result or {}
    final, best = (result.get("metrics") or {}).get(run.metric_name), result.get("best") or {}
    if final is None:
        so_far = f"the best so far, at update {count(run.metric_step)}" if run.metric_step is not None else ""
        return title, measures.score(run.metric_name, run.metric_value), so_far or "not evaluated yet"
    sure = told.metrics.get(run.metric_name) if told else None
    said = measures.interval(run.metric_name, sure.low, sure.high) if sure else ""
    remark = f"{said} of the saved result".strip()
    shown = measures.score(run.metric_name, final)
    if best.get("metric") != run.metric_name or best.get("value") == final:
        return title, shown, remark
    there = measures.score(run.metric_name, best.get("value"))
    return title, shown, f"{remark}; {there} at update {count(best.get('step'))}"


def _time(run: Run) -> tuple[str, str, str]:
    if not run.started_at:
        return "Time", "–", "not started yet"
    if run.finished_at:
        return "Time", duration(run.finished_at - run.started_at), "from start to saved result"
    return "Time", duration(time.time() - run.started_at), f"{duration(run.eta)} left" if run.eta else ""


def figures(run: Run, curves: dict[str, Curve]) -> tuple[plots.Figure, ...]:
    """Return loss, quality, learning rate, gradient norm, throughput and memory over the updates."""
    deciding = f"eval/{run.metric_name}"
    # Of one label a text, micro F1 is the accuracy again.
    same = {"f1_micro"} if run.metric_name == "accuracy" else set[str]()
    shared = [f"eval/{name}" for name in SHARES if name not in same] \
        if run.metric_name in (*SHARES, "loss") else []
    quality = [name for name in dict.fromkeys([deciding, *shared]) if name in curves and name != "eval/loss"]
    return (
        _lines(curves, {"train/loss": "training", "eval/loss": "evaluation"}, "Loss", marks=("eval/loss",)),
        _lines(curves, {name: measures.title(name[5:]) for name in quality or ["eval/perplexity"]}, "Evaluation",
               marks=tuple(quality)),
        rate_view.figure(run, curves) if run.spec.get("rate_test") else
        _lines(curves, {"train/learning_rate": "learning rate"}, "Learning rate"),
        _lines(curves, {"train/grad_norm": "gradient norm"}, "Gradient norm"),
        _lines(curves, {"train/examples_per_second": "examples a second"}, "Examples a second"),
        _memory(curves))


def _lines(curves: Mapping[str, Curve], names: Mapping[str, str], title: str,
           marks: Sequence[str] = ()) -> plots.Figure:
    series = {label: (curves[name].steps, curves[name].mean) for name, label in names.items() if name in curves}
    # One line alone has no legend: the axis says what it is.
    y_title = next(iter(series)) if len(series) == 1 and marks else title.lower()
    drawn = plots.lines(series, label=title, x_title="update", y_title=y_title, marks=bool(marks) and all(
        name in marks for name in names if name in curves))
    scores = [name.removeprefix("eval/") for name in names if name in curves]
    if drawn["data"] and all(name.startswith("eval/") for name in names):
        drawn["layout"]["yaxis"] |= measures.axis(scores, [y for _, values in series.values() for y in values])
    return drawn


def _memory(curves: Mapping[str, Curve]) -> plots.Figure:
    names = {"train/rss_bytes": "memory", "train/cuda_bytes": "GPU memory"}
    series = {label: (curves[name].steps, [None if value is None else value / 1e9 for value in curves[name].high])
              for name, label in names.items() if name in curves and any(curves[name].high)}
    return plots.lines(series, label="Memory", x_title="update", y_title="GB")


def where(user: User, run: Run) -> plots.Figure:
    """Return the chart of the trained parameters: kind of module by layer."""
    if run.state == "failed" and not run.step:
        return plots.blank("Where the trained parameters are", "Nothing was trained.")
    try:
        found = service.check(user, run.spec).breakdown
    except StudioError:
        found = None
    if found is None:
        return plots.blank("Where the trained parameters are", "The base model's measurements are not here any more.")
    return preview.heat(found)


def resumable(run: Run) -> bool:
    """Whether going on is offered: of a failed run where it has a checkpoint, or ended through no fault of its own."""
    lost = (run.error or {}).get("kind") in LOST
    return run.state == "cancelled" or (run.state == "failed" and (lost or run.checkpoint_step is not None))
