"""`peft-studio datasets look hub:organisation/name`: what a dataset on the Hub holds, before it is added."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from studio import cli_print as out
from studio.cli_datasets import Config, Revision, Split
from studio.cli_print import Json


def add_to(app: typer.Typer) -> None:
    """Add the command to those of datasets."""
    app.command("look")(look)


def look(id: Annotated[str, typer.Argument(help="hub:organisation/name")], config: Config = "", split: Split = "",
         revision: Revision = None,
         rows: Annotated[int, typer.Option(min=0, max=100, help="So many first rows of the split.")] = 5,
         json: Json = False) -> None:
    """Show the configurations and splits of a dataset on the Hub, and first rows; a running worker asks the Hub."""
    from studio import service
    from studio.cli_session import me, stored, wait
    from studio.cli_stack import require

    require()
    user = me()

    def ask(again: bool = False) -> Any:
        return service.hub_data.look(user, id, revision=revision, config=config, split=split, rows=rows, again=again)

    ask(again=True)
    found = wait(ask, ("ready", "failed"), "Asking the Hub")
    if found.state == "failed":
        raise stored(found.error)
    if json:
        out.emit(found.found)
    else:
        _show(found.found or {})


def _show(found: dict[str, Any]) -> None:
    listing, chosen = found["listing"], found["chosen"] or {}
    out.facts([("Dataset", listing["id"]), ("Commit", listing["revision"]), ("Licence", listing["licence"]),
               ("Files", "converted to parquet by the Hub" if listing["converted"] else "its own"),
               ("From", "the cache of this machine" if listing["cached"] else "the Hub")])
    out.table([{"config": config["name"], **split} for config in listing["configs"] for split in config["splits"]],
              [("config", "Configuration"), ("name", "Split"), ("rows", "Rows"), ("bytes", "Bytes"),
               ("files", "Files")], "It has no splits.")
    if found.get("problem"):
        out.failure(found["problem"])
    elif found.get("rows"):
        out.say(f"\nFirst rows of {chosen['config']}, {chosen['split']}:")
        out.table([{name: str(value)[:60] for name, value in row.items()} for row in found["rows"]],
                  [(name, name) for name in found["columns"]], "")
