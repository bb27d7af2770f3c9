"""Order `play`: hold one base model in memory and answer for it and its adapters until told to end."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.errors import StudioError
from worker.line import Line
from worker.wire import Message

#: Words are sent on at most this often; a message per token would cost more than the token.
PIECE_SECONDS = 0.05


class PlayError(StudioError):
    """The answer could not be made ({error})."""

    kind = "unexpected"
    try_this = "Look at the worker's log for the details."


def carry_out(order: dict[str, Any], line: Line) -> int:
    """Load the model `order` names (model, revision, data_dir, task, quantization), then answer requests in turn.

    A request: id, adapters ([{id, folder}] or null for the base), `rows` or `messages`, and `options`.
    """
    from engine import models
    from engine.predict import Player

    located = models.locate(order["model"], revision=order.get("revision"), data_dir=Path(order["data_dir"]),
                            cancelled=line.cancelled, progress=lambda part: line.progress(part, "Fetching"))
    player = Player(located.path, order["task"], quantization=order.get("quantization"))
    line.put("loaded", bytes=player.bytes())
    while (message := line.requests.get()) is not None and message["kind"] == "ask":
        try:
            _answer(player, message, line)
        except StudioError as error:
            line.put("failed", id=message["id"], error=error.as_dict())
        except Exception as error:
            traceback.print_exc()
            what = PlayError(error=f"{type(error).__name__}: {error}"[:300])
            line.put("failed", id=message["id"], error=what.as_dict())
    return 0


def _answer(player: Any, message: Message, line: Line) -> None:
    """Attach the adapters asked for, drop the others, and send one answer for each in order."""
    wanted = [one for one in message["adapters"] if one is not None]
    for adapter_id in set(player.attached) - {one["id"] for one in wanted}:
        player.detach(adapter_id)
    for one in wanted:
        if one["id"] not in player.attached:
            player.attach(one["id"], Path(one["folder"]))
    line.put("answering", id=message["id"], bytes=player.bytes())
    ids = [None if one is None else one["id"] for one in message["adapters"]]
    stopped: Callable[[], bool] = lambda: line.cancelled(message["id"])  # noqa: E731
    if message["rows"] is not None:
        _reply(player, ids, message, line, stopped)
    else:
        _write(player, ids, message, line, stopped)
    line.put("finished", id=message["id"], cancelled=stopped())


def _reply(player: Any, ids: list[str | None], message: Message, line: Line, stopped: Callable[[], bool]) -> None:
    """Send what each says of all rows, and of many rows also each part as it is made."""
    rows = message["rows"]

    def heard(place: int, replies: list[Any]) -> None:
        if len(replies) < len(rows):
            line.put("replies", id=message["id"], index=place, replies=replies)

    for index, said in enumerate(player.respond(ids, rows, options=message["options"], on_reply=heard,
                                                cancelled=stopped)):
        line.put("answer", id=message["id"], index=index, answer=said["replies"], seconds=said["seconds"],
                 tokens=said["tokens"])


def _write(player: Any, ids: list[str | None], message: Message, line: Line, stopped: Callable[[], bool]) -> None:
    """Send the words of each one's answer to a conversation as they come, then the answer."""
    for index, adapter_id in enumerate(ids):
        if stopped():
            break
        pieces = _Pieces(line, message["id"], index)
        answer = player.chat(adapter_id, message["messages"], on_text=pieces.add, cancelled=stopped,
                             **message["options"])
        pieces.flush()
        line.put("answer", id=message["id"], index=index, answer=answer, seconds=answer["seconds"],
                 tokens=answer["tokens"])


class _Pieces:
    """Gathers words so that a fast model does not send a message for each."""

    def __init__(self, line: Line, id: str, index: int) -> None:
        self._line, self._id, self._index = line, id, index
        self._text: list[str] = []
        self._sent = 0.0

    def add(self, text: str) -> None:
        """Keep `text`, and send what has gathered when it is time."""
        self._text.append(text)
        if time.monotonic() - self._sent >= PIECE_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send what has gathered."""
        if self._text:
            self._line.put("text", id=self._id, index=self._index, text="".join(self._text))
            self._text.clear()
        self._sent = time.monotonic()
