"""The Predict page's choices: who can be asked, which rows there are, and which column plays which part."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from db import adapters, datasets
from db.blobs import Blobs
from db.tables import Adapter, Dataset
from db.users import User
from engine import adapter as on_disk
from engine import tasks
from engine.adapter import Trained
from engine.bulk.judging import RolesMissing
from engine.bulk.replay import NotPrepared
from engine.bulk.roles import RoleUnfilled
from engine.comparison import LabelsUnknown
from engine.errors import StudioError
from engine.tasks import Task
from studio import cards, data_view, form, parts, play_who, service, shell
from studio.batch_snippets import Wanted
from studio.service import batches as asking
from studio.text import plural

if TYPE_CHECKING:
    from engine.data.source import Preview

SETTINGS = "predict-settings"
#: Rows shown before anything is predicted.
SHOWN = 5


@dataclass(frozen=True)
class Draft:
    """What is chosen: an adapter's id, or the key of a base model with a task; a dataset's id, or an uploaded file.

    `prepare` tells whether the steps that the adapter's rows went through are repeated.
    """

    who: str = ""
    dataset: str = ""
    file: str = ""
    prepare: bool = True

    def url(self) -> str:
        """Return the address that opens the page with these choices; a file is not among them."""
        name = "adapter" if self.who.startswith("ad_") else "base"
        known = {name: self.who, "dataset": self.dataset}
        return "?" + urlencode({key: value for key, value in known.items() if value}, safe=",/")


@dataclass(frozen=True)
class Asked:
    """Who is asked: an adapter, or a base model itself."""

    adapter: Adapter | None
    model: str
    task: str

    @property
    def kind(self) -> type[Task]:
        """The task."""
        return tasks.get(self.task)

    @property
    def adapters(self) -> list[Adapter]:
        """The adapter, if there is one."""
        return [self.adapter] if self.adapter is not None else []


def players(user: User) -> list[dict[str, Any]]:
    """Return who can be asked: adapters by task, then base models that answer as they are."""
    made = [{"value": row.id, "title": f"{row.name} · {row.model}", "group": tasks.get(row.task).card.title}
            for row in adapters.find(user, limit=500) if tasks.playable(row.task)]
    made.sort(key=lambda one: one["group"])
    chats = [(key, title) for key, title in play_who.bases(user).items()
             if (task := play_who.task_of(key)) is not None and task.playground == "chat"]
    return made + [{"value": key, "title": title, "group": "Base models themselves"} for key, title in chats]


def asked(user: User, who: str) -> Asked | None:
    """Return who is chosen, None where nobody is or that one is gone."""
    if who.startswith("ad_"):
        row = parts.found(lambda: adapters.get(user, who))
        return Asked(row, row.model, row.task) if row is not None and tasks.playable(row.task) else None
    model, _, task = who.partition(" · ")
    return Asked(None, model, task) if tasks.playable(task) else None


def dataset_options(user: User, who: Asked | None) -> list[dict[str, Any]]:
    """Return the datasets that can be predicted: those of the task first."""
    found = datasets.find(user, states=["ready"], limit=500)
    task = who.task if who is not None else ""
    found.sort(key=lambda row: row.task != task)
    return [{"value": "", "title": "None: the file above"},
            *({"value": row.id, "title": f"{row.name} ({plural(row.rows or 0, 'row')})",
               "group": "Of this task" if row.task == task else "Others"} for row in found)]


def evaluable(user: User, row: Adapter) -> list[dict[str, Any]]:
    """Return the datasets of its task: those an adapter can be evaluated on, then those that do not fit."""
    found = datasets.find(user, states=["ready"], tasks=[row.task], limit=500)
    facts = None
    # Of one that cannot be read each option says so.
    with suppress(StudioError):
        facts = on_disk.read(Blobs().local(row.key))
    made = [{"value": one.id, "title": f"{one.name} ({plural(one.rows or 0, 'row')})" + (
        ", learned from" if one.id == row.dataset_id else "")} | _unfit(row, one, facts) for one in found]
    return sorted(made, key=lambda one: bool(one.get("disabled")))


def _unfit(row: Adapter, dataset: Dataset, facts: Trained | None) -> dict[str, Any]:
    """Return why a dataset is not offered, as a part of its option."""
    try:
        asking.measured_by(row, dataset, facts)
    except RolesMissing:
        return {"group": "Without a column that it needs", "disabled": True}
    except LabelsUnknown:
        return {"group": "With labels it does not know", "disabled": True}
    except StudioError as problem:
        return {"group": "Cannot be used now", "disabled": problem.what}
    return {}


def preview(user: User, draft: Draft) -> Preview | None:
    """Return the first rows of what is chosen, None where nothing is; raises DataError."""
    if draft.file:
        return asking.head(Path(draft.file))
    if draft.dataset and (row := parts.found(lambda: datasets.get(user, draft.dataset))) is not None:
        return service.preview(user, row.id, asking.LOOKED_AT)
    return None


def steps(user: User, draft: Draft, who: Asked | None) -> list[dict[str, Any]]:
    """Return the steps of preparation that may be repeated on what is chosen."""
    dataset = _dataset(user, draft)
    return asking.steps_for(user, who.adapter if who is not None else None, dataset)


def columns(user: User, draft: Draft, who: Asked | None,
            named: Mapping[str, str] | None = None) -> tuple[dict[str, Any], str]:
    """Return the first rows, as they are asked, with the parts their columns play, and what is to be said of them.

    `named` are the columns of roles as a person chose them.
    """
    if who is None or (found := preview(user, draft)) is None:
        return {}, ""
    repeated = steps(user, draft, who) if draft.prepare else []
    try:
        known = {} if repeated else _confirmed(user, draft, who)
        made, chosen, found = asking.planned(who.adapter, who.task, found, named or known, repeated)
        said = cards.note(made.said, "muted") if made.said else ""
    except RoleUnfilled as problem:
        chosen, said = {}, cards.note("Choose it in the header of the rows below.", "warn", problem.what)
    except NotPrepared as problem:
        chosen, said = {}, cards.note("Add that column, or choose in the header of the rows below what the model is "
                                      "asked with.", "warn", problem.what)
    except StudioError as problem:
        return {}, cards.error(problem)
    shown = found.model_copy(update={"rows": found.rows[:SHOWN]})
    value = data_view.columns(shown, who.task, chosen)
    asks = {role.name for role in who.kind.asks}
    value["roles"] = [role for role in value["roles"] if role["value"] in asks]
    return value, said


def wanted(user: User, draft: Draft, who: Asked, columns: Mapping[str, str], options: Mapping[str, Any],
           format: str) -> Wanted:
    """Return what is chosen as something to run from elsewhere."""
    dataset, repeated = _dataset(user, draft), steps(user, draft, who)
    return Wanted(who.adapter.id if who.adapter else None, who.model, who.task, file=Path(draft.file).name,
                  dataset=draft.dataset, title=dataset.name if dataset else "", columns=columns, options=options,
                  format=format, prepare=draft.prepare or not repeated)


def _dataset(user: User, draft: Draft) -> Dataset | None:
    return parts.found(lambda: datasets.get(user, draft.dataset)) if draft.dataset and not draft.file else None


def _confirmed(user: User, draft: Draft, who: Asked) -> dict[str, str]:
    row = _dataset(user, draft)
    if row is None or row.task != who.task:
        return {}
    known = {role.name: row.columns[role.name] for role in who.kind.asks if role.name in row.columns}
    return known if not who.kind.lacks(known) else {}


def settings(user: User, who: Asked | None) -> tuple[dict[str, Any], bool]:
    """Return what can be chosen when this task is asked, and whether there is anything."""
    kind = who.kind if who is not None else None
    if kind is None or who is None or not kind.asking.model_fields:
        return form.state([], elem_id=SETTINGS), False
    usual = play_who.usual(user, kind, [who.adapter] if who.adapter is not None else [])
    # Files are to say the same when they are predicted again.
    usual |= {"temperature": 0.0} if "temperature" in kind.asking.model_fields else {}
    return form.state([form.Group("options", "Settings", kind.asking)], {"options": usual}, elem_id=SETTINGS), True


def picks(user: User, draft: Draft, who: Asked | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values of the pickers of model and dataset."""
    rows = dataset_options(user, who)
    known = draft.dataset if draft.dataset in [one["value"] for one in rows] else ""
    return (shell.picks(players(user), draft.who or None, label="Adapter", elem_id="predict-who"),
            shell.picks(rows, known, label="Or a dataset", elem_id="predict-dataset",
                        help="Its rows stay as they are; predictions come as a file."))
