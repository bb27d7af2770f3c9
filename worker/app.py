"""The Celery app: it only carries the message that there is something to do; what and how is in the database."""

from __future__ import annotations

from celery import Celery
from kombu import Queue

from db.settings import settings

LIGHT, PLAY = "light", "play"


def train_queue(device_class: str) -> str:
    """Return the queue that workers with this class of device listen to."""
    return f"train.{device_class}"


def make(broker_url: str) -> Celery:
    """Return a new app for a broker; connects to nothing yet."""
    app = Celery("studio", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_serializer="json", accept_content=["json"], result_serializer="json", task_ignore_result=True,
        # Redis hands a message out again when it stays unacknowledged for an hour: late acks would train twice.
        task_acks_late=False, worker_disable_prefetch=True, worker_prefetch_multiplier=1,
        broker_connection_retry=True, broker_connection_retry_on_startup=True, broker_connection_max_retries=None,
        broker_transport_options={"socket_connect_timeout": 5, "socket_keepalive": True, "retry_on_timeout": True},
        worker_cancel_long_running_tasks_on_connection_loss=False, worker_enable_remote_control=False,
        worker_send_task_events=False, worker_hijack_root_logger=False, worker_redirect_stdouts=False,
        task_create_missing_queues=True, task_default_queue=LIGHT, enable_utc=True,
        # A message that nobody took is worthless soon: the reconciler finds what it was about in the database.
        task_publish_retry=False,
        task_queues=[Queue(name) for name in (LIGHT, PLAY)],
        imports=["worker.jobs.train", "worker.jobs.inspect_dataset", "worker.jobs.inspect_model", "worker.jobs.export",
                 "worker.jobs.compose", "worker.jobs.batch", "worker.jobs.look", "worker.jobs.hub_look",
                 "worker.jobs.predict"],
    )
    return app


app = make(settings().celery_broker)
