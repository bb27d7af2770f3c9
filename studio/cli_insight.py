"""`peft-studio adapters insight` and `sources`: what an adapter learned, and which prompts to start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from studio import cli_print as out
from studio.cli_print import Json

if TYPE_CHECKING:
    from engine.insight.report import Section

#: Rows of a table that a person is shown.
SHOWN = 12


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("insight")(insight)
    app.command("sources")(sources)


def insight(id: str, json: Json = False) -> None:
    """Show what an adapter learned: where it changed the model, and how much."""
    from studio import cli_stack, service
    from studio.cli_session import me, stored, wait

    user = me()
    found = service.learned(user, id, again=True)
    if found.working:
        cli_stack.require()
        found = wait(lambda: service.learned(user, id), ("ready", "failed", "cancelled"), "Looking into the adapter")
    if found.insight is None:
        raise stored(found.error)
    similar = service.similar_prompts(user, id)
    if json:
        out.emit(found.insight.model_dump(mode="json") | {"similar_prompts": similar})
        return
    for section in found.insight.sections:
        _show(section)
    if similar:
        out.say("Other prompts of this base model")
        out.table(similar, [("id", "ID"), ("name", "Name"), ("averaged", "Cosine of the means"),
                            ("each", "Mean cosine of pairs")], "")
    for note in found.insight.notes:
        out.aside(note)


def sources(id: str, json: Json = False) -> None:
    """List the prompts that a run like this adapter's could start from, the most alike first."""
    from studio import service
    from studio.cli_session import me

    found = service.prompt_sources(me(), id)
    if json:
        out.emit(found)
        return
    out.table(found, [("id", "ID"), ("name", "Name"), ("averaged", "Cosine of the means"),
                      ("each", "Mean cosine of pairs")],
              "There is no other prompt of the same method, base model and length yet.")
    if found:
        out.aside(f"Start from the first one with: peft-studio train ... --start-from {found[0]['id']}")


def _show(section: Section) -> None:
    out.say(section.title)
    out.say(f"  {section.how}")
    out.facts([(name, value) for name, value in section.facts.items()])
    for part in section.parts:
        out.say(f"  {part.title}")
        if part.kind == "heat":
            columns = [("", ""), *((name, f"{part.x_title} {name}") for name in part.columns)]
            out.table([{"": row, **dict(zip(part.columns, texts, strict=True))}
                       for row, texts in zip(part.rows, part.texts, strict=False)], columns, "  none")
        elif part.kind == "lines":
            out.table([{"": line.name, "values": ", ".join(f"{y:.3g}" for y in line.y if y is not None)}
                       for line in part.series], [("", ""), ("values", part.y_title)], "  none")
        else:
            named = list(dict.fromkeys(part.columns))
            out.table([dict(zip(named, row, strict=True)) for row in part.rows[:SHOWN]],
                      [(name, name) for name in named], "  none")
            if len(part.rows) > SHOWN:
                out.say(f"  and {len(part.rows) - SHOWN} more; --json has all")
    out.say()
