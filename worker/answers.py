"""The words of an answer on their way to a page: a stream in the broker for each prediction, gone after an hour."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import redis

from db.settings import settings

#: Longest wait of one read, so that a server that goes away is noticed.
BLOCK_SECONDS = 5.0


def connect() -> redis.Redis:
    """Return a client of the broker's server; connects when first used."""
    return redis.Redis.from_url(settings().broker, socket_connect_timeout=5, socket_timeout=BLOCK_SECONDS + 10,
                                decode_responses=True)


def key(prediction_id: str) -> str:
    """Return the name of a prediction's stream."""
    return f"prediction:{prediction_id}"


def add(client: redis.Redis, prediction_id: str, seconds: float, /, **message: Any) -> None:
    """Append a message to a prediction's stream, which is kept for `seconds` more."""
    with client.pipeline(transaction=False) as both:
        both.xadd(key(prediction_id), {"message": json.dumps(message, ensure_ascii=False)})
        both.expire(key(prediction_id), int(seconds))
        both.execute()


def read(client: redis.Redis, prediction_id: str, after: str, seconds: float) -> Iterator[dict[str, Any]]:
    """Yield messages as they come, each with its `cursor`, until one says `done` or `seconds` pass without any."""
    quiet_until = time.monotonic() + seconds
    while (left := quiet_until - time.monotonic()) > 0:
        block = max(int(min(left, BLOCK_SECONDS) * 1000), 1)
        found: Any = client.xread({key(prediction_id): after}, count=200, block=block)
        for _, entries in found.items() if isinstance(found, dict) else found or []:
            for after, fields in _flat(entries):
                message = json.loads(fields["message"]) | {"cursor": after}
                quiet_until = time.monotonic() + seconds
                yield message
                if message["event"] == "done":
                    return


def _flat(entries: Any) -> list[tuple[str, dict[str, str]]]:
    """Return entries as pairs; the newer protocol wraps them in one more list."""
    return entries[0] if entries and isinstance(entries[0], list) else entries
