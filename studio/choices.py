"""What can be chosen on the Train page: datasets, tasks, base models and methods, with reasons where one cannot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, get_args

from db import datasets, models
from db.errors import NotFound
from db.tables import Dataset, Model
from db.users import User
from engine import compatibility, methods, starter, tasks
from engine.advise import worst_choices
from engine.data.findings import about_eval
from engine.errors import StudioError
from engine.models import NoQuantizer
from engine.registry import name_of
from engine.shape import ModelShape
from engine.spec import Quantization
from engine.starter import STARTERS
from studio import cards, form, parts, service, shell
from studio.draft import SPLIT, USUAL, Draft
from studio.service.checks import shape_of
from studio.service.runs import READING
from studio.text import count, esc, plural, short, size

Options = list[dict[str, Any]]
#: Id of the settings on the Train page.
SETTINGS = "train-settings"
#: Methods that are offered at once, where the task and base model allow them; the others stand behind "More methods".
FIRST = ("lora", "full", "head", "layers", "bitfit", "adapter", "ia3", "prompt_tuning", "prefix_tuning", "p_tuning_v2",
         "vpt", "adaptformer")


@dataclass(frozen=True)
class Chosen:
    """A draft with the rows it speaks of; each is None when it is missing or, for the shape, not measured yet."""

    user: User
    draft: Draft
    dataset: Dataset | None
    model: Model | None
    shape: ModelShape | None


def look(user: User, draft: Draft) -> Chosen:
    """Return the draft with the rows it speaks of."""
    model = models.by_ref(user, draft.model, draft.revision) if draft.model else None
    shape = shape_of(model) if model is not None and model.state == "ready" and model.shape else None
    return Chosen(user, draft, _dataset(user, draft.dataset), model, shape)


def completed(user: User, draft: Draft) -> Draft:
    """Return the draft with a dataset's task, and a base model for it, where the URL names none."""
    if not draft.dataset:
        newest = [row.id for row in datasets.find(user, states=["ready"], limit=50) if row.eval_of_id is None]
        draft = replace(draft, dataset=next(iter(newest), ""))
    if not draft.task:
        draft = replace(draft, task=task_of(_dataset(user, draft.dataset)))
    if not draft.model and draft.task:
        draft = replace(draft, model=next(iter(_able(user, draft.task)), ""))
    if draft.method not in methods.every():
        draft = replace(draft, method=next(iter(methods.every())))
    return draft.with_own(own_options(user, draft))


def own_options(user: User, draft: Draft) -> dict[str, Any]:
    """Return the task's settings that came with the dataset: that its labels are numbers, for example."""
    row = _dataset(user, draft.dataset)
    kind = tasks.every().get(draft.task)
    if row is None or kind is None or row.task != draft.task:
        return {}
    return {name: value for name, value in row.options.items() if name in kind.model_fields and name != "name"}


def with_dataset(user: User, draft: Draft) -> Draft:
    """Return the draft after its dataset was exchanged: with the task that its columns speak for, and its settings.

    A base model that cannot be trained for it gives way to the first that can, where there is one.
    """
    draft = draft.with_dataset(draft.dataset, task_of(_dataset(user, draft.dataset)))
    draft = draft.with_own(own_options(user, draft), again=True)
    shape = look(user, draft).shape
    unable = bool(draft.task) and shape is not None and draft.task not in shape.task_heads
    if unable and (able := _able(user, draft.task)):
        return replace(draft, model=able[0], revision=None)
    return draft


def _able(user: User, task: str) -> list[str]:
    """Return the base models that can be trained for a task: installed starters, then the user's, newest first."""
    fitting = [s.id for s in STARTERS.values() if task in s.tasks and starter.installed(s)]
    known = [row.ref for row in models.find(user, states=["ready"]) if not row.ref.startswith("tiny/")
             and task in ((row.shape or {}).get("task_heads") or {})]
    return [*fitting, *(ref for ref in known if ref not in fitting)]


def task_of(row: Dataset | None) -> str:
    """Return the task a dataset was confirmed or guessed to be for, "" when it does not say."""
    if row is None:
        return ""
    task = row.task or (row.guess or {}).get("task") or ""
    return task if task in tasks.every() else ""


def add_model(user: User, draft: Draft) -> None:
    """Have the chosen base model found and measured if it never was; raises ModelError."""
    if draft.model and models.by_ref(user, draft.model, draft.revision) is None:
        service.add_model(user, draft.model, revision=draft.revision)


