"""The preview: counts, cells, file size, memory and steps, without loading anything."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from engine import breakdown, memory, methods, skeleton, spec, tiny
from engine.shape import ModelShape

ROOT = Path(__file__).resolve().parents[2]


def run(method: dict[str, Any] | None = None, task: str = "text_classification", quantization: str | None = None,
        **training: Any) -> spec.RunSpec:
    return spec.parse({
        "task": task, "model": {"id": "any", "quantization": quantization}, "data": {"train": "rows.csv"},
        "method": method or {"name": "lora"}, "training": training})


@pytest.fixture(scope="module")
def seven_billion() -> ModelShape:
    from transformers import LlamaConfig

    return skeleton.shape_of(LlamaConfig())


@pytest.fixture(scope="module")
def bert() -> ModelShape:
    return skeleton.shape_of(tiny.configuration("bert"))


def test_a_seven_billion_preview_takes_less_than_a_slider_notices(seven_billion: ModelShape) -> None:
    wanted = run({"name": "lora", "r": 16}, "causal_lm")
    times = []
    for _ in range(5):
        began = time.process_time()
        found = breakdown.of(wanted, seven_billion, 0)
        times.append(time.process_time() - began)
    assert found.parameters.trained == found.parameters.stored == 39_976_960
    assert found.parameters.total == 6_738_415_616 + 39_976_960
    assert found.parameters.percent == pytest.approx(0.5898, abs=1e-4)
    assert sorted(times)[2] < 0.05


def test_cells_say_which_kind_of_module_learns_in_which_layer(bert: ModelShape) -> None:
    found = breakdown.of(run({"name": "lora", "r": 2, "targets": ["q", "up"], "layers": 1}), bert, 3)
    learning = {(cell.group, cell.layer): cell.trained for cell in found.cells if cell.trained}
    assert learning == {("attention query", 1): 2 * (32 + 32), ("MLP up", 1): 2 * (32 + 64), ("head", None): 3 * 33}
    assert {cell.group for cell in found.cells} == {
        "attention query", "attention key", "attention value", "attention output", "MLP up", "MLP down", "norm",
        "embedding", "pooler", "head"}
    assert sum(cell.total for cell in breakdown.base_cells(bert)) == bert.total
    full = breakdown.of(run({"name": "full"}), bert, 3)
    assert all(cell.trained == cell.total for cell in full.cells)
    head = breakdown.of(run({"name": "head"}), bert, 3)
    assert [cell for cell in head.cells if cell.trained] == [
        breakdown.Cell(group="head", layer=None, trained=99, total=99)]
    assert head.parameters.stored == head.parameters.total == bert.total + 99


def test_what_stands_beside_a_layer_is_called_by_its_own_name(bert: ModelShape) -> None:
    found = breakdown.of(run({"name": "adaptformer"}), bert, 3)
    learning = {cell.group for cell in found.cells if cell.trained}
    assert learning == {"AdaptFormer branch", "head"}


def test_dora_and_rewriting_starts_are_counted_for_what_they_store(bert: ModelShape) -> None:
    plain = breakdown.of(run({"name": "lora", "r": 4}), bert, 0).parameters
    dora = breakdown.of(run({"name": "lora", "r": 4, "use_dora": True}), bert, 0).parameters
    pissa = breakdown.of(run({"name": "lora", "r": 4, "init": "pissa"}), bert, 0).parameters
    assert dora.trained - plain.trained == sum(m.d_out for m in bert.linear())
    assert (pissa.trained, pissa.stored) == (plain.trained, 2 * plain.stored)


@pytest.mark.parametrize(("training", "rows", "expected"), [
    ({"epochs": 3, "batch_size": 16}, 100, (7, 21)), ({"epochs": 0.5, "batch_size": 16}, 100, (7, 4)),
    ({"epochs": 3, "batch_size": 16, "gradient_accumulation": 2}, 100, (4, 12)),
    ({"epochs": 3, "batch_size": 16, "max_steps": 5}, 100, (7, 5)), ({"epochs": 0.01, "batch_size": 64}, 3, (1, 1))])
def test_updates_are_counted_as_the_training_makes_them(
        training: dict[str, Any], rows: int, expected: tuple[int, int]) -> None:
    assert breakdown.updates(run(**training), rows) == expected


def test_memory_is_the_sum_of_its_parts_and_judged_against_what_is_there(seven_billion: ModelShape) -> None:
    wanted = run({"name": "full"}, "causal_lm", precision="bf16")
    need = memory.estimate(wanted, seven_billion, 0)
    parts = need.model_dump(exclude={"total", "available", "verdict"})
    assert need.total == sum(parts.values())
    assert need.trained + need.gradients + need.optimizer == 16 * seven_billion.total
    for available, verdict in [(need.total * 2, "fits"), (int(need.total / 0.79), "fits"),
                               (int(need.total / 0.85), "tight"), (need.total - 1, "too big")]:
        assert memory.estimate(wanted, seven_billion, 0, available).verdict == verdict


def test_memory_falls_with_every_setting_that_should_lower_it(seven_billion: ModelShape) -> None:
    def total(method: dict[str, Any] | None = None, quantization: str | None = None, **training: Any) -> int:
        settings = {"precision": "bf16", "max_length": 512, "batch_size": 8} | training
        return memory.estimate(run(method, "causal_lm", quantization, **settings), seven_billion, 0).total

    assert total({"name": "full"}) > 2 * total()
    assert total() > total(quantization="int8") > total(quantization="nf4")
    assert total() > total(batch_size=1) > total(batch_size=1, max_length=128)
    assert total() > total(gradient_checkpointing=True)
    assert total() > total({"name": "lora", "layers": 4}) > total({"name": "lora", "layers": 1})
    assert total(precision="fp32") > total()
    weights = memory.estimate(run(None, "causal_lm", "nf4", precision="bf16"), seven_billion, 0).weights
    assert 3.3e9 < weights < 4.5e9


def test_scores_of_a_language_model_are_counted_as_they_are_made_a_chunk_at_a_time(
        seven_billion: ModelShape) -> None:
    def logits(method: dict[str, Any], **training: Any) -> int:
        return memory.estimate(run(method, "causal_lm", **training), seven_billion, 0).logits

    lora = {"name": "lora"}
    tokens = memory.BUDGET["cpu"]
    assert memory.CHUNK_BYTES < logits(lora, max_length=512, batch_size=8) < 4 * tokens * seven_billion.vocab / 2
    assert logits(lora, max_length=8, batch_size=1) < memory.CHUNK_BYTES
    matrix = 4 * seven_billion.vocab * seven_billion.hidden
    assert logits({"name": "full"}, max_length=512) > logits(lora, max_length=512) + matrix


def test_batches_beyond_the_tokens_computed_at_once_take_no_more_memory(seven_billion: ModelShape) -> None:
    totals = [memory.estimate(run(None, "causal_lm", max_length=512, batch_size=size), seven_billion, 0).total
              for size in (4, 8, 16, 256)]
    assert totals[0] < totals[1] == totals[2] == totals[3]


def test_the_memory_there_is_measured() -> None:
    assert memory.available() > 100_000_000


def test_the_command_prints_the_same_counts(tmp_path: Path, data_dir: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\none,a\ntwo,b\nthree,c\nfour,a\n", encoding="utf-8")
    path = tiny.folder("bert", data_dir)
    document = json.loads(run({"name": "lora", "r": 4}).to_json()) | {
        "model": {"id": str(path)}, "data": {"train": str(rows), "columns": {"text": "text", "label": "label"}}}
    (tmp_path / "spec.json").write_text(json.dumps(document), encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "engine.breakdown", str(tmp_path / "spec.json")], cwd=ROOT,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = breakdown.Breakdown.model_validate_json(done.stdout)
    expected = breakdown.of(spec.parse(document), skeleton.shape_of(tiny.configuration("bert")), 3)
    assert found.parameters == expected.parameters
    assert found.cells == expected.cells
    (tmp_path / "spec.json").write_text(json.dumps(document | {"colour": "blue"}), encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "engine.breakdown", str(tmp_path / "spec.json")], cwd=ROOT,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert json.loads(done.stderr)["kind"] == "unknown_key"


def test_automatic_learning_rates_fall_with_width_and_rise_for_lora(
        bert: ModelShape, seven_billion: ModelShape) -> None:
    for shape in (bert, seven_billion):
        full, lora = (methods.get(name)().learning_rate(shape, "any") for name in ("full", "lora"))  # pyright: ignore
        assert lora == pytest.approx(10 * full)
    assert methods.get("lora")().learning_rate(seven_billion, "causal_lm") == pytest.approx(2.9e-4)  # pyright: ignore
    wide = bert.model_copy(update={"hidden": 768})
    assert methods.get("full")().learning_rate(wide, "text_classification") == 5e-5  # pyright: ignore
