"""Messages between the worker and a child: JSON over a pipe, so nothing a child sends is ever unpickled."""

from __future__ import annotations

import json
from multiprocessing.connection import Connection
from typing import Any

Message = dict[str, Any]


def put(link: Connection, kind: str, **fields: Any) -> bool:
    """Send one message; returns False when the other side is gone."""
    try:
        link.send_bytes(json.dumps({"kind": kind} | fields).encode())
    except (OSError, ValueError):
        return False
    return True


def get(link: Connection) -> Message | None:
    """Wait for one message; returns None when the other side is gone."""
    try:
        return json.loads(link.recv_bytes())
    except (EOFError, OSError):
        return None
