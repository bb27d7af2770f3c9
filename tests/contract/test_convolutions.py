"""Convolutional networks from end to end: roles and counts, what stays frozen, and what comes back from disk."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pictures
import pytest
import torch
import toys
from safetensors.torch import load_file
from test_vision import FRESH

from engine import augment, breakdown, merge, methods, models, tasks, tiny
from engine import events as happened
from engine import spec as specs
from engine.control import Control
from engine.events import Event
from engine.predict import Player
from engine.spec import RunSpec
from engine.train import run

pytestmark = pytest.mark.usefixtures("one_thread")

TASK = "image_classification"
METHODS: dict[str, dict[str, Any]] = {
    "head": {"name": "head"}, "full": {"name": "full"}, "lora": {"name": "lora", "r": 4}, "ssf": {"name": "ssf"},
    "bitfit": {"name": "bitfit"}, "layers": {"name": "layers", "top": 1}}
#: All rows at once, so that losses can be compared; sixteen random blocks, one upon the other, learn in small steps.
TOGETHER: dict[str, Any] = {"epochs": 10, "batch_size": 32, "eval_every": "never"}
RATES = {"mobilenet_v2": 1e-3}
#: Method and architecture of each run; every method once, LoRA and SSF on all.
RUNS = [("head", "mobilenet_v2"), ("full", "resnet"), ("layers", "mobilenet_v2"), ("bitfit", "resnet"),
        *((method, name) for method in ("lora", "ssf") for name in tiny.CONVOLUTIONAL)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with images."""
    root = tmp_path_factory.mktemp("convolutions")
    pictures.archive(root)
    return root


def plan(place: Path, method: dict[str, Any], model: str, options: dict[str, Any] | None = None,
         **training: Any) -> RunSpec:
    return specs.parse({
        "task": TASK, "model": {"id": str(tiny.folder(model, place))},
        "data": {"train": str(place / "pictures.zip"), "options": options or {}}, "method": method,
        "training": {"epochs": 3, "batch_size": 8, "seed": 5, "precision": "fp32", "learning_rate": 1e-2} | training})


def tried(place: Path, method: str, name: str) -> RunSpec:
    rates = {"learning_rate": RATES[name]} if name in RATES and method != "head" else {}
    return plan(place, METHODS[method], name, **TOGETHER, **rates)


def saved(out: Path) -> Path:
    return next(out / kind for kind in ("adapter", "model") if (out / kind).is_dir())


def losses(out: Path) -> list[float]:
    return [event.metrics["loss"] for event in toys.events(out) if isinstance(event, happened.StepsTrained)]


# -- what a convolutional network is made of ---------------------------------------------------------------------------


def test_convolutions_have_roles_and_lora_finds_them(place: Path) -> None:
    found = {name: models.inspect(tiny.folder(name, place)) for name in tiny.CONVOLUTIONAL}
    lora: Any = methods.get("lora")
    chosen = {name: lora(name="lora", r=4).pieces(shape) for name, shape in found.items()}
    assert {piece.kind for piece in chosen["convnext"]} == {"linear"}
    assert {piece.role for piece in chosen["convnext"]} == {"up", "down"}
    assert {piece.role for piece in chosen["resnet"]} == {"pointwise", "spatial"}
    assert {(piece.kind, piece.role) for piece in chosen["mobilenet_v2"]} == {("conv", "pointwise")}
    spatial = next(m for m in found["resnet"].modules if m.role == "spatial")
    piece = next(p for p in chosen["resnet"] if p.module == spatial.name)
    assert piece.trained == piece.stored == 4 * (9 * spatial.d_in + spatial.d_out)
    depthwise = lora(name="lora", r=4, targets=["depthwise"]).obstacles(found["mobilenet_v2"], TASK, None)
    assert len(depthwise) == 1 and "groups" in depthwise[0]
    assert found["mobilenet_v2"].layers == 16 and found["resnet"].layers == 2


def test_a_model_that_reads_the_stride_of_its_convolutions_refuses_lora(shared: Path) -> None:
    shape = models.inspect(shared / "models" / "mobilenet-v2").for_task(TASK)
    reasons = {name: kind.model_validate({"name": name}).obstacles(shape, TASK, None) for name, kind in
               methods.every().items() if name in ("lora", "ssf", "bitfit", "full", "head", "vera")}
    assert "tf_padding" in reasons["lora"][0] and len(reasons["vera"]) == 1
    assert not any(reasons[name] for name in ("ssf", "bitfit", "full", "head"))


def test_layers_above_the_blocks_learn_and_those_below_do_not(place: Path) -> None:
    shape = models.inspect(tiny.folder("mobilenet_v2", place))
    pieces = methods.get("layers")(name="layers", top=1).pieces(shape)
    assert {piece.module.partition(".")[0] for piece in pieces} == {"layer", "conv_1x1"}


