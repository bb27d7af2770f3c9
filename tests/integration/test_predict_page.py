"""The page Predict shows rows as they are asked, says how they were prepared, and gives the commands for just that."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from db import adapters, users
from db.blobs import Blobs
from studio import batch_snippets, batch_view, play_who
from studio.batch_view import Draft
from studio.service import batches as service
from studio.service import holding

STEPS: list[dict[str, Any]] = [
    {"name": "template", "column": "text", "template": "{title}: {body}"},
    {"name": "filter", "where": "length(text) > 9"}, {"name": "shorten", "column": "text", "limit": 3}]


@pytest.fixture
def adapter(user: users.User) -> str:
    """An adapter that learned from prepared rows, on a base in 4 bits."""
    folder = Blobs().place("adapters/one")
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "studio.json").write_text(json.dumps({
        "task": "text_classification", "columns": {"text": "text", "label": "label"}, "steps": STEPS,
        "quantization": "nf4"}))
    return adapters.publish(user, name="one", model="tiny/bert", task="text_classification", method="lora",
                            key="adapters/one").id


def rows(tmp_path: Path, text: str) -> str:
    path = tmp_path / "my rows.csv"
    path.write_text(text)
    return str(path)


def test_rows_are_shown_as_they_are_asked_and_the_commands_say_the_same(
        user: users.User, adapter: str, tmp_path: Path) -> None:
    file = rows(tmp_path, "title,body\nRain,one two three\nSnow,four five six\n")
    draft = Draft(adapter, file=file)
    who = batch_view.asked(user, adapter)
    assert who is not None
    shown, said = batch_view.columns(user, draft, who)
    assert shown["columns"] == ["title", "body", "text"] and shown["chosen"] == {"text": "text"}
    assert [row[-1] for row in shown["rows"]] == ["Rain: one two", "Snow: four five"]
    assert "cut &#x27;text&#x27; to 3 words" in said and "every row is predicted: keep rows where" in said
    wanted = batch_view.wanted(user, draft, who, {"text": "text"}, {}, "csv")
    words = shlex.split(batch_snippets.command(wanted))
    assert words == ["peft-studio", "predict-file", "my rows.csv", "--adapter", adapter, "--column", "text=text",
                     "--format", "csv", "--out", "my rows predictions.csv"]
    # What the page sends is what the rows were shown with.
    made, columns, _ = service.planned(who.adapter, who.task, service.head(Path(file)), {"text": "text"}, STEPS)
    assert columns == {"text": "text"} and [step.name for step in made.taken] == ["template", "shorten"]
    as_is = Draft(adapter, file=file, prepare=False)
    shown, said = batch_view.columns(user, as_is, who)
    assert shown["columns"] == ["title", "body"] and "Prepared" not in said
    assert "--as-is" in batch_snippets.command(batch_view.wanted(user, as_is, who, {"text": "body"}, {}, "csv"))


def test_a_text_that_cannot_be_written_is_asked_for_and_can_be_chosen(
        user: users.User, adapter: str, tmp_path: Path) -> None:
    draft = Draft(adapter, file=rows(tmp_path, "id,body\n1,one two three four\n"))
    who = batch_view.asked(user, adapter)
    shown, said = batch_view.columns(user, draft, who)
    assert shown["columns"] == ["id", "body"] and shown["chosen"] == {} and "no column &#x27;title&#x27;" in said
    assert "Choose it" not in said and "choose in the header" in said
    _, said = batch_view.columns(user, draft, who, {"text": "body"})
    assert "cut &#x27;text&#x27; to 3 words" in said and "as there is no column &#x27;title&#x27;" in said


@pytest.mark.parametrize(("there", "said"), [(True, "held as nf4, as while"), (False, "full precision")])
def test_it_is_said_how_the_base_model_is_held(user: users.User, adapter: str, there: bool, said: str,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "quantizer_there", lambda user: there)
    assert said in play_who.held(user, [adapters.get(user, adapter)])
    assert play_who.held(user, []) == ""


def test_adapters_that_learned_on_a_base_held_differently_are_asked_in_full(user: users.User, adapter: str) -> None:
    folder = Blobs().place("adapters/two")
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "studio.json").write_text(json.dumps({"task": "text_classification"}))
    other = adapters.publish(user, name="two", model="tiny/bert", task="text_classification", method="lora",
                             key="adapters/two")
    both = [adapters.get(user, adapter), other]
    way, (finding,) = holding.held(user, both)
    assert way is None and finding.kind == "bases_held_differently" and "full precision and nf4" in finding.what
    assert holding.wanted(user, both, "auto") is None and holding.wanted(user, both[:1], "auto") == "nf4"
    assert "in different ways" in play_who.held(user, both) and play_who.held(user, [other]) == ""
