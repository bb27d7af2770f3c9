"""What pydantic complains of is said in words: which field, by its title, and what it must be."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from engine import complaints, preparation, spec
from engine.errors import SpecError
from engine.knobs import knob


class Inner(BaseModel):
    patience: int = knob(3, ge=1, help="")


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    count: int = knob(1, ge=1, le=10, title="How many", help="")
    rate: Annotated[float, Field(gt=0)] | Literal["auto"] = knob("auto", help="")
    rows: list[dict[str, str]] = Field(default=[], min_length=0)
    names: list[str] = Field(default=["a"], min_length=1)
    text: str = Field(default="a", min_length=1)
    way: Literal["a", "b"] = "a"
    inner: Inner | None = None
    even: int = 2

    @field_validator("even")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("it must be even")
        return value

    @model_validator(mode="after")
    def _some(self) -> Outer:
        if self.rows == [{}]:
            raise ValueError("rows is empty")
        return self


@pytest.mark.parametrize(("given", "where", "problem"), [
    ({"count": "many"}, "count", "How many must be a whole number"),
    ({"count": 1.5}, "count", "How many must be a whole number"),
    ({"count": 11}, "count", "How many must be at most 10"),
    ({"rate": "fast"}, "rate", "Rate must be a number or 'auto'"),
    ({"rows": [{"text": 1}]}, "rows.0.text", "Rows, item 1, 'text' must be a text"),
    ({"rows": "none"}, "rows", "Rows must be a list"),
    ({"names": []}, "names", "Names must not be empty"), ({"text": ""}, "text", "Text must not be empty"),
    ({"way": "c"}, "way", "Way must be 'a' or 'b'"),
    ({"inner": {"patience": 0}}, "inner.patience", "Patience must be at least 1"),
    ({"even": 3}, "even", "Even: it must be even"), ({"rows": [{}]}, "", "rows is empty"),
    ({"odd": 3}, "odd", "'odd' is not known here")])
def test_a_field_is_named_by_its_title_and_told_what_it_must_be(given: dict[str, Any], where: str,
                                                               problem: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Outer.model_validate(given)
    found = complaints.first(raised.value, Outer)
    assert (found.where, found.problem) == (where, problem)


@pytest.mark.parametrize(("training", "said"), [
    ({"epochs": "many"}, 'Epochs must be a number (got "many").'),
    ({"max_length": 3}, "Max length must be at least 8 (got 3)."),
    ({"learning_rate": "fast"}, "Learning rate must be a number or 'auto' (got \"fast\")."),
    ({"precision": "fp8"}, "Precision must be 'auto', 'fp32', 'bf16' or 'fp16' (got \"fp8\").")])
def test_a_run_that_is_refused_names_the_setting_as_the_form_does(training: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as raised:
        spec.parse({"task": "text_classification", "model": {"id": "tiny/bert"}, "data": {"train": "a.csv"},
                    "method": {"name": "lora"}, "training": training})
    assert said in raised.value.what and raised.value.where == f"training.{next(iter(training))}"


def test_a_step_that_misses_something_is_named_by_its_title() -> None:
    with pytest.raises(SpecError) as raised:
        preparation.parse([{"name": "filter"}])
    assert raised.value.what.endswith("Filter rows: Condition is missing.")
    with pytest.raises(SpecError) as raised:
        preparation.parse([{"name": "split", "way": "grouped"}])
    assert "Split: a grouped split needs a column." in raised.value.what


def test_no_complaint_of_pydantics_is_left_without_words() -> None:
    for words in complaints.WORDS.values():
        assert words.startswith(("must ", "is ")) and "Input" not in words
