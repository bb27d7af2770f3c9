"""What comes of a file to evaluate on is told where its dataset is: on its page, by the API, by the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from byhand import Hand, at

from db import datasets, users
from studio import cli, cli_session, cli_stack, data_counts, data_problems, data_view, records, service
from studio.service.reading import settled

ROWS = "text,label\n" + "".join(f"this is the text of row {i},{'yes' if i % 2 else 'no'}\n" for i in range(40))
FRESH = "text,label\n" + "".join(f"another text of row {i},{'yes' if i % 2 else 'no'}\n" for i in range(10))
MIXED = b"text,label\n" + b"".join(f"café number {i},{'yes' if i % 2 else 'no'}\n".encode(
    "utf-8" if i % 5 else "latin-1") for i in range(120))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with rows to learn from, and three files to evaluate on."""
    (tmp_path / "train.csv").write_text(ROWS)
    (tmp_path / "held.csv").write_bytes(MIXED)
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "odd.csv").write_text(FRESH + "odd one out,perhaps\n")
    return tmp_path


@pytest.mark.parametrize(("name", "reason"), [("held.csv", "is not valid UTF-8"), ("empty.csv", "The file is empty.")])
def test_a_file_that_cannot_be_read_is_told_with_the_dataset_it_evaluates(
        hand: Hand, files: Path, name: str, reason: str) -> None:
    user = users.local()
    id = service.add_dataset(user, files / "train.csv", eval_path=files / name).id
    hand.work()
    row, beside = datasets.get(user, id), datasets.find(user, eval_of_id=id)
    (finding,) = row.findings
    assert finding["level"] == "error" and finding["what"].startswith(f"The evaluation file '{name}' could not be read")
    assert reason in finding["what"] and name in finding["where"] and records.dataset(row, full=False)["errors"] == 1
    assert "Needs a fix" in data_view.badge(row) and reason in data_view.findings(row) and not data_view.steps(row)
    assert "a share is kept" not in data_counts.numbers(row, beside)
    assert "could not be read" in data_view.evaluated(beside) and "Now these" not in data_view.evaluated(beside)
    assert settled(row, beside) and "could not be read" in data_view.head(row, None, beside)
    service.looks.problems(user, id)
    hand.work()
    problems = str(data_problems._look(at(row))[0])
    assert "could not be read" in problems and "A share of these rows is kept" not in problems
    service.add_eval(user, id, files / "odd.csv")
    hand.work()
    assert [one["kind"] for one in datasets.get(user, id).findings] == ["label_unseen"]
    service.delete_dataset(user, datasets.find(user, eval_of_id=id)[0].id)
    hand.work()
    assert not datasets.get(user, id).findings


def test_a_file_whose_reading_was_cancelled_before_it_began_is_told_as_well(hand: Hand, files: Path) -> None:
    user = users.local()
    id = service.add_dataset(user, files / "train.csv", eval_path=files / "odd.csv").id
    service.cancel_dataset(user, datasets.find(user, eval_of_id=id)[0].id)
    hand.work()
    assert ["It was cancelled." in one["what"] for one in datasets.get(user, id).findings] == [True]


@pytest.mark.parametrize(("name", "said"), [("odd.csv", "'perhaps'"), ("held.csv", "is not valid UTF-8")])
@pytest.mark.parametrize("attached", [True, False])
def test_adding_waits_until_both_files_were_looked_at(
        hand: Hand, files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str,
        said: str, attached: bool) -> None:
    # The file to learn from comes first: it is ready before the other was read.
    def step_by_step(looked: Callable[[], Any], states: Any, *_: Any) -> Any:
        """Do one errand after the other until what is waited for is there."""
        hand.rung.sort(key=lambda ring: datasets.get(users.local(), ring[1]).eval_of_id is not None)
        while (found := looked()).state not in states:
            hand.work_once()
        return found

    monkeypatch.setattr(cli_stack, "worker_there", lambda: True)
    monkeypatch.setattr(cli_session, "wait", step_by_step)
    monkeypatch.setattr(cli_session, "me", users.local)
    train, held = str(files / "train.csv"), str(files / name)
    if attached:
        code = cli.main(["datasets", "add", train, "--eval", held])
    else:
        assert cli.main(["datasets", "add", train]) == 0
        (row,) = datasets.find(users.local())
        code = cli.main(["datasets", "add-eval", row.id, held])
    seen = capsys.readouterr()
    assert code == 2 and said in seen.out + seen.err
