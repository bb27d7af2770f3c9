"""What every method promises, whichever it is: one suite over all of them, on models of a few thousand weights."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import toys

from engine import adapter, breakdown, finish, methods, models, tiny
from engine import events as happened
from engine import spec as specs
from engine.control import Control
from engine.events import Event
from engine.roles import blocks
from engine.spec import RunSpec
from engine.train import run

pytestmark = pytest.mark.usefixtures("one_thread")

#: Methods whose first output differs from the base model's by design: they put something of their own into the input.
MOVED = {"prompt_tuning", "p_tuning", "p_tuning_v2", "prefix_tuning", "vpt"}
#: Settings under which a method shows what it does on a toy; the others are tried as they come.
SETTINGS: dict[str, dict[str, Any]] = {"trainable_tokens": {"tokens": [5, 9, 17, 33]}}
LABELS = ["bad", "good"]


@dataclass(frozen=True)
class Case:
    """A method on a task it can do: the tiny model and the data it is tried on."""

    method: dict[str, Any]
    task: str
    model: Path
    data: Path

    def spec(self, **training: Any) -> RunSpec:
        return specs.parse({
            "task": self.task, "model": {"id": str(self.model)}, "data": {"train": str(self.data)},
            "method": self.method, "training": {
                "epochs": 1, "max_steps": 4, "batch_size": 8, "max_length": 128, "seed": 5, "precision": "fp32",
                "eval_every": "never"} | training})


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny models and the texts they are tried on."""
    root = tmp_path_factory.mktemp("methods")
    return {name: tiny.folder(name, root) for name in ("bert", "llama")} | {
        "texts": toys.texts(root, 64), "talks": toys.talks(root, 24)}