def test_more_images_take_more_memory_and_a_head_takes_little(shared: Path) -> None:
    shape = models.inspect(shared / "models" / "mobilenet-v2")
    place = shared / "models" / "mobilenet-v2"

    def activations(method: str, size: int) -> int:
        spec = specs.parse({"task": TASK, "model": {"id": str(place)}, "data": {"train": "x"},
                            "method": {"name": method}, "training": {"batch_size": size, "precision": "fp32"}})
        return breakdown.of(spec, shape, 2).memory.activations

    assert activations("full", 16) > 1.5 * activations("full", 8)
    assert activations("head", 16) < activations("full", 16)


# -- runs --------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def done(place: Path) -> dict[tuple[str, str], tuple[Path, dict[str, Any]]]:
    """The folder and result of every run."""
    torch.set_num_threads(1)
    return {(method, name): (place / f"{method} {name}", run(tried(place, method, name),
                                                            place / f"{method} {name}")) for method, name in RUNS}


@pytest.mark.parametrize(("method", "name"), RUNS)
def test_a_method_learns_counts_and_stores_what_it_says(
        method: str, name: str, place: Path, done: dict[tuple[str, str], tuple[Path, dict[str, Any]]]) -> None:
    out, found = done[method, name]
    assert found["state"] == "succeeded"
    assert losses(out)[-1] < losses(out)[0]
    preview = breakdown.of(plan(place, METHODS[method], name), models.inspect(tiny.folder(name, place)), 2).parameters
    assert found["parameters"]["trained"] == preview.trained
    file = saved(out) / ("adapter_model.safetensors" if saved(out).name == "adapter" else "model.safetensors")
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    stored = {key: tensor for key, tensor in load_file(file).items() if not key.endswith(buffers)}
    assert sum(tensor.numel() for tensor in stored.values()) == preview.stored


@pytest.mark.parametrize("method", ["head", "full", "layers"])
def test_statistics_of_batch_norms_stay_as_they_were(
        method: str, place: Path, done: dict[tuple[str, str], tuple[Path, dict[str, Any]]]) -> None:
    name = next(architecture for kind, architecture in RUNS if kind == method)
    before = load_file(tiny.folder(name, place) / "model.safetensors")
    after = load_file(saved(done[method, name][0]) / "model.safetensors")
    prefix = {"mobilenet_v2": "mobilenet_v2.", "resnet": "resnet."}[name]
    statistics = [key for key in before if "running_" in key or "num_batches" in key]
    assert statistics
    assert all(torch.equal(before[key], after[prefix + key]) for key in statistics)
    others = [key for key in before if key not in statistics]
    same = [torch.equal(before[key], after[prefix + key]) for key in others]
    assert all(same) if method == "head" else not all(same)


def test_all_load_in_a_fresh_process_with_the_same_answers_and_merge(
        place: Path, tmp_path: Path, done: dict[tuple[str, str], tuple[Path, dict[str, Any]]]) -> None:
    asked = [(" ".join(key), str(tiny.folder(key[1], place)), str(saved(out))) for key, (out, _) in done.items()]
    process = subprocess.run([sys.executable, "-c", FRESH, json.dumps(asked)], capture_output=True, text=True,
                             cwd=toys.ROOT, check=False)
    assert process.returncode == 0, process.stderr
    fresh = json.loads(process.stdout.splitlines()[-1])
    torch.manual_seed(1)
    pixels = torch.randn(2, 3, 32, 32)
    for (method, name), (out, _) in done.items():
        base = tiny.folder(name, place)
        player = Player(base, TASK, dtype="fp32", device="cpu")
        player.attach("it", saved(out))
        if (method, name) in (("lora", "resnet"), ("lora", "convnext"), ("bitfit", "resnet"), ("ssf", "convnext")):
            player.attach("merged", merge.merge(saved(out), base, tmp_path / f"{method} {name}", task_name=TASK))
        for member in player._members.values():
            with torch.no_grad():
                here = member.model(pixel_values=pixels).logits.flatten()
            assert torch.allclose(here, torch.tensor(fresh[f"{method} {name}"]), atol=1e-5), (method, name)


def test_a_shift_has_no_place_in_convolutions_without_bias(
        place: Path, tmp_path: Path, done: dict[tuple[str, str], tuple[Path, dict[str, Any]]]) -> None:
    with pytest.raises(merge.NotMergeable) as caught:
        merge.merge(saved(done["ssf", "resnet"][0]), tiny.folder("resnet", place), tmp_path / "x", task_name=TASK)
    assert "bias" in caught.value.what


def test_gradient_checkpointing_is_refused_by_name_where_a_model_cannot(place: Path) -> None:
    with pytest.raises(Exception, match="recompute") as caught:
        run(plan(place, METHODS["head"], "mobilenet_v2", gradient_checkpointing=True), place / "checkpointing")
    assert getattr(caught.value, "kind", "") == "no_checkpointing"


