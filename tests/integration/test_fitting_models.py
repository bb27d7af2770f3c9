"""The Train page begins with a base model that can learn the data's task, and says where there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

import pytest

from db import datasets, models, users
from engine import models as bases
from engine import tiny
from engine.starter import STARTERS, installed
from studio import advice_view, choices, service
from studio.draft import Draft, from_query

pytestmark = pytest.mark.usefixtures("fresh")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The shapes of a tiny encoder of text and of one of images."""
    folder = tmp_path_factory.mktemp("tiny")
    return {name: bases.inspect(tiny.folder(name, folder)).model_dump(mode="json") for name in ("bert", "vit")}


def dataset(task: str, columns: dict[str, str]) -> str:
    return datasets.create(users.local(), name=task, state="ready", rows=40, task=task, confirmed=True,
                           columns=columns, source={"columns": [*columns.values()]}).id


def images() -> str:
    return dataset("image_classification", {"image": "image", "label": "label"})


def texts() -> str:
    return dataset("text_classification", {"text": "text", "label": "label"})


def model(ref: str, shape: dict[str, Any]) -> None:
    row = models.create(users.local(), ref=ref, source="local")
    models.update(users.local(), row.id, state="ready", shape=shape)


def test_images_begin_with_a_model_of_images_however_old(shapes: dict[str, dict[str, Any]]) -> None:
    model("local/eyes", shapes["vit"])
    model("local/reader", shapes["bert"])
    assert choices.completed(users.local(), Draft(dataset=images())).model == "local/eyes"


def test_images_without_a_model_of_images_say_what_to_add(shapes: dict[str, dict[str, Any]]) -> None:
    model("local/reader", shapes["bert"])
    draft = choices.completed(users.local(), Draft(dataset=images()))
    said = choices.model_note(choices.look(users.local(), draft))
    assert draft.model == "" and "can be trained for image classification" in said and 'href="/models"' in said
    model("local/eyes", shapes["vit"])
    assert choices.model_note(choices.look(users.local(), draft)) == ""


def test_another_dataset_exchanges_only_a_model_that_cannot_learn_it(shapes: dict[str, dict[str, Any]]) -> None:
    model("local/reader", shapes["bert"])
    seen = Draft(dataset=images(), task="text_classification", model="local/reader")
    assert choices.with_dataset(users.local(), seen).model == "local/reader"
    model("local/eyes", shapes["vit"])
    assert choices.with_dataset(users.local(), seen).model == "local/eyes"
    kept = Draft(dataset=texts(), task="text_classification", model="local/reader")
    assert choices.with_dataset(users.local(), kept).model == "local/reader"


def test_a_task_that_a_model_cannot_do_is_told_by_its_title(shapes: dict[str, dict[str, Any]]) -> None:
    model("local/reader", shapes["bert"])
    found = service.check(users.local(), {"task": "image_classification", "model": {"id": "local/reader"},
                                          "method": {"name": "lora"}, "data": {"train": images()}})
    (told,) = (one for one in found.obstacles if one.kind == "task_impossible")
    assert "image classification" in told.what and "text classification" in told.try_this
    assert "_" not in told.what + told.try_this


@pytest.mark.parametrize("info", STARTERS.values(), ids=lambda one: one.id)
def test_a_starter_names_the_tasks_its_shape_allows(info: Any) -> None:
    if not installed(info):
        pytest.skip(f"{info.id} is not installed")
    assert set(info.tasks) == set(bases.inspect(bases.locate(info.id).path).task_heads)


def test_what_a_model_cannot_learn_gets_no_recommendation_and_the_reason(shapes: dict[str, dict[str, Any]]) -> None:
    model("local/reader", shapes["bert"])
    now = choices.look(users.local(), Draft(images(), task="image_classification", model="local/reader"))
    said = advice_view.card(None, now)
    assert "cannot learn image classification" in said and "has been read" not in said
    ready = choices.look(users.local(), Draft(texts(), task="text_classification", model="local/reader"))
    assert "preview names" in advice_view.card(None, ready)
    unread = choices.look(users.local(), Draft(texts(), task="text_classification"))
    assert "Once the data has been read" in advice_view.card(None, unread)


def test_settings_that_came_with_a_dataset_stand_in_the_form_and_outlive_a_reload(
        shapes: dict[str, dict[str, Any]]) -> None:
    user, key = users.local(), "options.text_classification"
    model("local/reader", shapes["bert"])
    numbers, plain = texts(), texts()
    datasets.update(user, numbers, options={"problem": "regression"})

    def opened(draft: Draft) -> Draft:
        return choices.completed(user, from_query(dict(parse_qsl(draft.url()[1:]))))
    draft = choices.completed(user, Draft(numbers))
    assert draft.values[key] == {"problem": "regression"} and "regression" not in draft.url()
    assert service.check(user, draft.document()).spec.data.options["problem"] == "regression"
    assert opened(draft).values == draft.values
    other = replace(draft, values={key: {"problem": "single_label"}})
    assert opened(other).values[key]["problem"] == "single_label"
    assert key not in choices.with_dataset(user, replace(draft, dataset=plain)).values
    back = choices.with_dataset(user, replace(other, dataset=numbers))
    assert back.values[key] == {"problem": "regression"}
