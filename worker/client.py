"""What the studio may ask of the workers: ring for something that is already in the database.

Nothing here waits for a worker, and a lost ring costs seconds only: the workers also look for themselves.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator
from typing import Any

from db import workers
from db.settings import mask, settings
from db.users import User
from worker import broker
from worker.errors import BrokerUnreachable

log = logging.getLogger(__name__)

#: A worker that has not been heard of for so many heartbeats is not counted.
MISSED_HEARTBEATS = 3
#: Rings that nobody took in this time are worthless.
RING_SECONDS = 300
#: Workers belong to nobody.
ANYBODY = User("us_anybody", "anybody")
KINDS = ("dataset", "model", "export", "composition", "batch", "prediction")


def submit(run_id: str) -> bool:
    """Tell the workers that a run waits; returns whether the message got out (if not, they find it themselves)."""
    return _ring_classes("train", run_id)


def stop(run_id: str) -> bool:
    """Tell the workers that `db.runs.ask_stop` was called, which they would otherwise see at the next heartbeat."""
    return _ring_classes("stop", run_id)


def inspect_dataset(dataset_id: str, model: str | None = None, max_length: int | None = None) -> bool:
    """Ask for a dataset to be read and counted; `model` and `max_length` give its lengths in that model's tokens."""
    return _ring("inspect_dataset", "light", dataset_id, model=model, max_length=max_length)


def look(dataset_id: str, name: str) -> bool:
    """Ask for a look into a dataset that `db.looks` has written down by that name."""
    return _ring("look", "light", dataset_id, name=name)


def hub_look(user_id: str, name: str) -> bool:
    """Ask for a look at a dataset on the Hub that `db.looks` has written down by that name, for that user."""
    return _ring("hub_look", "light", user_id, name=name)


def inspect_model(model_id: str) -> bool:
    """Ask for a base model to be found, fetched and measured."""
    return _ring("inspect_model", "light", model_id)


def export(export_id: str) -> bool:
    """Ask for an export to be made."""
    return _ring("export", "light", export_id)


def compose(composition_id: str) -> bool:
    """Ask for adapters to be combined."""
    return _ring("compose", "light", composition_id)


def batch(batch_id: str) -> bool:
    """Ask for the rows of a file to be predicted, or for an adapter to be evaluated."""
    return _ring("batch", "light", batch_id)


def cancel(kind: str, id: str) -> None:
    """Ask for a dataset's, model's, export's, composition's, batch's or prediction's work to stop; raises NotFound."""
    from db import batches, compositions, datasets, exports, models, predictions, users

    found = (datasets, models, exports, compositions, batches, predictions)
    repositories: dict[str, Any] = dict(zip(KINDS, found, strict=True))
    repositories[kind].cancel(users.owner_of(id), id)


def ask(prediction_id: str) -> bool:
    """Ask for a prediction to be answered; `stream` gives the words as they come.

    The prediction's `request` holds `model` (id), optional `revision` and `quantization`, `task`, `adapters` (a list of
    adapter ids; null is the base itself), either `rows` (a list of {role: value}; a file is {key, name, bytes}) or
    `messages` (a list of {role, content}), and `options` (the fields of the task's `asking`).
    """
    return _ring("predict", "play", prediction_id)


def stream(prediction_id: str, after: str = "0", timeout: float = 120.0) -> Iterator[dict[str, Any]]:
    """Yield what happens to a prediction, from the message after cursor `after` on, until it is done.

    Each has `event` and `cursor`: `state` (loading, answering) with `text`; `text` with `index` (of the adapter) and
    `text`, the next words; `replies` with `index` and `replies`, those of some of many rows; `answer` with `index`,
    `answer` (a list of replies, one a row, or what was written), `seconds` and `tokens`; `done` with `state` (ready,
    failed, cancelled), `result` and `error`. Ends without `done` after `timeout` seconds of silence.

    Raises BrokerUnreachable.
    """
    import redis

    from worker import answers

    try:
        with contextlib.closing(answers.connect()) as client:
            yield from answers.read(client, prediction_id, after, timeout)
    except redis.ConnectionError as error:
        raise BrokerUnreachable(url=mask(settings().broker)) from error


def stop_asking(prediction_id: str) -> None:
    """Stop an answer; what was written so far stays."""
    cancel("prediction", prediction_id)


def queue_state() -> dict[str, Any]:
    """Return the workers heard of lately and the room they have: {workers, slots, busy, broker}."""
    alive = _alive()
    return {"workers": len(alive), "slots": sum(row.slots for row in alive), "busy": sum(row.busy for row in alive),
            "broker": broker_ok()}


def broker_ok() -> bool:
    """Whether the broker answers."""
    return broker.answers(settings().broker)


def _alive() -> list[Any]:
    return workers.find(ANYBODY, within=MISSED_HEARTBEATS * settings().heartbeat_seconds)


def _ring_classes(job: str, run_id: str) -> bool:
    """Ring for each class of device that workers have; for the processor when there is no worker yet."""
    classes = sorted({row.device.get("class", "cpu") for row in _alive()}) or ["cpu"]
    # A list: every class is to be rung, whatever became of the one before.
    return False not in [_ring(job, f"train.{kind}", run_id) for kind in classes]


@functools.cache
def _sender(broker_url: str) -> Any:
    """Return what sends messages; imported at the first ring, so that the web server starts without it."""
    from worker.app import make

    sender = make(broker_url)
    # Somebody waits for the page behind this: a broker that is away is asked for a second, not for six.
    sender.conf.broker_transport_options |= {"max_retries": 4, "interval_start": 0.2, "interval_step": 0,
                                             "interval_max": 0.2}
    return sender


def _ring(job: str, queue: str, id: str, **arguments: Any) -> bool:
    from kombu.exceptions import OperationalError

    try:
        _sender(settings().celery_broker).send_task(job, args=[id], kwargs=arguments, queue=queue,
                                                    expires=RING_SECONDS, ignore_result=True)
    except (OperationalError, OSError) as error:
        log.warning("The broker did not take '%s' for %s: %s", job, id, error)
        return False
    return True