def absent(user: User, draft: Draft) -> str:
    """Return what is said of the parts of an address that are not here."""
    # An id of the Hub that was never added is looked for; what came of that is said beside it.
    model = models.by_ref(user, draft.model, draft.revision) or draft.model in STARTERS or "/" in draft.model
    return parts.absent([
        ("dataset", draft.dataset, bool(parts.found(lambda: datasets.get(user, draft.dataset)))),
        ("task", draft.task, draft.task in tasks.every()), ("base model", draft.model, bool(model)),
        ("method", draft.method, draft.method in methods.every())])


def waiting_for(dataset: Dataset | None, model: Model | None) -> str:
    """Return what a worker is still busy with, "" when nothing."""
    if dataset is not None and dataset.state in READING:
        return f"Reading {dataset.name}"
    return f"Measuring {model.title}" if model is not None and model.state in READING else ""


def datasets_shown(now: Chosen) -> dict[str, Any]:
    """Return the dataset picker's value."""
    rows = [row for row in datasets.find(now.user, limit=500) if row.eval_of_id is None
            and (row.state != "failed" or row.id == now.draft.dataset)]
    options = [{"value": row.id, "title": _dataset_title(row), "disabled": row.state == "failed"} for row in rows]
    return shell.picks(options, now.draft.dataset, label="Dataset", elem_id="train-dataset",
                       empty="Choose a dataset …" if options else "There is no dataset yet")


def evals_shown(now: Chosen) -> dict[str, Any]:
    """Return the evaluation picker's value: the dataset's own file, a split, or another dataset."""
    own = datasets.find(now.user, eval_of_id=now.draft.dataset, limit=1) if now.draft.dataset else []
    usual = f"{own[0].name}, added with the dataset" if own else "A share of the rows, kept aside"
    options: Options = [{"value": USUAL, "title": usual}]
    if own:
        options.append({"value": SPLIT, "title": "A share of the training rows, kept aside"})
    options += [{"value": row.id, "title": _dataset_title(row), "group": "Another dataset"}
                for row in datasets.find(now.user, states=["ready"], limit=200) if row.id != now.draft.dataset]
    known = {option["value"] for option in options}
    picked = USUAL if now.draft.eval == SPLIT and not own else now.draft.eval
    return shell.picks(options, picked if picked in known else USUAL, label="Evaluate on", elem_id="train-eval",
                       help="Rows the model never learns from, to measure what it can do.")


def tasks_shown(now: Chosen) -> dict[str, Any]:
    """Return the task cards: the one the data speaks for is marked, impossible ones say why."""
    fits, shape = task_of(now.dataset), now.shape
    options = [{"value": name, "title": kind.card.title, "text": kind.card.summary,
                "tag": "fits your columns" if name == fits else "",
                "disabled": "" if shape is None or name in shape.task_heads or name == now.draft.task
                else "The chosen base model cannot do this."} for name, kind in tasks.every().items()]
    return shell.choices(options, now.draft.task, label="Task", columns=2, titled=True)


def models_shown(now: Chosen) -> dict[str, Any]:
    """Return the base model picker's value: those added, then starters that were not."""
    rows = [row for row in models.find(now.user, limit=500)
            if not row.ref.startswith("tiny/") or row.ref == now.draft.model]
    options: Options = [{"value": _ref(row), "title": _model_title(row), "group": "Your models"} for row in rows]
    known = {row.ref for row in rows}
    for info in STARTERS.values():
        if info.id not in known:
            there = starter.installed(info)
            options.append({"value": info.id, "group": "Starter models", "disabled": not there,
                            "title": f"{info.title}, {short(info.size)}" + ("" if there else " (not installed)")})
    chosen = f"{now.draft.model}@{now.draft.revision}" if now.draft.revision else now.draft.model
    return shell.picks(options, chosen, label="Base model", elem_id="train-model", empty="Choose a base model …")


def methods_shown(now: Chosen) -> dict[str, Any]:
    """Return the method cards; a method that cannot train this model for this task is disabled and says why."""
    shape = now.shape
    quantization = now.draft.values.get("model", {}).get("quantization")
    options = []
    cautions = worst_choices(now.draft.task, shape, list(methods.every())) if shape else {}
    for name, kind in methods.every().items():
        reasons = _obstacles(kind, shape, now.draft.task, quantization) if shape else []
        options.append({"value": name, "title": kind.card.title, "tag": kind.card.family,
                        "text": kind.card.summary, "disabled": " ".join(reasons),
                        "caution": "" if reasons else cautions.get(name, ""),
                        "more": name not in FIRST or bool(reasons and name != now.draft.method)})
    options.sort(key=lambda option: bool(option["disabled"]))
    return shell.choices(options, now.draft.method, label="Method", columns=2) | {"more": "More methods"}


