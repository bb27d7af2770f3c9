"""Images on their way into a model: its own processor, pixels kept or made anew, and what is said of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pictures
import pytest
import torch

from engine import images, memory, models, skeleton, tasks, tiny
from engine.data import read
from engine.data.errors import BrokenImage, ImageTooLarge
from engine.errors import StudioError

ROLES = {"image": "image", "label": "label"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny vision models and images."""
    root = tmp_path_factory.mktemp("vision")
    tiny.folder("vit", root)
    pictures.folder(root, 4)
    return root


def task() -> Any:
    return tasks.get("image_classification")(name="image_classification")


def test_the_models_own_steps_make_the_pixels(place: Path) -> None:
    processor = images.processor_of(tiny.folder("vit", place))
    assert type(processor).__name__ == "ViTImageProcessorPil"
    picture = pictures.noise("reddish", 1)
    found = images.pixels(processor, {"bytes": pictures.data(picture), "path": "x"})
    expected = np.asarray(picture.resize((32, 32), 2), dtype=np.float32).transpose(2, 0, 1) / 255 * 2 - 1
    assert found.shape == (3, 32, 32) and found.dtype == np.float32
    assert np.abs(found - expected).max() < 0.02


def test_pixels_are_kept_where_they_fit_and_made_anew_where_not(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processor, table = images.processor_of(tiny.folder("vit", place)), read.read(place / "pictures")
    kept = task().encode(table, ROLES, processor, 128, ["bluish", "reddish"])
    monkeypatch.setattr(memory, "available", lambda: 4 * 3 * 32 * 32 * 8)
    anew = task().encode(table, ROLES, processor, 128, ["bluish", "reddish"])
    assert isinstance(kept.rows[0]["pixel_values"], np.ndarray)
    assert isinstance(anew.rows[0]["pixel_values"], images.Lazy)
    one, two = (task().collate(each.rows, 0) for each in (kept, anew))
    assert torch.equal(one["pixel_values"], two["pixel_values"])
    assert one["labels"].tolist() == [0] * 4 + [1] * 4
    assert task().length(kept.rows[0]) == 4 and task().places(one) == 8 * 4


def test_unknown_labels_are_never_right_and_have_no_loss(place: Path) -> None:
    processor, table = images.processor_of(tiny.folder("vit", place)), read.read(place / "pictures")
    encoded = task().encode(table, ROLES, processor, 128, ["bluish", "green"])
    assert [row["labels"] for row in encoded.rows] == [0] * 4 + [-100] * 4
    loaded = models.load(tiny.folder("vit", place), task(), ["bluish", "green"])
    batch = task().collate(encoded.rows, 0)
    with torch.no_grad():
        outputs = task().evaluate(loaded.model.eval(), encoded, table, ROLES, ["bluish", "green"],
                                  [(list(range(8)), batch)])
        known = task().loss(loaded.model, task().collate(encoded.rows[:4], 0))
    assert outputs.metrics["accuracy"] <= 0.5
    assert outputs.metrics["loss"] == pytest.approx(float(known) / 4, rel=1e-5)
    assert {record["correct"] for record in outputs.examples if record["expected"] == "reddish"} == {False}
    assert outputs.examples[0]["input"].endswith((".png", ".jpg"))


def test_a_broken_image_stops_the_run_by_its_name(place: Path) -> None:
    processor, table = images.processor_of(tiny.folder("vit", place)), read.read(place / "pictures")
    cells = table.column("image").to_pylist()
    cells[3]["bytes"] = cells[3]["bytes"][:150]
    import pyarrow as pa

    broken = table.set_column(0, "image", pa.array(cells, table.schema.field("image").type))
    with pytest.raises((BrokenImage, ImageTooLarge)) as caught:
        task().encode(broken, ROLES, processor, 128, ["bluish", "reddish"])
    assert cells[3]["path"] in caught.value.what


def test_a_processor_that_gives_no_fixed_size_is_refused(place: Path, tmp_path: Path) -> None:
    settings = {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 32}, "do_center_crop": False}
    (tmp_path / images.SETTINGS).write_text(json.dumps(settings), encoding="utf-8")
    processor = images.processor_of(tmp_path)
    cells = [{"bytes": pictures.data(pictures.noise("reddish", i, (40, 30 + 20 * i))), "path": str(i)} for i in (0, 1)]
    import pyarrow as pa

    from engine.data.image import TYPE

    with pytest.raises(StudioError) as caught:
        images.prepared(processor, pa.chunked_array([pa.array(cells, TYPE)]))
    assert caught.value.kind == "processor_unusable"


def test_an_unreadable_processor_is_refused(tmp_path: Path) -> None:
    (tmp_path / images.SETTINGS).write_text('{"image_processor_type": "NoSuchProcessor"}', encoding="utf-8")
    with pytest.raises(StudioError) as caught:
        images.processor_of(tmp_path)
    assert caught.value.kind == "processor_unusable"


@pytest.mark.parametrize("name", tiny.VISION)
def test_vision_models_take_images_and_nothing_else(name: str) -> None:
    shape = skeleton.shape_of(tiny.configuration(name))
    assert (shape.family, shape.vocab) == ("vision", 0)
    assert list(shape.task_heads) == ["image_classification"]
    assert shape.head_parameters("image_classification", 5) % 5 == 0
    patches = [module for module in shape.modules if module.kind == "conv"]
    assert [module.role for module in patches] == ["embedding"]


def test_mobilenet_is_a_vision_model_with_a_head(shared: Path) -> None:
    shape = models.inspect(shared / "models" / "mobilenet-v2")
    assert shape.family == "vision"
    assert [head.name for head in shape.task_heads["image_classification"]] == ["classifier"]
    assert shape.head_parameters("image_classification", 2) == 2 * 1281
    assert shape.total == 2_223_872
