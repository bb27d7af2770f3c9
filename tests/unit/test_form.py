"""From a pydantic model to a form and back."""

from __future__ import annotations

import json
from typing import Any, ClassVar, Literal

import pytest
from pydantic import BaseModel

from docs.generate import settings_table
from engine import methods, preparation, tasks
from engine.knobs import knob, spelled
from engine.methods.base import Card, Method
from engine.recipe import Recipe
from engine.spec import Training, parse
from studio import cli_flags, form
from studio.draft import SPLIT, Draft, from_query, from_spec

EVERY: list[type[BaseModel]] = [*methods.every().values(), *tasks.every().values(), Training]


class Dummy(Method):
    """A method nobody has heard of."""

    name: Literal["dummy"] = "dummy"
    width: int = knob(4, ge=1, le=64, scale="log2", unit="columns", help="How wide it is.")
    share: float = knob(0.5, gt=0, lt=1, help="How much of it.")
    where: Literal["all", "top"] | list[str] = knob("all", help="Where it goes.")
    shy: bool = knob(False, advanced=True, help="Whether it hides.", shown_if={"where": "top"})
    card: ClassVar[Card] = Card(title="Dummy", family="selective", summary="", paper="")


def named(kind: type[BaseModel]) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in form.fields(kind)}


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_every_field_has_a_control_with_help_and_a_default_that_pydantic_accepts(kind: type[BaseModel]) -> None:
    made = named(kind)
    assert set(made) == set(kind.model_fields) - {"name"}
    for item in made.values():
        assert item["help"] and item["title"], item["name"]
        assert item["kind"] in {"flag", "choice", "number", "integer", "text", "list", "pairs", "mixed", "part"}
    name = {"name": kind.model_fields["name"].default} if "name" in kind.model_fields else {}
    assert kind.model_validate(name | form.defaults(kind)) == kind.model_validate(name)
    json.dumps(form.state([form.Group("it", "It", kind)], elem_id="x"), allow_nan=False)


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_both_ends_of_every_slider_are_allowed_values(kind: type[BaseModel]) -> None:
    name = {"name": kind.model_fields["name"].default} if "name" in kind.model_fields else {}
    for item in form.fields(kind):
        for end in item.get("slider") or []:
            kind.model_validate(name | {item["name"]: int(end) if item["kind"] == "integer" else end})


def test_a_method_that_nobody_wrote_a_form_for_gets_one() -> None:
    made = named(Dummy)
    assert made["width"] | {"slider": [1, 64], "unit": "columns", "scale": "log2", "min": 1, "max": 64} == made["width"]
    assert made["share"]["slider"] == [0.01, 0.99] and made["share"]["kind"] == "number"
    assert made["where"]["kind"] == "list" and [o["label"] for o in made["where"]["options"]] == ["All", "Top"]
    assert made["shy"]["advanced"] and made["shy"]["shown_if"] == {"where": "top"}


def test_a_word_beside_a_number_can_be_exchanged_for_one_inside_the_slider() -> None:
    rate = named(Training)["learning_rate"]
    assert rate["kind"] == "number" and rate["options"] == [{"value": "auto", "label": "Auto"}]
    assert rate["slider"][0] < rate["start"] < rate["slider"][1]


def test_an_optional_part_brings_its_own_fields_and_defaults() -> None:
    stopping = named(Training)["early_stopping"]
    assert stopping["kind"] == "part" and stopping["default"] is None
    assert {inner["name"] for inner in stopping["fields"]} == set(stopping["start"]) == {"patience", "threshold"}


def test_values_come_back_as_plain_data_only() -> None:
    came = {"groups": "ignored", "values": {"training": {"epochs": 2, "evil": object()}, "odd": 3}}
    assert form.values(came)["training"]["epochs"] == 2
    assert isinstance(form.values(came)["training"]["evil"], str) and "odd" not in form.values(came)
    assert form.values("nonsense") == {} and form.values(None) == {}


def test_state_lays_known_values_over_the_defaults_and_drops_unknown_ones() -> None:
    state = form.state([form.Group("training", "Training", Training)], {"training": {"epochs": 7, "no_such": 1}},
                       elem_id="x")
    assert state["values"]["training"]["epochs"] == 7 and "no_such" not in state["values"]["training"]
    assert state["values"]["training"]["batch_size"] == Training().batch_size


def test_changes_name_only_what_differs() -> None:
    chosen = form.defaults(Training) | {"epochs": 5}
    assert form.changes(Training, chosen) == [("Epochs", 5, 3)]


@pytest.mark.parametrize(("value", "shown"), [
    (None, "none"), (True, "on"), ("all-linear", "All-linear"), ("mlp", "MLP"), ("nf4", "nf4"), (["q", "v"], "Q, V"),
    ({"q": 16}, "q=16"), (3e-4, "0.0003"), ("all", "All"), ("no", "No"), ("end", "End"), ("lstm", "LSTM")])
def test_values_are_shown_as_words(value: Any, shown: str) -> None:
    assert form.word(value) == shown


