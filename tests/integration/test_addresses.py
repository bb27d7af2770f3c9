"""Addresses that name what is not here say so, wherever they lead."""

from __future__ import annotations

import pytest

from db import users
from studio import choices, combine_view, data_detail, form, parts
from studio.draft import Draft, from_query


@pytest.mark.usefixtures("fresh")
def test_each_part_of_a_draft_that_is_not_here_is_named() -> None:
    asked = {"dataset": "ds_<b>", "model": "qqq", "method": "xxx", "task": "t"}
    said = choices.absent(users.local(), from_query(asked))
    for word in ("dataset &#x27;ds_&lt;b&gt;&#x27;", "base model &#x27;qqq&#x27;", "method &#x27;xxx&#x27;",
                 "task &#x27;t&#x27;"):
        assert word in said
    assert choices.absent(users.local(), Draft()) == ""
    assert choices.absent(users.local(), Draft(model="starter/minilm-l6", task="causal_lm")) == ""
    assert not combine_view.there(users.local(), "ad_none")


def test_a_long_name_is_cut_where_it_is_told() -> None:
    said = parts.absent([("adapter", "x" * 500, False), ("dataset", "", False), ("method", "lora", True)])
    assert "x" * 59 + "…" in said and "x" * 60 not in said and "lora" not in said


def test_the_tabs_an_address_may_open_are_those_of_the_page() -> None:
    from studio import app

    drawn = {one["props"]["id"] for one in app.draw().config["components"] if one["type"] == "tabitem"
             and one["props"].get("id") in {*data_detail.TABS, "overview"}}
    assert drawn == set(data_detail.TABS)


@pytest.mark.parametrize(("task", "asked"), [("image_classification", False), ("causal_lm", True), ("", True)])
def test_the_longest_text_is_asked_for_where_there_are_texts(task: str, asked: bool) -> None:
    shown = form.state(Draft(task=task).groups(), elem_id="x")
    (training,) = (group for group in shown["groups"] if group["key"] == "training")
    assert ("max_length" in [one["name"] for one in training["fields"]]) is asked
