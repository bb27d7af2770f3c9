"""Who may work on which run, on every storage: claims, leases, fences, recovery."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from stories import END, STARTED, make_spec, take

from db import journal, leases, runs
from db.errors import LeaseLost
from db.session import Database
from db.users import User
from engine.spec import RunSpec


def test_the_longest_waiting_run_is_claimed_with_all_that_is_needed_to_start(ada: User, spec: RunSpec):
    first = runs.create(ada, spec, name="First")
    runs.create(ada, spec, name="Second")
    held = take("worker-1", seconds=60)
    assert (held.run_id, held.token, held.attempts, held.owner, held.name) == (first.id, 1, 1, ada, "First")
    assert held.spec == first.spec
    row = runs.get(ada, first.id)
    assert (row.state, row.worker_id, row.token) == ("starting", "worker-1", 1)
    assert row.lease_until is not None and row.heartbeat_at is not None
    assert 59.5 < row.lease_until - row.heartbeat_at < 60.5
    assert take().name == "Second"
    assert leases.claim("worker-1") is None


def test_a_claim_takes_only_what_fits_the_device_and_only_the_run_it_names(ada: User, spec: RunSpec):
    cuda = runs.create(ada, spec, device_class="cuda")
    anywhere = runs.create(ada, spec)
    assert take(device_class="cpu").run_id == anywhere.id
    assert leases.claim("worker-1", "cpu") is None
    assert leases.claim("worker-1", "cuda", run_id=anywhere.id) is None
    assert take(device_class="cuda", run_id=cuda.id).run_id == cuda.id


def test_of_many_claims_at_once_each_run_gets_one(ada: User, spec: RunSpec):
    made = {runs.create(ada, spec).id for _ in range(8)}
    taken: list[str] = []
    together = threading.Barrier(6)

    def work(name: str) -> None:
        together.wait()
        while (found := leases.claim(name)) is not None:
            taken.append(found.run_id)

    threads = [threading.Thread(target=work, args=(f"worker-{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # On PostgreSQL a claimer that passes over locked rows may see none left; what it left is claimed by the next.
    while (found := leases.claim("last")) is not None:
        taken.append(found.run_id)
    assert sorted(taken) == sorted(made)


def test_leases_go_by_the_databases_clock_not_by_this_machines(ada: User, spec: RunSpec, database: Database,
                                                               monkeypatch: pytest.MonkeyPatch):
    runs.create(ada, spec)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    held = take(seconds=30)
    with database.read() as session:
        clock = "unixepoch('now')" if database.sqlite else "extract(epoch from clock_timestamp())"
        now = float(session.execute(text(f"SELECT {clock}")).scalar_one())
    assert 27 < held.lease_until - now < 32
    assert leases.expire() == []


def test_renewing_lengthens_a_lease_until_it_is_lost(claimed: leases.Claimed):
    held = leases.renew(claimed.run_id, claimed.token, seconds=500)
    assert held is not None and held.lease_until > claimed.lease_until + 300 and held.stop_mode is None
    assert leases.renew(claimed.run_id, claimed.token + 1) is None
    assert leases.renew("run_nothing", 1) is None


def test_an_expired_run_is_interrupted_and_its_old_worker_is_fenced_off(ada: User, claimed: leases.Claimed,
                                                                        tell: Callable[..., Any]):
    tell(claimed, STARTED)
    assert leases.expire() == []
    leases.renew(claimed.run_id, claimed.token, seconds=-1)
    assert leases.expire() == [leases.Lost(claimed.run_id, "interrupted")]
    assert leases.expire() == [], "two reapers do it once"
    assert leases.renew(claimed.run_id, claimed.token) is None
    with pytest.raises(LeaseLost):
        journal.ingest(claimed.run_id, claimed.token, [END["succeeded"]])
    row = runs.get(ada, claimed.run_id)
    assert (row.state, row.worker_id, row.step) == ("interrupted", None, 2)
    assert "goes on from its newest checkpoint" in runs.log(ada, claimed.run_id)[-1].text


def test_a_run_taken_over_starts_its_journal_anew_and_the_first_holder_cannot_write(
        ada: User, claimed: leases.Claimed, tell: Callable[..., Any]):
    tell(claimed, STARTED)
    assert leases.lose(claimed.run_id, claimed.token) == "interrupted"
    second = take("worker-2")
    assert second.run_id == claimed.run_id and second.token > claimed.token and second.attempts == 2
    assert journal.last_seq(second.run_id, second.token) == -1
    with pytest.raises(LeaseLost):
        journal.ingest(claimed.run_id, claimed.token, [END["failed"]])
    assert tell(second, [STARTED[0]]).state == "running"


def test_the_third_lost_worker_fails_the_run_with_a_reason(ada: User, spec: RunSpec):
    run = runs.create(ada, spec)
    states = []
    for _ in range(3):
        held = take()
        states.append(leases.lose(held.run_id, held.token, "It was killed."))
    assert states == ["interrupted", "interrupted", "failed"]
    row = runs.get(ada, run.id)
    assert row.error is not None and row.error["kind"] == "worker_lost" and "3 times" in row.error["what"]
    assert row.finished_at is not None
    assert leases.claim("worker-1") is None
    runs.resume(ada, run.id)
    assert take().attempts == 1


def test_a_run_that_was_to_stop_and_lost_its_worker_is_cancelled(ada: User, claimed: leases.Claimed):
    runs.ask_stop(ada, claimed.run_id, "save")
    assert leases.lose(claimed.run_id, claimed.token) == "cancelled"
    assert runs.get(ada, claimed.run_id).finished_at is not None
    assert leases.lose(claimed.run_id, claimed.token) is None


def test_a_run_given_back_unharmed_does_not_count_as_an_attempt(ada: User, claimed: leases.Claimed):
    assert leases.release(claimed.run_id, claimed.token) is True
    assert leases.release(claimed.run_id, claimed.token) is False
    row = runs.get(ada, claimed.run_id)
    assert (row.state, row.attempts, row.worker_id) == ("queued", 0, None)
    again = take("worker-2")
    assert again.attempts == 1 and again.token > claimed.token


def test_a_run_that_was_to_stop_is_cancelled_when_it_is_given_back(ada: User, claimed: leases.Claimed):
    runs.ask_stop(ada, claimed.run_id, "discard")
    assert leases.release(claimed.run_id, claimed.token) is True
    assert runs.get(ada, claimed.run_id).state == "cancelled"


def test_a_run_whose_bell_was_not_heard_is_rung_for_once(ada: User, spec: RunSpec):
    waiting = runs.create(ada, spec)
    held = runs.create(ada, make_spec("head"))
    take(run_id=held.id)
    assert leases.stale_queued(60) == []
    assert leases.stale_queued(-1) == [waiting.id]
    assert leases.stale_queued(60) == []


def test_deleting_a_user_in_the_middle_of_things_fences_the_worker(ada: User, claimed: leases.Claimed,
                                                                   database: Database):
    with database.write() as session:
        session.execute(text("DELETE FROM users WHERE id = :id"), {"id": ada.id})
    with pytest.raises(LeaseLost):
        journal.ingest(claimed.run_id, claimed.token, STARTED)
    assert leases.renew(claimed.run_id, claimed.token) is None
