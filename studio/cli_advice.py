"""`peft-studio train --advise`: what is recommended for a dataset and a base model, in lines to read."""

from __future__ import annotations

from engine import spec as specs
from studio import cli_flags
from studio import cli_print as out
from studio.service import Advised


def show(found: Advised, as_json: bool) -> None:
    """Print the method and settings with rule and source, warnings, what to compare, and the command to start."""
    if as_json:
        out.emit(found.as_dict())
        return
    advice = found.advice
    out.table([reason.model_dump() for reason in advice.reasons],
              [("setting", "Setting"), ("value", "Value"), ("rule", "Why"), ("source", "Source")], "")
    for warning in advice.warnings:
        out.say(f"Warning: {warning}")
    if advice.compare:
        out.say("\nWorth comparing")
        out.facts([(f"  {name}", why) for name, why in advice.compare])
    out.say(f"\n{cli_flags.line(specs.parse(found.document))}")
