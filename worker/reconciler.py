"""Lost messages: what waits in the database is begun here, or rung for again, whether anybody rang for it or not."""

from __future__ import annotations

import logging

from db import leases, light, predictions
from worker import client
from worker.desk import Desk
from worker.fleet import Fleet
from worker.jobs.batch import RunBatch
from worker.jobs.compose import Compose
from worker.jobs.export import MakeExport
from worker.jobs.inspect_dataset import InspectDataset
from worker.jobs.inspect_model import InspectModel
from worker.stage import Stage

log = logging.getLogger(__name__)

ERRANDS = {"dataset": InspectDataset, "model": InspectModel, "export": MakeExport, "composition": Compose,
           "batch": RunBatch}


def reconcile(fleet: Fleet, desk: Desk, stage: Stage) -> None:
    """Fill free slots, and take up or ring again for what has waited too long; safe to run in every worker at once."""
    fleet.fill()
    for run_id in leases.stale_queued():
        client.submit(run_id)
    predictions.give_up()
    for kind, id in light.stale():
        log.info("Nobody had heard of %s %s.", kind, id)
        if kind == "prediction":
            stage.ask(id)
        else:
            desk.offer(ERRANDS[kind], id)
    stage.tidy()