def settings_shown(user: User, draft: Draft) -> dict[str, Any]:
    """Return the settings' value; what no worker can do is disabled and says why."""
    shape = look(user, draft).shape
    second = {"forgetting": service.forgetting_choices(user, draft.task, shape, draft.dataset)}
    groups = [replace(group, choices=second) if group.key == "data" else group for group in draft.groups()]
    groups = [replace(group, choices={"start_from": _sources(user, draft, shape)})
              if "start_from" in group.model.model_fields else group for group in groups]
    if not service.quantizer_there(user):
        missing = NoQuantizer("model.quantization")
        off = {"quantization": dict.fromkeys(get_args(Quantization), f"{missing.what} {missing.try_this}")}
        groups = [replace(group, off=off) if group.key == "model" else group for group in groups]
    return form.state(groups, draft.values, elem_id=SETTINGS)


def _sources(user: User, draft: Draft, shape: ModelShape | None) -> Options:
    """Return the adapters that the draft's method can start from; none while its settings are wrong."""
    asked = draft.document()["method"]
    try:
        method = methods.get(draft.method).model_validate(asked)
    except ValueError:
        return [{"value": one, "label": one or "None"} for one in {"": 0, str(asked.get("start_from") or ""): 0}]
    return service.sources.choices(user, method, draft.model, shape)


def dataset_note(now: Chosen) -> str:
    """Return what a person should know about the chosen dataset, or what to do without one."""
    row = now.dataset
    if row is None:
        return cards.empty("No dataset chosen", "Add a file of your own, or begin with sample data from the home page.",
                           [("Add data", "/data"), ("Sample data", "/")]) if not datasets.count(now.user) else ""
    labels = int((row.stats or {}).get("label_count") or 0)
    facts = [plural(row.rows, "row") if row.rows is not None else "rows not counted yet"]
    facts += [plural(labels, "label")] if labels else []
    facts += [", ".join(f"{column} as {role}" for role, column in row.columns.items())] if row.columns else []
    steps = row.steps if now.draft.steps is None else now.draft.steps
    facts += [plural(len(steps), "step") + " of preparation"] if steps else []
    # What is wrong between it and a file to evaluate on hangs on which is chosen; the card beside the form tells.
    found = cards.findings([f for f in row.findings if f.get("level") != "note" and not about_eval(f["what"])][:3]) \
        if row.findings else ""
    return (f'<p class="ps-under">{esc(" · ".join(facts))} · <a href="/data?dataset={esc(row.id)}">Look at the data</a>'
            f"</p>{found}")


def model_note(now: Chosen) -> str:
    """Return what a person should know about the chosen base model."""
    row, shape = now.model, now.shape
    if row is None:
        return _no_model(now)
    if row.state == "failed":
        return cards.error(row.error or {})
    facts = [f"{short(shape.total)} parameters", plural(shape.layers, "layer"), f"width {count(shape.hidden)}",
             f"{count(shape.max_length)} tokens at most" if shape.max_length else ""] if shape else []
    facts += [size(row.bytes) if row.bytes else "", row.licence]
    about = STARTERS[row.ref].summary if row.ref in STARTERS else ""
    listed = esc(" · ".join(fact for fact in facts if fact))
    return f'<p class="ps-under">{esc(about)}</p><p class="ps-under">{listed}</p>' if about else \
        f'<p class="ps-under">{listed}</p>'


def _no_model(now: Chosen) -> str:
    """Return what to do where none of the user's base models can be trained for the task."""
    task = now.draft.task
    if now.draft.model or task not in tasks.every() or _able(now.user, task):
        return ""
    title = tasks.get(task).card.title.lower()
    return cards.empty("No base model for this yet", f"None of your base models can be trained for {title}. Add one "
                       "from the Hub, a folder or a file.", [("Add a base model", "/models")])


def _obstacles(kind: type[methods.Method], shape: ModelShape, task: str, quantization: str | None) -> list[str]:
    if not task or task not in shape.task_heads:
        return []
    try:
        method = kind.model_validate({"name": name_of(kind)})
        return compatibility.obstacles(method, shape, task, quantization)
    except StudioError as problem:
        return [problem.what]


def _dataset(user: User, id: str) -> Dataset | None:
    try:
        return datasets.get(user, id) if id else None
    except NotFound:
        return None


def _ref(row: Model) -> str:
    return f"{row.ref}@{row.revision}" if row.revision else row.ref


def _dataset_title(row: Dataset) -> str:
    state = {"ready": "", "failed": " (failed)"}.get(row.state, " (being read)")
    return row.name + (f", {plural(row.rows, 'row')}" if row.rows is not None else "") + state


def _model_title(row: Model) -> str:
    state = {"ready": "", "failed": " (failed)"}.get(row.state, " (being measured)")
    total = (row.shape or {}).get("total")
    return row.title + (f", {short(total)}" if total else "") + state
