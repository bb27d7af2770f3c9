"""`peft-studio`: everything from the command line. Commands import what they need when they run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from engine import __version__
from engine.errors import StudioError
from studio import (
    cli_adapters,
    cli_batches,
    cli_help,
    cli_hub,
    cli_models,
    cli_predict,
    cli_prepare,
    cli_print,
    cli_rows,
    cli_runs,
    cli_train,
    cli_users,
)
from studio.cli_print import Json

app = typer.Typer(name="peft-studio", help="A self-hosted, no-code studio for parameter-efficient fine-tuning.",
                  no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

Host = Annotated[str | None, typer.Option(help="Address to listen on; others than 127.0.0.1 need STUDIO_AUTH=on.")]
Port = Annotated[int | None, cli_help.number("Port to listen on", least=0, most=65_535)]
Slots = Annotated[int | None, cli_help.number("Runs at once on this machine", least=1)]
Threads = Annotated[int | None, cli_help.number("CPU threads of each run", least=1)]

#: How the levels of doctor's findings are shown.
MARKS = {"good": "ok", "warn": "look", "bad": "PROBLEM"}


class Unexpected(StudioError):
    """Something went wrong: {problem}"""

    kind = "unexpected"
    try_this = "Run it again with STUDIO_DEBUG=1 to see where it happened."


class DatabaseUnreachable(StudioError):
    """The database does not answer: {problem}"""

    kind = "database_unreachable"
    try_this = "Check STUDIO_DATABASE_URL and that the server is running."


class BadUsage(StudioError):
    """{problem}"""

    kind = "usage"
    try_this = "See {command} --help."
    exit_code = 2


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"peft-studio {__version__}")
        raise typer.Exit


@app.callback()
def options(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True,
                                                  help="Show the version.")] = False) -> None:
    """A self-hosted, no-code studio for parameter-efficient fine-tuning."""


@app.command()
def up(host: Host = None, port: Port = None, slots: Slots = None, threads: Threads = None,
       open_browser: Annotated[bool, typer.Option("--open", help="Open the pages in the browser.")] = False) -> None:
    """Start everything: broker, database, worker and pages. Ctrl-C stops it."""
    chosen = _settings(host=host, port=port, slots=slots, threads=threads)
    from studio import guard
    from studio.up import up as start

    guard.check_address(chosen.host, chosen.auth)
    raise typer.Exit(start(chosen, open_browser=open_browser))


@app.command()
def web(host: Host = None, port: Port = None) -> None:
    """Serve the pages and the API only."""
    chosen = _settings(host=host, port=port)
    from studio.web import serve

    serve(chosen.host, chosen.port)


@app.command()
def worker(slots: Slots = None, threads: Threads = None) -> None:
    """Run a worker only: it trains, reads datasets and answers questions."""
    _settings(slots=slots, threads=threads)
    # Children start from this process's main module, so it must be the worker's own.
    os.execv(sys.executable, [sys.executable, "-m", "worker"])  # noqa: S606


@app.command()
def migrate() -> None:
    """Bring the database's tables up to date."""
    from db import migrate as tables
    from db.settings import mask, settings

    before = tables.current()
    tables.upgrade()
    after = tables.current()
    cli_print.say(f"{mask(settings().database_url)}: " + (f"at {after} already." if before == after
                                                          else f"{before or 'empty'} -> {after}."))


@app.command()
def doctor(json: Json = False,
           worker: Annotated[bool, typer.Option("--worker", help="Only whether a worker is alive.")] = False) -> None:
    """Check this installation: where things are, what answers, which versions."""
    from studio import doctor as check

    if worker:
        found, whole = [check.worker_alive()], None
    else:
        whole = check.as_dict() if json else None
        found = [] if json else check.report()
    if json:
        cli_print.emit(whole or found[0].__dict__)
    for item in [] if json else found:
        cli_print.say(f"{MARKS[item.level]:8} {item.title}: {item.text}")
        if item.try_this:
            cli_print.say(f"{'':8} Try this: {item.try_this}")
    healthy = whole["healthy"] if whole else check.healthy(found)
    raise typer.Exit(0 if healthy else 1)


@app.command()
def demo(json: Json = False) -> None:
    """Train on sample data through queue and worker, and print what came of it."""
    from studio import demo as shown

    raise typer.Exit(shown.show(as_json=json))


cli_train.add_to(app)
cli_predict.add_to(app)
cli_batches.add_to(app)
cli_prepare.add_to(cli_rows.app)
cli_hub.add_to(cli_rows.app)
for name, part, text in (("runs", cli_runs.app, "Runs: list, show, stop, resume, export."),
                         ("datasets", cli_rows.app, "Datasets: list, show, look, add, rows, edit, versions, prepare."),
                         ("models", cli_models.app, "Base models: list, show, add."),
                         ("adapters", cli_adapters.app, "Adapters: list, show, download, merge."),
                         ("users", cli_users.app, "Accounts and tokens, for STUDIO_AUTH=on.")):
    app.add_typer(part, name=name, help=text, no_args_is_help=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 success, 1 failed, 2 refused, 3 cancelled."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    before = {name: value for name, value in os.environ.items() if name.startswith("STUDIO_")}
    try:
        code = cli_help.command(app).main(given, prog_name="peft-studio", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except StudioError as error:
        return _failed(error, given)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 1
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            cli_print.say(str(error))
            return 2
        if os.environ.get("STUDIO_DEBUG"):
            raise
        return _failed(_explained(error), given)
    finally:
        _restore(before)


def _restore(before: dict[str, str]) -> None:
    """Take back what `_settings` was given: it holds for one command, and a process may run several."""
    given = {name: value for name, value in os.environ.items() if name.startswith("STUDIO_")}
    if given == before:
        return
    for name in given:
        del os.environ[name]
    os.environ.update(before)
    from db.settings import settings

    settings.cache_clear()


def _failed(error: StudioError, given: Sequence[str]) -> int:
    cli_print.failure(error, as_json="--json" in given)
    return error.exit_code


def _explained(error: Exception) -> StudioError:
    """Return what an error of a library means to a person."""
    kind = type(error)
    if hasattr(error, "format_message"):
        context: Any = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "peft-studio"
        return BadUsage(problem=str(error.format_message()).strip(), command=command)  # type: ignore[attr-defined]
    if kind.__module__.startswith("sqlalchemy"):
        return DatabaseUnreachable(problem=str(getattr(error, "orig", error)).strip().splitlines()[0][:300])
    return Unexpected(problem=f"{kind.__name__}: {error}"[:500])


def _settings(**given: Any) -> Any:
    """Return the settings with what was given on the command line, for this process and those it starts."""
    from db.settings import settings

    for name, value in given.items():
        if value is not None:
            os.environ[f"STUDIO_{name.upper()}"] = str(value)
    settings.cache_clear()
    return settings()
