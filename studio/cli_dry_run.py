"""`peft-studio train --dry-run`: what a run would be, and what a person should decide about before it starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from studio import cli_print as out

if TYPE_CHECKING:
    from db.users import User
    from studio.service import Check

#: Most seconds to wait until the rows are counted in tokens.
COUNT_SECONDS = 30.0


def count(user: User, document: dict[str, Any], tick: Callable[..., None]) -> None:
    """Have the tokens of the rows counted; what stands in the way of that is for others to say."""
    from studio import service

    asked = {name: document[name] for name in ("task", "model", "data") if name in document}
    found = service.check(user, asked | {"method": {"name": "lora"}})
    if found.dataset is not None and found.model is not None:
        service.lengths.await_counted(user, found.spec, COUNT_SECONDS, tick)


def describe(found: Check, as_json: bool) -> None:
    """Print what a run would be; raises the first obstacle."""
    if as_json:
        out.emit(found.as_dict())
    # What cannot be trained is not said to fit.
    elif found.breakdown is not None and not found.obstacles:
        counts, memory = found.breakdown.parameters, found.breakdown.memory
        out.facts([("Trained parameters", counts.trained), ("of all", counts.total), ("Percent", counts.percent),
                   ("Stored", counts.stored), ("Adapter bytes", found.breakdown.adapter_bytes),
                   ("Memory bytes", memory.total), ("Memory there", memory.available), ("Verdict", memory.verdict),
                   ("Updates", found.steps[1] if found.steps else None)])
    warn(found)
    if found.obstacles:
        raise found.obstacles[0]


def warn(found: Check) -> None:
    """Say on stderr what a person should decide about before the run is through."""
    for finding in (*found.warnings, *found.findings):
        if finding.get("level") == "warning":
            out.aside(f"Warning: {finding.get('what')} {finding.get('try_this', '')}".strip())
