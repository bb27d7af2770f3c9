"""`peft-studio runs …`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from studio import cli_print as out
from studio.cli_print import Json

if TYPE_CHECKING:
    from db.users import User
    from engine.evaluation.report import Evaluation

app = typer.Typer()
#: Slices that are shown.
WORST = 8


@app.command("list")
def show_all(search: Annotated[str, typer.Argument(help="Words that must occur.")] = "",
             state: Annotated[list[str] | None, typer.Option(help="Only in this state. Repeatable.")] = None,
             method: Annotated[list[str] | None, typer.Option(help="Only with this method. Repeatable.")] = None,
             limit: Annotated[int, typer.Option(help="At most so many.")] = 50, json: Json = False) -> None:
    """List runs, newest first."""
    from db import runs
    from studio import records
    from studio.cli_session import me

    rows = [records.run(row, full=False) for row in runs.find(me(), search=search, states=state, methods=method,
                                                              limit=limit)]
    if json:
        out.emit(rows)
        return
    for row in rows:
        row["progress"] = out.progress(row)
    out.table(rows, [("id", "ID"), ("name", "Name"), ("method", "Method"), ("model", "Model"), ("progress", "State"),
                     ("created_at", "Created")], "No runs yet. Start one: peft-studio train --help")


@app.command()
def show(id: str, json: Json = False,
         log: Annotated[int, typer.Option(help="Show so many of the last lines of its log.")] = 0) -> None:
    """Show a run: progress, parameters, metrics."""
    from db import logs, runs
    from studio import records
    from studio.cli_session import me

    user = me()
    row = records.run(runs.get(user, id))
    told = _evaluation(user, id)
    if json:
        out.emit(row | {"evaluation": told.model_dump(mode="json") if told else None})
        return
    parameters, result = row["parameters"] or {}, row["result"] or {}
    metrics = None if told else result.get("metrics") or row["latest"]
    out.facts([("ID", row["id"]), ("Name", row["name"]), ("State", out.progress(row)), ("Task", row["task"]),
               ("Model", row["model"]), ("Method", row["method"]), ("Dataset", row["dataset_id"]),
               ("Evaluated on", row["eval_dataset_id"]), ("Trained parameters", parameters.get("trained")),
               ("of all", parameters.get("total")), ("Metrics", metrics),
               ("Seconds", (result.get("seconds") or {}).get("total")), ("Created", row["created_at"]),
               ("Finished", row["finished_at"])])
    if told:
        _say_evaluation(told)
    if row["error"]:
        out.failure(row["error"])
    for line in logs.tail(user, id, log) if log else []:
        out.say(f"{records.moment(line.at)} {line.level:7} {line.text}")


def _evaluation(user: User, id: str) -> Evaluation | None:
    from db.errors import NotFound
    from studio import service

    try:
        return service.evaluation(user, id)
    except NotFound:
        return None


def _say_evaluation(told: Evaluation) -> None:
    """Print metrics with their intervals, what was forgotten, and the worst slices."""
    from studio.measures import interval, measured, score, title

    out.facts((title(name), measured(name, one)) for name, one in told.metrics.items())
    if told.forgetting and told.forgetting.change is not None:
        lost = told.forgetting
        out.facts([("Forgetting", f"{title(lost.measure)} on {lost.on}: {out.cell(lost.before)} before training, "
                                  f"{out.cell(lost.after)} after")])
    if told.slices.items:
        name = told.slices.metric
        out.say(f"The worst slices by {title(name)}:")
        out.table([{"by": one.title, "value": one.value, "rows": one.rows,
                    "metric": f"{score(name, one.metrics.get(name))} {interval(name, one.low, one.high)}"}
                   for one in told.slices.items[:WORST]],
                  [("by", "By"), ("value", "Value"), ("rows", "Rows"), ("metric", title(name))], "")


@app.command()
def samples(id: str, json: Json = False) -> None:
    """Show what a run's model wrote to the same prompts at each evaluation."""
    from studio import service
    from studio.cli_session import me

    entries = service.samples(me(), id)
    if json:
        out.emit(entries)
        return
    if not entries:
        out.say("No samples. Models that write text leave some before training and at every evaluation.")
    for place, sample in enumerate(entries[-1]["samples"] if entries else []):
        out.say(f"{'' if not place else chr(10)}{sample['input']}")
        for entry in entries:
            text = next((one["written"] for one in entry["samples"] if one["row"] == sample["row"]), "")
            out.say(f"  {entry['step']:>6}  {' '.join(text.split())}")


@app.command()
def spec(id: str) -> None:
    """Print the RunSpec of a run as JSON: to change and train again."""
    from db import runs
    from studio.cli_session import me

    out.emit(runs.duplicate_spec(me(), id))


@app.command()
def stop(id: str, mode: Annotated[Literal["save", "discard"], typer.Option(help="Keep the adapter, or not.")] = "save",
         json: Json = False) -> None:
    """Stop a run at once, keeping the adapter as it is, or not."""
    from studio import records, service
    from studio.cli_session import me

    row = records.run(service.stop_run(me(), id, mode), full=False)
    out.emit(row) if json else out.say(f"{id}  {row['state']}")


@app.command()
def resume(id: str, json: Json = False) -> None:
    """Go on with a stopped, failed or interrupted run from its newest checkpoint."""
    from studio import records, service
    from studio.cli_session import me

    row = records.run(service.resume_run(me(), id), full=False)
    out.emit(row) if json else out.say(f"{id}  {row['state']}")


@app.command()
def export(id: str, to: Annotated[Path | None, typer.Option("--out", help="Where to write the zip.")] = None,
           json: Json = False) -> None:
    """Write the adapter of a run as a zip that loads with plain peft."""
    from db import adapters, runs
    from studio.cli_adapters import NoAdapter, write
    from studio.cli_session import me

    user = me()
    row = adapters.of_run(user, runs.get(user, id).id)
    if row is None:
        raise NoAdapter(id, run=id)
    write(user, row.id, "zip", to, json)


@app.command()
def delete(id: str, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Delete a run that has ended, with its curves, log and files; its adapters stay."""
    from db import runs
    from studio import service
    from studio.cli_session import me

    user = me()
    row = runs.get(user, id)
    if not yes:
        typer.confirm(f"Delete the run '{row.name}' ({row.state})?", abort=True)
    service.delete_run(user, id)
    out.say(f"{id}  deleted")
