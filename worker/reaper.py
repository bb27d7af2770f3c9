"""Lost runs: a lease that ran out means its worker is gone, so the run is taken away and goes on elsewhere."""

from __future__ import annotations

import logging

from db import leases, workers

log = logging.getLogger(__name__)


def reap() -> None:
    """Take overdue runs away from their workers; safe to run in every worker at once."""
    for lost in leases.expire():
        log.warning("%s lost its worker and is %s now.", lost.run_id, lost.state)
    workers.forget()
