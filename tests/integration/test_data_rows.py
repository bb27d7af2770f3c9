"""A dataset's rows by REST, command line and page: found, changed, saved as a version, compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from byhand import COLUMNS, Hand, add, at, tickets
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from db import datasets, looks, users, versions
from db.blobs import Blobs
from engine.data.paging import Rows
from studio import data_problems, data_rows, data_samples, data_versions, service
from studio.cli import app as cli

pytestmark = pytest.mark.usefixtures("hand")


def test_pages_are_searched_sorted_and_bounded(client: TestClient, hand: Hand) -> None:
    row = add(hand, tickets() | {"score": [float("nan"), *map(float, range(1, 20))]})
    address = f"/api/v1/datasets/{row.id}/rows"
    first = client.get(address, params={"limit": 3}).json()
    assert [item["row"] for item in first["items"]] == [1, 2, 3] and first["total"] == first["rows"] == 20
    assert first["items"][0]["cells"] == {"text": "ticket number 1 says this", "label": "money", "score": None}
    assert first["columns"] == {"text": "text", "label": "text", "score": "number"}
    found = client.get(address, params={"search": "NUMBER 1", "sort": "-score", "limit": 4}).json()
    assert found["total"] == 11 and [item["row"] for item in found["items"]] == [19, 18, 17, 16]
    assert client.get(address, params={"offset": 500, "limit": 15}).json()["offset"] == 15
    for wrong, status in ({"sort": "gone"}, 422), ({"limit": 9999}, 422), ({"offset": -1}, 422), ({"page": 2}, 422):
        assert client.get(address, params=wrong).status_code == status
    assert client.get("/api/v1/datasets/ds_none/rows").status_code == 404


def test_a_large_file_is_gone_through_by_another_process(client: TestClient, hand: Hand,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    row = add(hand, tickets() | {"score": list(map(float, range(20)))})
    monkeypatch.setattr(service.rows, "AT_ONCE", 0)
    monkeypatch.setattr(Rows, "_search", None)
    monkeypatch.setattr(Rows, "_sort", None)
    address = f"/api/v1/datasets/{row.id}/rows"
    found = client.get(address, params={"search": "NUMBER 1", "sort": "-score", "limit": 4}).json()
    assert found["total"] == 11 and [item["row"] for item in found["items"]] == [19, 18, 17, 16]
    assert client.get(address, params={"sort": "gone"}).status_code == 422


def test_a_damaged_table_is_named_wherever_it_is_read(client: TestClient, hand: Hand) -> None:
    row = add(hand, tickets())
    add(hand, tickets(8), name="judge", eval_of_id=row.id)
    Blobs().local(str(row.parquet_key)).write_bytes(b"PAR1 cut short")
    spec = {"task": "text_classification", "model": {"id": "starter/minilm-l6"}, "data": {"train": row.id},
            "method": {"name": "lora"}}
    for found in client.get(f"/api/v1/datasets/{row.id}/rows"), client.post("/api/v1/runs", json=spec):
        assert found.status_code == 422 and "damaged" in found.text, found.text


def test_changes_wait_on_the_row_until_they_are_saved_as_a_version(client: TestClient, hand: Hand) -> None:
    row = add(hand, tickets())
    other = add(hand, tickets(4), name="judge", eval_of_id=row.id)
    address = f"/api/v1/datasets/{row.id}"
    before = Blobs().local(str(row.parquet_key)).read_bytes()
    edits = [{"row": 2, "column": "label", "value": "refund"}, {"row": 5, "exclude": True},
             {"row": 8, "column": "score", "value": "9.5"}]
    assert len(client.post(f"{address}/edits", json={"edits": edits}).json()["edits"]) == 3
    client.post(f"{address}/edits", json={"edits": [{"row": 9, "exclude": True}]})
    drafts = client.delete(f"{address}/edits").json()["edits"]
    assert [one["row"] for one in drafts] == [2, 5, 8] and drafts[0]["before"] == "travel"
    saved = client.post(f"{address}/versions", json={})
    assert saved.status_code == 201 and saved.json()["version"] == 2 and saved.json()["version_of_id"] == row.id
    assert client.get(f"{address}/edits").json()["edits"] == []
    hand.work()
    new = datasets.get(users.local(), saved.json()["id"])
    assert (new.state, new.rows, new.columns, new.confirmed) == ("ready", 19, COLUMNS, True) and new.sha256
    assert new.bytes == Blobs().local(str(new.parquet_key)).stat().st_size != row.bytes
    table = pq.read_table(Blobs().local(str(new.parquet_key))).to_pylist()
    assert table[1]["label"] == "refund" and table[6]["score"] == 9.5 and "number 6" in table[4]["text"]
    assert Blobs().local(str(row.parquet_key)).read_bytes() == before
    judge = datasets.find(users.local(), eval_of_id=new.id)
    assert [one.rows for one in judge] == [4] and judge[0].id != other.id
    diff = client.get(f"/api/v1/datasets/{new.id}/diff").json()
    assert (diff["against"], diff["cells"], diff["excluded"]) == (row.id, 2, 1)
    assert diff["changes"][1] == {"row": 5, "new_row": None, "excluded": True,
                                  "before": "ticket number 5 says this · travel · 4.0"}
    assert diff["changes"][2]["row"] == 8 and diff["changes"][2]["new_row"] == 7
    again = client.post(f"{address}/versions", json={})
    assert (again.status_code, again.json()["kind"]) == (409, "nothing_changed")


def test_versions_stay_a_family_that_can_be_compared_and_cut(client: TestClient, hand: Hand) -> None:
    row = add(hand, tickets())

    def save(id: str, *edits: dict[str, Any]) -> str:
        made = client.post(f"/api/v1/datasets/{id}/versions", json={"edits": list(edits)})
        assert made.status_code == 201, made.text
        hand.work()
        return made.json()["id"]
    second = save(row.id, {"row": 3, "exclude": True}, {"row": 4, "column": "label", "value": "x"})
    third = save(second, {"row": 3, "column": "label", "value": "y"}, {"row": 4, "exclude": True})
    aside = save(row.id, {"row": 4, "column": "label", "value": "z"})
    listed = client.get(f"/api/v1/datasets/{third}/versions").json()["items"]
    assert [(one["id"], one["version"]) for one in listed] == [(row.id, 1), (second, 2), (third, 3), (aside, 4)]

    def changes(id: str, against: str) -> list[Any]:
        answer = client.get(f"/api/v1/datasets/{id}/diff", params={"against": against}).json()
        return [(one["row"], one["new_row"], one.get("before"), one.get("after")) if "column" in one else
                (one["row"], one["new_row"], one["excluded"]) for one in answer["changes"]]
    assert changes(third, row.id) == [(3, None, True), (4, 3, "money", "y"), (5, None, True)]
    assert changes(aside, third) == [(None, 3, False), (3, 4, "y", "z"), (None, 5, False)]
    assert changes(row.id, row.id) == []
    datasets.delete(users.local(), row.id)
    assert [one.id for one in versions.family(users.local(), aside)] == [second, third, aside]
    assert client.get(f"/api/v1/datasets/{third}/diff").json()["cells"] == 1
    lost = client.get(f"/api/v1/datasets/{aside}/diff", params={"against": third})
    assert (lost.status_code, lost.json()["kind"]) == (409, "versions_unrelated")


@pytest.mark.parametrize(("edit", "kind"), [
    ({"row": 99, "exclude": True}, "row_unknown"), ({"row": 1, "column": "gone", "value": 1}, "column_missing"),
    ({"row": 1, "column": "score", "value": "much"}, "value_does_not_fit"), ({"row": 1}, "edit_invalid"),
    ({"row": 0, "exclude": True}, "edit_invalid"), ({"row": 1, "exclude": True, "why": "so"}, "edit_invalid")])
def test_changes_that_do_not_fit_are_refused_by_name(client: TestClient, hand: Hand, edit: dict[str, Any],
                                                     kind: str) -> None:
    row = add(hand, tickets(3))
    for address in (f"/api/v1/datasets/{row.id}/edits", f"/api/v1/datasets/{row.id}/versions"):
        refused = client.post(address, json={"edits": [edit]})
        assert (refused.status_code, refused.json()["kind"]) == (422, kind)
        assert refused.json()["where"] and refused.json()["try_this"]
    everything = [{"row": number, "exclude": True} for number in (1, 2, 3)]
    none = client.post(f"/api/v1/datasets/{row.id}/versions", json={"edits": everything})
    assert none.json()["kind"] == "no_rows_left" and versions.drafted(datasets.get(users.local(), row.id)) == []


@pytest.mark.usefixtures("hand")
def test_the_command_line_shows_changes_and_saves_rows(hand: Hand) -> None:
    row = add(hand, tickets())

    def run(*arguments: str) -> Any:
        done = CliRunner().invoke(cli, ["datasets", *arguments, "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)
    found = run("rows", row.id, "--search", "number 2", "--sort", "-score")
    assert [one["row"] for one in found["items"]] == [20, 2]
    run("edit", row.id, "--row", "2", "--row", "3", "--set", "label=new")
    assert len(run("edit", row.id, "--row", "4", "--exclude")) == 3
    assert len(run("edit", row.id, "--undo")) == 2
    made = run("edit", row.id, "--save", "--no-wait")
    hand.work()
    assert [one["changes"] for one in run("versions", row.id)] == [0, 2]
    assert {one["after"] for one in run("diff", made["id"])["changes"]} == {"new"}
    told = CliRunner().invoke(cli, ["datasets", "rows", row.id, "--limit", "2"])
    assert "ticket number 2" in told.stdout and "ticket number 3" not in told.stdout


def test_the_page_draws_every_tab(hand: Hand, tmp_path: Path) -> None:
    row = add(hand, tickets(120))
    user = users.local()
    value, timer = data_rows._first(at(row, row=77))
    assert value["at"]["offset"] == 50 and value["at"]["row"] == 77 and value["rows"][26]["number"] == 77
    assert not timer.active

    def ask(what: str, **more: Any) -> Any:
        return data_rows._asked({"ask": {"what": what, "at": value["at"], **more}}, at(row))
    changed = [{"row": 77, "column": "label", "value": "<b>odd</b>"}, {"row": 78, "exclude": True}]
    drawn, _, _ = ask("edit", edits=changed)
    assert drawn["drafts"] == 2 and drawn["rows"][26]["cells"][1] == {"text": "<b>odd</b>", "was": "travel"}
    assert drawn["rows"][27]["out"] and "<b>odd</b>" in drawn["labels"]
    assert ask("row", row=77)[0]["full"]["cells"]["label"] == "<b>odd</b>"
    assert data_rows._first(at(row))[0]["drafts"] == 2
    _, go, _ = ask("save")
    hand.work()
    new = versions.family(user, row.id)[1]
    assert new.id in go and new.rows == 119
    _, _, diff, _ = data_versions._look(at(new))
    assert "&lt;b&gt;odd&lt;/b&gt;" in diff and "left out" in diff
    for draw in (data_samples._look, data_problems._look):
        draw(at(new))
        hand.work()
        assert "Row" in draw(at(new))[0] or "row" in draw(at(new))[0]
    waiting = datasets.create(user, name="later")
    for draw in (data_rows._first, data_samples._look, data_problems._look, data_versions._look):
        assert draw(at(waiting)) is not None
    assert looks.read(waiting.id, "samples-none").state == "missing"


def test_two_people_changing_at_once_lose_nothing(hand: Hand) -> None:
    from concurrent.futures import ThreadPoolExecutor

    row, user = add(hand, tickets(40)), users.local()
    change: Callable[[int], Any] = lambda number: service.versions.edit(  # noqa: E731
        user, row.id, [{"row": number, "column": "label", "value": "x"}])
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(change, range(1, 21)))
    assert sorted(one["row"] for one in versions.drafted(datasets.get(user, row.id))) == list(range(1, 21))


def test_a_change_made_twice_is_taken_back_at_once(hand: Hand) -> None:
    row, user = add(hand, tickets(10)), users.local()
    out: list[dict[str, Any]] = [{"row": 2, "exclude": True}]
    for _ in range(2):
        service.versions.edit(user, row.id, out)
    assert len(versions.drafted(datasets.get(user, row.id))) == 1
    assert versions.drafted(service.versions.undo(user, row.id)) == []
