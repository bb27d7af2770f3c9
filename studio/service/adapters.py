"""Taking a result home: the zip of an adapter, or the whole model with the adapter merged in."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from db import adapters, exports
from db.blobs import Blobs
from db.errors import Conflict
from db.tables import Export
from db.users import User
from engine import methods
from engine.errors import Refused
from worker import client


class NotMergeable(Refused):
    """{method} cannot be merged into the base model."""

    kind = "not_mergeable"
    try_this = "Download the adapter and load it beside the base model."


class ExportNotReady(Conflict):
    """The download is not ready yet ({state})."""

    kind = "export_not_ready"
    try_this = "Wait a moment and ask again."


class ExportFailed(Refused):
    """The download could not be made: {first}"""

    kind = "export_failed"
    try_this = "{advice}"
    status = 409


def export(user: User, adapter_id: str, kind: Literal["zip", "merge"] = "zip") -> Export:
    """Have a zip of an adapter, or of the merged model, made; one that is under way or ready is returned as it is.

    Raises NotFound, NotMergeable.
    """
    row = adapters.get(user, adapter_id)
    if kind == "merge" and not methods.get(row.method).card.mergeable:
        raise NotMergeable(adapter_id, method=methods.get(row.method).card.title)
    made = exports.create(user, adapter_id, kind)
    if made.state == "ready" and not (made.path and Blobs().exists(made.path)):
        exports.delete(user, made.id)
        made = exports.create(user, adapter_id, kind)
    if made.state == "queued":
        client.export(made.id)
    return made


def export_file(user: User, id: str) -> Path:
    """Return the file of an export that is ready; raises NotFound, ExportNotReady, ExportFailed."""
    row = exports.get(user, id)
    if row.state in ("failed", "cancelled"):
        error = row.error or {}
        raise ExportFailed(id, first=error.get("what", f"it was {row.state}"),
                           advice=error.get("try_this", "Ask for it again."))
    if row.state != "ready" or row.path is None:
        raise ExportNotReady(id, state=row.state)
    return Blobs().local(row.path)


def cancel_export(user: User, id: str) -> Export:
    """Stop making an export; raises NotFound."""
    row = exports.get(user, id)
    client.cancel("export", id)
    return exports.get(user, row.id)


def delete_adapter(user: User, id: str) -> None:
    """Delete an adapter with its exports and their files; raises NotFound."""
    made = [row.path for row in exports.find(user, adapter_id=id, limit=1000) if row.path]
    for key in [*adapters.delete(user, id), *made]:
        Blobs().delete(key)