@pytest.fixture(params=list(methods.every()))
def case(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Case:
    """Every method on the first of these that it can train: a classifier of texts, a language model."""
    name = request.param
    method = methods.get(name).model_validate({"name": name} | SETTINGS.get(name, {}))
    reasons: list[str] = []
    for model, task, data in (("bert", "text_classification", "texts"), ("llama", "causal_lm", "talks")):
        shape = models.inspect(folders[model])
        found = method.obstacles(shape.for_task(task), task, None)
        if not found:
            return Case({"name": name} | SETTINGS.get(name, {}), task, folders[model], folders[data])
        reasons += found
    pytest.skip(f"{name} trains neither texts nor language models: {' '.join(reasons)}")


def attached(case: Case) -> tuple[Any, Any, Any]:
    """Return the method, its model ready to train, and the loaded base."""
    plan = case.spec()
    shape = models.inspect(case.model)
    torch.manual_seed(0)
    labels = LABELS if case.task == "text_classification" else []
    loaded = models.load(case.model, plan.make_task(), labels, shape=shape)
    return plan.method, loaded, shape


def without_dropout(case: Case, folder: Path) -> Case:
    """Return the case on a copy of its model that drops nothing, so that how a batch is cut cannot matter."""
    shutil.copytree(case.model, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {name: 0.0 for name in config if "dropout" in name}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return replace(case, model=folder)


def weights(out: Path) -> dict[str, bytes]:
    """Return the bytes of every saved tensor file."""
    found = {path.name: path.read_bytes() for path in (*out.glob("adapter/*.safetensors"), *out.glob("model/*"))
             if path.suffix == ".safetensors"}
    assert found
    return found


def stop_at(step: int) -> Callable[[Event], None]:
    """Return a listener that interrupts the run after a checkpoint of `step`."""

    def listen(event: Event) -> None:
        if isinstance(event, happened.CheckpointSaved) and event.step == step:
            Control.request("interrupt")

    return listen


def test_the_first_output_is_the_base_models_own(case: Case) -> None:
    if case.method["name"] in MOVED:
        pytest.skip("it puts something of its own into the input")
    method, loaded, _ = attached(case)
    ids = torch.tensor([[5, 9, 17, 33, 60, 21]])
    with torch.no_grad():
        before = loaded.model.eval()(input_ids=ids).logits
        after = method.attach(loaded.model, loaded.shape, loaded.heads).eval()(input_ids=ids).logits
    assert torch.allclose(before, after, atol=1e-5)


def test_what_is_frozen_keeps_its_bytes_and_the_loss_falls(case: Case, tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: dict[str, torch.Tensor] = {}
    losses: list[float] = []

    def listen(event: Event) -> None:
        if isinstance(event, happened.StepsTrained):
            losses.append(event.metrics["loss"])

    save, still = finish.save, without_dropout(case, tmp_path / "model")

    def look(attempt: Any) -> int:
        stored = dict(models.load(case.model, attempt.parts.task, attempt.rows.labels).model.named_parameters())
        for name, p in attempt.parts.model.named_parameters():
            plain = name.removeprefix("base_model.model.").replace("base_layer.", "").replace("original_module.", "")
            # What a head was before it is trained anew is random each time.
            if not p.requires_grad and plain in stored and not any(h in plain for h in attempt.loaded.heads):
                frozen[name] = p.detach().clone() - stored[plain]
        return save(attempt)

    monkeypatch.setattr(finish, "save", look)
    monkeypatch.setattr("engine.loop.REPORTS_A_SECOND", 1e9)
    result = run(still.spec(epochs=60, max_steps=12, batch_size=64, schedule="constant"), tmp_path / "out",
                 on_event=listen)
    assert result["state"] == "succeeded", result
    assert case.method["name"] == "full" or frozen
    assert not [name for name, change in frozen.items() if change.any()]
    assert min(losses[1:]) < losses[0]


def test_preview_optimizer_and_disk_count_alike(case: Case, tmp_path: Path) -> None:
    from test_counts import numbers_on_disk

    method, loaded, shape = attached(case)
    preview = breakdown.of(case.spec(), shape, len(LABELS) if case.task == "text_classification" else 0)
    model = method.attach(loaded.model, loaded.shape, loaded.heads)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    held = sum(p.numel() for group in method.groups(model, 1e-3, 0.0) for p in group["params"])
    assert preview.parameters.trained == trained == held
    method.conclude(model)
    method.save(model, tmp_path / "out")
    assert preview.parameters.stored == numbers_on_disk(tmp_path / "out")


def test_nothing_below_the_first_trained_layer_keeps_activations(case: Case) -> None:
    """Methods that can be told which blocks to change, told to change the last, leave the others without gradients."""
    kind = methods.get(case.method["name"])
    top = next((name for name in ("layers", "top") if name in kind.model_fields), None)
    if top is None or case.method["name"] == "full":
        pytest.skip("it changes every block, or none")
    _, loaded, shape = attached(case)
    method = kind.model_validate(case.method | {top: 1})
    if reasons := method.obstacles(shape.for_task(case.task), case.task, None):
        pytest.skip(" ".join(reasons))
    below = dict(loaded.model.named_modules())[f"{blocks(loaded.model)[0].name}.0"]
    model = method.attach(loaded.model, loaded.shape, loaded.heads)
    seen: list[bool] = []
    below.register_forward_hook(lambda module, args, out: seen.append(
        (out[0] if isinstance(out, tuple) else out).requires_grad))
    logits = model.train()(input_ids=torch.tensor([[5, 9, 17, 33]])).logits
    assert logits.requires_grad and seen == [False]


def test_interrupted_and_resumed_it_ends_with_the_same_bytes(case: Case, tmp_path: Path) -> None:
    plan = case.spec(checkpoint_every=2)
    run(plan, tmp_path / "whole")
    stopped = run(plan, tmp_path / "broken", on_event=stop_at(2))
    assert stopped["state"] == "interrupted"
    done = run(plan, tmp_path / "broken")
    assert done["state"] == "succeeded"
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")


def test_checkpointing_and_accumulation_change_nothing_but_memory(case: Case, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    still = without_dropout(case, tmp_path / "model")
    run(still.spec(), tmp_path / "plain")
    run(still.spec(gradient_checkpointing=True, batch_size=4, gradient_accumulation=2), tmp_path / "spared")
    for name in weights(tmp_path / "plain"):
        one, two = (load_file(next((tmp_path / out).glob(f"*/{name}"))) for out in ("plain", "spared"))
        for key, value in one.items():
            assert torch.allclose(value.float(), two[key].float(), atol=2e-4), key


@pytest.mark.parametrize("case", ["lora", "bitfit"], indirect=True)
def test_bf16_ends_near_fp32(case: Case, tmp_path: Path) -> None:
    losses = [run(case.spec(precision=name, eval_every="epoch"), tmp_path / name)["metrics"]["loss"]
              for name in ("fp32", "bf16")]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


FRESH = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
from peft import PeftModel
found = {}
for name, base, folder, task, own in json.loads(sys.argv[1]):
    if own and "engine.tuners" not in sys.modules:
        import engine.tuners
    chat = task == "causal_lm"
    Auto = AutoModelForCausalLM if chat else AutoModelForSequenceClassification
    extra = {} if chat else {"num_labels": 2}
    if folder.endswith("adapter"):
        model = PeftModel.from_pretrained(Auto.from_pretrained(base, dtype=torch.float32, **extra), folder)
    else:
        model = Auto.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        found[name] = model.eval()(input_ids=torch.tensor([[5, 9, 17, 33, 60, 21]])).logits.flatten().tolist()
print(json.dumps(found))
"""


@pytest.mark.slow
def test_every_method_loads_in_a_fresh_process_and_merges(folders: dict[str, Path], tmp_path: Path) -> None:
    """Each adapter is trained a few updates away from its start, so that anything lost on the way shows."""
    from engine import merge

    asked: list[tuple[str, str, str, str, bool]] = []
    here: dict[str, list[float]] = {}
    save = finish.save
    ids = torch.tensor([[5, 9, 17, 33, 60, 21]])

    def remember(attempt: Any) -> int:
        from engine.attention import set_layout

        set_layout(None)
        with torch.no_grad():
            here[attempt.spec.method.name] = attempt.parts.model.eval()(input_ids=ids).logits.flatten().tolist()
        return save(attempt)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finish, "save", remember)
        for name, kind in methods.every().items():
            method = kind.model_validate({"name": name} | SETTINGS.get(name, {}))
            model, task, data = ("bert", "text_classification", "texts")
            if method.obstacles(models.inspect(folders[model]).for_task(task), task, None):
                continue
            plan = Case({"name": name} | SETTINGS.get(name, {}), task, folders[model], folders[data])
            assert run(plan.spec(learning_rate=1e-2), tmp_path / name)["state"] == "succeeded", name
            folder = next(tmp_path / name / kind for kind in ("adapter", "model") if (tmp_path / name / kind).exists())
            own = kind.artifact == "adapter" and adapter.is_own(folder)
            asked.append((name, str(folders[model]), str(folder), task, own))
            if kind.card.mergeable and kind.artifact == "adapter":
                merge.merge(folder, folders[model], tmp_path / name / "merged", task_name=task)
                asked.append((f"{name} merged", "", str(tmp_path / name / "merged"), task, False))
    # Adapters that peft carries come first, and must load before our tuners are known.
    asked.sort(key=lambda item: item[4])
    done = subprocess.run([sys.executable, "-c", FRESH, json.dumps(asked)], capture_output=True, text=True,
                          cwd=toys.ROOT, check=False)
    assert done.returncode == 0, done.stderr
    there = json.loads(done.stdout.splitlines()[-1])
    wrong = {name: max(abs(a - b) for a, b in zip(values, here[name.removesuffix(" merged")], strict=True))
             for name, values in there.items()}
    assert {name: off for name, off in wrong.items() if off > 1e-5 * max(1.0, *map(abs, there[name]))} == {}
