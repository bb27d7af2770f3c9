"""The shipper: events reach the database once and in order, whatever the database or the file does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from db import journal as rows
from db.errors import LeaseLost
from engine.events import Event, Logged, RunSucceeded, to_line
from worker.journal import Shipper, Tail


class Database:
    """Takes batches as `db.journal.ingest` does, or fails as told."""

    def __init__(self) -> None:
        self.seen: list[Event] = []
        self.problem: Exception | None = None

    def ingest(self, run_id: str, token: int, events: Any) -> int:
        if self.problem is not None:
            raise self.problem
        self.seen += events
        return self.seen[-1].seq


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    made = Database()
    monkeypatch.setattr(rows, "ingest", made.ingest)
    return made


def lines(path: Path, *events: Event) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(to_line(event) for event in events))


def shipper(path: Path) -> Shipper:
    return Shipper("run_1", 1, path, lambda event: None)


def test_line_that_is_still_being_written_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    whole, half = to_line(Logged("one", seq=0)), to_line(Logged("two", seq=1))
    tail = Tail(path)
    assert tail.read() == []
    path.write_text(whole + half[:10])
    assert [event.seq for event in tail.read()] == [0]
    assert tail.read() == []
    path.write_text(whole + half)
    assert [event.seq for event in tail.read()] == [1]


def test_damaged_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(to_line(Logged("one", seq=0)) + to_line(Logged("two", seq=1)).replace("two", "ten")
                    + to_line(Logged("three", seq=2)))
    assert [event.seq for event in Tail(path).read()] == [0, 2]


def test_events_wait_while_the_database_is_away_and_arrive_once_in_order(tmp_path: Path, database: Database) -> None:
    path = tmp_path / "events.jsonl"
    ship = shipper(path)
    lines(path, Logged("one", seq=0))
    assert ship.ship()
    database.problem = OperationalError("", {}, Exception("gone"))
    lines(path, Logged("two", seq=1), Logged("three", seq=2))
    assert not ship.ship() and not ship.ship()
    lines(path, RunSucceeded({}, seq=3))
    database.problem = None
    assert ship.ship()
    assert [event.seq for event in database.seen] == [0, 1, 2, 3]
    assert isinstance(ship.ending, RunSucceeded) and ship.next_seq == 4


def test_lost_lease_ends_the_shipping_for_good(tmp_path: Path, database: Database) -> None:
    path = tmp_path / "events.jsonl"
    ship = shipper(path)
    database.problem = LeaseLost("run_1", id="run_1")
    lines(path, Logged("one", seq=0))
    assert ship.ship() and ship.lost
    database.problem = None
    assert ship.ship() and database.seen == []


def test_event_that_cannot_be_stored_does_not_hold_up_the_others(tmp_path: Path, database: Database,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"

    def picky(run_id: str, token: int, events: Any) -> int:
        if any(event.text == "bad" for event in events):
            raise ValueError("not this one")
        return database.ingest(run_id, token, events)

    monkeypatch.setattr(rows, "ingest", picky)
    lines(path, Logged("one", seq=0), Logged("bad", seq=1), Logged("three", seq=2))
    assert shipper(path).ship()
    assert [event.seq for event in database.seen] == [0, 2]
