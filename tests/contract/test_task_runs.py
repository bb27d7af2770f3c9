"""Tasks beyond plain text classification and chat: every one learns, is saved, loaded without us, and resumed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import puzzles
import pyarrow as pa
import pytest
import torch
import toys

from engine import events as happened
from engine import finish, methods, models, tiny
from engine.attention import set_layout
from engine.export import readme
from engine.train import Control, Sources, run

ALONE = """
import json, os, sys, torch, transformers
from peft import PeftModel
found = []
asked, scripts = json.loads(sys.argv[1])
for place, code in scripts:
    os.chdir(place)
    exec(code, {})
for auto, base, folder, labels, batch in asked:
    Auto = getattr(transformers, auto)
    extra = {"num_labels": labels} if labels else {}
    if folder.endswith("adapter"):
        base = Auto.from_pretrained(base, dtype=torch.float32, **extra)
        model = PeftModel.from_pretrained(base, folder)
    else:
        model = Auto.from_pretrained(folder, dtype=torch.float32)
    model.eval()
    with torch.no_grad():
        out = model(**{name: torch.tensor(value) for name, value in batch.items()})
    found.append([out[name].flatten().tolist() for name in ("logits", "start_logits", "end_logits") if name in out])
assert not [name for name in sys.modules if name.split(".")[0] in ("engine", "studio", "worker", "db")]
json.dump(found, open(sys.argv[2], "w"))
"""
#: What the metric that decides must reach, with LoRA on a frozen random model and with all weights trained.
GOAL = {"token_classification": ("f1", 0.9, 1.0), "question_answering": ("f1", 0.3, 0.9),
        "seq2seq": ("exact_match", 0.0, 0.9)}
CASES = [(task, model, method) for task, names in puzzles.MODELS.items() for model in names
         for method in ("lora", "full")]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """A data folder in which the tiny models are made once."""
    return Sources(data_dir=tmp_path_factory.mktemp("data"))


@torch.no_grad()
def asked_here(attempt: Any) -> tuple[dict[str, Any], list[list[float]]]:
    """Return a padded batch as a model takes it, and what the model just trained makes of it."""
    parts = attempt.parts
    batch = parts.task.collate(parts.eval.rows[:3], parts.pad_id)
    set_layout(None)
    inputs = parts.task.inputs(parts.model.eval(), batch)
    if parts.packed:
        inputs = {name: value[:1, :int(batch["attention_mask"][0].sum())] for name, value in inputs.items()}
    out = parts.model(**inputs)
    names = ("logits", "start_logits", "end_logits")
    return ({name: value.tolist() for name, value in inputs.items()},
            [out[name].float().flatten().tolist() for name in names if name in out])


def test_every_task_learns_and_is_loaded_by_peft_alone_with_the_same_outputs(
        tmp_path: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[dict[str, Any], list[list[float]]]] = []
    save = finish.save

    def remember(attempt: Any) -> int:
        seen.append(asked_here(attempt))
        return save(attempt)

    monkeypatch.setattr(finish, "save", remember)
    data = {task: puzzles.write(task, tmp_path) for task in puzzles.MODELS}
    asked, scripts = [], []
    for task, model, method in CASES:
        out = tmp_path / f"{task}-{model}-{method}"
        ended = run(puzzles.spec(task, model, data[task], method), out, sources=sources)
        assert ended["state"] == "succeeded", (task, model, method, ended.get("error"))
        told = toys.events(out)
        assert not [event.text for event in told if isinstance(event, happened.Logged) and "foreseen" in event.text]
        scores = [event.metrics for event in told if isinstance(event, happened.Evaluated)]
        name, *goals = GOAL[task]
        assert scores[-1]["loss"] < 0.95 * scores[0]["loss"], (task, model, method, scores)
        assert scores[-1][name] >= goals[method == "full"], (task, model, method, scores)
        folder = out / ("adapter" if method == "lora" else "model")
        facts = json.loads((folder / "studio.json").read_text(encoding="utf-8"))
        auto = puzzles.spec(task, model, data[task]).make_task().auto_class().__name__
        base = tiny.folder(model, sources.data_dir)  # type: ignore[arg-type]
        asked.append((auto, str(base), str(folder), len(facts["labels"]), seen[-1][0]))
        if model in ("bert", "t5"):
            about = readme.Facts(name=folder.name, kind=folder.name, task=task, base=str(base), local=True,
                                 labels=tuple(facts["labels"]), max_length=facts["max_length"])
            scripts.append((str(out), "\n".join([*readme.load_lines(about), *readme.ask_lines(about)])))
    done = subprocess.run([sys.executable, "-c", ALONE, json.dumps([asked, scripts]), str(tmp_path / "found.json")],
                          capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(scripts) == 6
    there = json.loads((tmp_path / "found.json").read_text())
    for case, found, (_, here) in zip(CASES, there, seen, strict=True):
        assert len(found) == len(here) > 0
        assert all(torch.allclose(torch.tensor(a), torch.tensor(b), atol=1e-4)
                   for a, b in zip(found, here, strict=True)), case


@pytest.mark.parametrize("task", puzzles.MODELS)
def test_a_run_of_any_task_that_was_interrupted_ends_with_the_same_bytes(
        task: str, tmp_path: Path, sources: Sources) -> None:
    plan = puzzles.spec(task, puzzles.MODELS[task][-1], puzzles.write(task, tmp_path),
                        {"name": "lora", "dropout": 0.1}, epochs=2, checkpoint_every=4)

    def listen(event: happened.Event) -> None:
        if isinstance(event, happened.CheckpointSaved) and event.step >= 8:
            Control.request("interrupt")

    run(plan, tmp_path / "whole", sources=sources)
    assert run(plan, tmp_path / "parts", sources=sources, on_event=listen)["state"] == "interrupted"
    last = run(plan, tmp_path / "parts", sources=sources)
    assert last["state"] == "succeeded" and last["metrics"] == toys.result(tmp_path / "whole")["metrics"]
    assert toys.weights(tmp_path / "parts") == toys.weights(tmp_path / "whole")


@pytest.mark.parametrize("task", ["token_classification", "question_answering"])
def test_head_and_packing_give_the_scores_of_padded_rows(task: str, tmp_path: Path, sources: Sources,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    plan = puzzles.spec(task, "bert", puzzles.write(task, tmp_path), "head", epochs=3, learning_rate=1e-3)
    packed = run(plan, tmp_path / "packed", sources=sources)
    monkeypatch.setattr("engine.flat.make_flat", lambda *_: None)
    padded = run(plan, tmp_path / "padded", sources=sources)
    assert (packed["resolved"]["packed"], padded["resolved"]["packed"]) == (True, False)
    assert packed["metrics"] == pytest.approx(padded["metrics"], rel=1e-3)


@pytest.mark.parametrize("model", puzzles.MODELS["seq2seq"])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_scores_that_are_not_kept_give_the_loss_and_gradients_of_the_model_s_own(model: str, method: str,
                                                                                 sources: Sources) -> None:
    task = puzzles.spec("seq2seq", model, Path("none"), method).make_task()
    table = pa.table({"s": ["good day", "a", "xyz"], "t": ["well", "woe", "b"]})
    loaded = models.load(tiny.folder(model, sources.data_dir), task, [], dtype="fp32")  # type: ignore[arg-type]
    made = methods.get(method)().attach(loaded.model, loaded.shape, loaded.heads).eval()
    rows = task.encode(table, {"source": "s", "target": "t"}, loaded.tokenizer, 32, []).rows
    batch = task.collate(rows, 0)

    def computed() -> tuple[torch.Tensor, list[torch.Tensor]]:
        made.zero_grad()
        loss = task.loss(made, batch)
        loss.backward()
        return loss.detach(), [p.grad.clone() for p in made.parameters() if p.grad is not None]

    usual, gradients = computed()
    task.prepare_model(made, batch)
    assert made.studio_output[0] is loaded.model.get_output_embeddings()
    loss, found = computed()
    assert torch.allclose(loss, usual) and torch.allclose(task.losses(made, batch).sum(), usual)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(found, gradients, strict=True))