# -- images that change, and those that do not -------------------------------------------------------------------------


def test_an_augmented_image_is_the_same_for_the_same_numbers_and_another_for_others() -> None:
    pixels = torch.randn(3, 24, 32, generator=torch.Generator().manual_seed(0)).numpy()
    for preset in ("light", "strong"):
        made = augment.changed(pixels, preset, (5, 0, 1))
        assert made.shape == pixels.shape and made.dtype == pixels.dtype and made.flags.c_contiguous
        assert (made == augment.changed(pixels, preset, (5, 0, 1))).all()
        for others in ((6, 0, 1), (5, 1, 1), (5, 0, 2)):
            assert (made != augment.changed(pixels, preset, others)).any()
        flipped = [augment.changed(pixels, preset, (5, 0, i)) for i in range(40)]
        assert sum(float((each * pixels).sum()) < float((each[:, :, ::-1] * pixels).sum()) for each in flipped) > 8
    assert augment.changed(pixels, "none", (5, 0, 1)) is pixels


def stop_at(step: int) -> Any:
    def listen(event: Event) -> None:
        if isinstance(event, happened.CheckpointSaved) and event.step == step:
            Control.request("interrupt")

    return listen


@pytest.mark.parametrize(("method", "name"), [("head", "mobilenet_v2"), ("full", "resnet"), ("lora", "vit")])
def test_a_resumed_run_sees_the_same_augmented_images(method: str, name: str, place: Path, tmp_path: Path) -> None:
    spec = plan(place, METHODS[method], name, {"augmentation": "strong"}, checkpoint_every=2)
    run(spec, tmp_path / "whole")
    assert run(spec, tmp_path / "cut", on_event=stop_at(4))["state"] == "interrupted"
    assert run(spec, tmp_path / "cut")["state"] == "succeeded"
    assert toys.weights(tmp_path / "whole") == toys.weights(tmp_path / "cut")
    run(plan(place, METHODS[method], name), tmp_path / "plain")
    assert toys.weights(tmp_path / "whole") != toys.weights(tmp_path / "plain")


@pytest.mark.parametrize("name", ["vit", "beit", "swin", "dinov2", *tiny.CONVOLUTIONAL])
def test_a_frozen_model_looks_at_each_image_once_and_its_head_learns_the_same(
        name: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine import kernels

    def told(out: Path) -> bool:
        return any(isinstance(event, happened.Logged) and "looked at the" in event.text for event in toys.events(out))

    spec = plan(place, METHODS["head"], name)
    kept = run(spec, tmp_path / "kept")
    monkeypatch.setattr(kernels, "keep_hidden_states", lambda *parts: None)
    anew = run(spec, tmp_path / "anew")
    assert (told(tmp_path / "kept"), told(tmp_path / "anew")) == (True, False)
    assert kept["metrics"]["loss"] == pytest.approx(anew["metrics"]["loss"], rel=1e-3)


def test_with_augmentation_only_evaluation_images_are_kept(place: Path, tmp_path: Path) -> None:
    run(plan(place, METHODS["head"], "vit", {"augmentation": "light"}), tmp_path / "out")
    texts = [event.text for event in toys.events(tmp_path / "out") if isinstance(event, happened.Logged)]
    assert any("looked at the evaluation images once" in text for text in texts)


# -- scores ------------------------------------------------------------------------------------------------------------


def test_among_the_best_five_is_told_where_there_are_more_classes() -> None:
    import numpy as np

    from engine import classification

    logits = np.arange(16.0).reshape(2, 8)
    assert classification.among_best(logits, np.asarray([3, 2]), 5).tolist() == [True, False]
    records = [{"row": i, "expected": "a", "predicted": "b", "loss": 1.0, "confidence": 0.5, "correct": False}
               for i in range(4)]
    task = tasks.get(TASK)(name=TASK)
    assert task.summarise([record | {"top_5": record["row"] < 3} for record in records])["top_5"] == 0.75
    assert "top_5" not in task.summarise(records)


# -- a real model ------------------------------------------------------------------------------------------------------


def test_mobilenet_tells_ants_from_bees_with_a_head_alone(shared: Path, tmp_path: Path) -> None:
    data = shared / "data" / "ants_bees"
    spec = specs.parse({
        "task": TASK, "model": {"id": str(shared / "models" / "mobilenet-v2")},
        "data": {"train": str(data / "train"), "eval": str(data / "val")},
        "method": {"name": "head"}, "training": {"epochs": 15, "batch_size": 16, "seed": 1, "eval_every": "never"}})
    found = run(spec, tmp_path / "out")
    assert found["metrics"]["accuracy"] >= 0.9
    assert found["metrics"]["f1"] >= 0.89