def test_a_draft_survives_the_address_bar() -> None:
    draft = Draft(dataset="ds_a", eval=SPLIT, task="text_classification", model="starter/minilm-l6", method="lora",
                  values={"method.lora": {"r": 4}, "training": {"epochs": 3, "seed": 7}})
    from urllib.parse import parse_qsl
    again = from_query(dict(parse_qsl(draft.url().removeprefix("?"))))
    assert again.values == {"method.lora": {"r": 4}, "training": {"seed": 7}}, "defaults are left out"
    assert parse(again.document()) == parse(draft.document())


def test_a_stored_run_becomes_the_same_document_again() -> None:
    spec = parse({"task": "text_classification", "model": {"id": "starter/minilm-l6", "quantization": "nf4"},
                  "data": {"train": "ds_a", "eval": "ds_b", "options": {"problem": "multi_label"}},
                  "method": {"name": "lora", "r": 32, "targets": ["q", "v"]},
                  "training": {"early_stopping": {"patience": 5}}})
    assert parse(from_spec(spec.model_dump(mode="json")).document()) == spec


@pytest.mark.parametrize("query", [{"set": "not json"}, {"set": "[1]"}, {"set": '{"training": 3}'},
                                   {"method": "x" * 9000}])
def test_a_broken_address_gives_an_empty_draft_not_an_error(query: dict[str, str]) -> None:
    assert from_query(query).values == {}


def test_values_whose_names_say_too_little_have_words_of_their_own() -> None:
    blocks, label = named(methods.get("lora"))["layers"], named(tasks.get("text_classification"))["problem"]
    assert {option["label"] for option in blocks["options"]} == {"All"} and blocks["shown_default"] == "All"
    assert label["options"][0] == {"value": "single_label", "label": "One label a text"} and "_" not in label["help"]
    assert form.changes(methods.get("lora"), {"layers": 2}) == [("Blocks", 2, "All")]
    start = {option["value"]: option["label"] for option in named(methods.get("lora"))["init"]["options"]}
    assert start["pissa_fast"] == "Fast PiSSA" and start["gaussian"] == "Gaussian"


def test_choices_read_as_words_and_names() -> None:
    def labels(method: str, setting: str) -> list[str]:
        return [option["label"] for option in named(methods.get(method))[setting]["options"]]
    assert labels("bitfit", "biases") == ["All", "Query", "Intermediate", "Query and intermediate"]
    assert labels("adapter", "activation") == ["GELU", "ReLU", "SiLU", "Tanh"]
    assert labels("p_tuning", "encoder") == ["LSTM", "MLP", "None"] and labels("ia3", "where")[0] == "All"
    for kind in EVERY:
        for item in form.fields(kind):
            assert not [o for o in item["options"] if "_" in o["label"] or "+" in o["label"]], item["name"]


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_no_help_speaks_in_names_of_the_code(kind: type[BaseModel]) -> None:
    for item in form.fields(kind):
        words = item["help"].replace("`messages`", "").split()
        assert not [word for word in words if "_" in word.strip("_")], (item["name"], item["help"])


def test_where_no_form_shows_them_values_are_spelled_as_they_are_typed() -> None:
    fields = methods.get("lora").model_fields
    assert spelled(fields["layers"]) == "Written: none (all), a number, or a list." and spelled(fields["r"]) == ""
    assert "pissa_fast (fast pissa)" in spelled(fields["init"]) and "gaussian" in spelled(fields["init"])
    assert spelled(methods.get("bitfit").model_fields["control"], "`") == \
        "Written: `none`, `random_uniform`, `random_rows`."
    assert spelled(Training.model_fields["learning_rate"]) == "Written: auto, or a number."
    assert spelled(Training.model_fields["early_stopping"]) == "", "a part has settings of its own"


@pytest.mark.parametrize("kind", [*EVERY, *preparation.every().values(), Recipe], ids=lambda kind: kind.__name__)
def test_every_value_that_has_a_name_stands_in_the_docs_and_in_the_command_lines_help(kind: type[BaseModel]) -> None:
    table = settings_table(kind).splitlines()
    helps = {flag.name: flag.help for flag in cli_flags.flags()}
    for item in form.fields(kind):
        values = [option["value"] for option in item["options"] if option["value"] is not None]
        row = next(line for line in table if line.startswith(f"| `{item['name']}` |"))
        assert all(f"`{value}`" in row.rpartition("Written: ")[2] for value in values), (item["name"], row)
        if kind in EVERY:
            assert all(value in helps[item["name"]].rpartition("Written: ")[2] for value in values), item["name"]


def test_values_of_a_flag_that_several_methods_read_their_own_way_stand_by_method() -> None:
    start = next(flag.help for flag in cli_flags.flags() if flag.name == "init")
    assert "Written: default, gaussian, orthogonal" in start
    assert "; with fourierft: random, zero;" in start
    assert "with prompt_tuning: vocabulary, random, text, labels" in start
