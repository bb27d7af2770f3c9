"""How a run starts and is refused: exit codes, one JSON error, result.json whatever happens."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "contract"))

import toys

from engine import events as happened
from engine import kernels
from engine.events import from_line
from engine.journal import Journal
from engine.train import main

pytestmark = pytest.mark.shared


def start(folder: Path, document: dict[str, Any]) -> int:
    path = folder / "spec.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return main([str(path), "--out", str(folder / "out")])


@pytest.fixture
def document(shared: Path, tmp_path: Path) -> dict[str, Any]:
    return json.loads(toys.spec(shared, toys.texts(tmp_path), epochs=1).to_json())


def refused(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    lines = capsys.readouterr().err.strip().splitlines()
    found = json.loads(lines[-1])
    assert set(found) == {"kind", "what", "where", "try_this"} and "Traceback" not in "\n".join(lines)
    return found


def test_a_finished_run_exits_with_0_and_its_result_has_every_field(document: dict[str, Any], tmp_path: Path) -> None:
    assert start(tmp_path, document) == 0
    result = toys.result(tmp_path / "out")
    assert result["state"] == "succeeded" and result["error"] is None
    assert set(result["parameters"]) == {"trained", "stored", "head", "total", "percent"}
    assert set(result["seconds"]) == {"start", "load", "prepare", "train", "eval", "save", "total"}
    assert set(result["throughput"]) == {"examples_per_second", "tokens_per_second", "padding_fraction"}
    assert set(result["memory"]) == {"peak_rss_bytes", "peak_cuda_bytes", "estimated_bytes"}
    assert result["metrics"]["accuracy"] == result["best"]["value"] and result["adapter_bytes"] > 1000
    assert {"spec.json", "events.jsonl", "adapter", "result.json", "environment.json", "examples.json"} <= {
        path.name for path in (tmp_path / "out").iterdir()}
    told = toys.events(tmp_path / "out")
    assert isinstance(told[0], happened.RunStarted) and isinstance(told[-1], happened.RunSucceeded)
    prepared = next(event for event in told if isinstance(event, happened.RunPrepared))
    assert prepared.parameters == result["parameters"] and prepared.total_steps == result["steps"]


def test_the_run_tells_how_it_goes(document: dict[str, Any], tmp_path: Path) -> None:
    start(tmp_path, document)
    steps = [event for event in toys.events(tmp_path / "out") if isinstance(event, happened.StepsTrained)]
    assert steps[0].step == 1 and steps[-1].step == toys.result(tmp_path / "out")["steps"]
    assert {"loss", "learning_rate", "grad_norm", "examples_per_second", "tokens_per_second", "rss_bytes"} <= set(
        steps[0].metrics)
    assert steps[-1].eta is not None and all(event.metrics["rss_bytes"] > 10**7 for event in steps)


def test_a_fault_in_the_rows_names_the_file_it_is_in(document: dict[str, Any], tmp_path: Path,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    held = tmp_path / "held.csv"
    held.write_text("text,label\na text,good\nanother,unheard of\n", encoding="utf-8")
    document["data"]["eval"] = str(held)
    assert start(tmp_path, document) == 2
    found = refused(capsys)
    assert (found["kind"], found["where"].partition(", ")[0]) == ("label_unseen", "evaluation file held.csv")
    document["data"]["columns"] = {"text": "text", "label": "nothing"}
    assert start(tmp_path, document) == 2
    assert refused(capsys)["where"].startswith("training file ")


@pytest.mark.parametrize(("path", "value", "kind"), [
    (("training", "epoch"), 3, "unknown_key"), (("method", "name"), "magic", "unknown_method"),
    (("data", "columns"), {"text": "text", "label": "labels"}, "column_missing"),
    (("model", "id"), "/nowhere/at/all", None), (("data", "train"), "/nowhere.csv", None)])
def test_a_run_that_cannot_be_is_refused_with_2_and_one_json_error(
        path: tuple[str, str], value: Any, kind: str | None, document: dict[str, Any], tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    document[path[0]][path[1]] = value
    assert start(tmp_path, document) == 2
    found = refused(capsys)
    assert found["what"] and found["try_this"]
    assert kind is None or found["kind"] == kind


def fresh_process(code: str, document: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, given the arguments of `python -m engine.train`."""
    (folder / "spec.json").write_text(json.dumps(document), encoding="utf-8")
    return subprocess.run([sys.executable, "-c", code, str(folder / "spec.json"), "--out", str(folder / "out")],
                          cwd=toys.ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("path", "value"), [
    (("training", "epoch"), 3), (("data", "train"), "/nowhere.csv"), (("model", "id"), "/nowhere/at/all"),
    (("data", "columns"), {"text": "text", "label": "labels"})])
def test_what_can_be_seen_without_torch_is_refused_without_importing_it(
        path: tuple[str, str], value: Any, document: dict[str, Any], tmp_path: Path) -> None:
    document[path[0]][path[1]] = value
    code = ("import sys; from engine.train import main; code = main(sys.argv[1:]); "
            "print(code, sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))")
    done = fresh_process(code, document, tmp_path)
    assert done.stdout.splitlines()[-1:] == ["2 []"], done.stderr
    assert set(json.loads(done.stderr.splitlines()[-1])) == {"kind", "what", "where", "try_this"}


def test_a_process_for_one_run_leaves_out_what_only_quantized_weights_need(
        document: dict[str, Any], tmp_path: Path) -> None:
    code = ("import sys; from engine.train import main; "
            "print(main(), sorted({'bitsandbytes.nn', 'peft'} & set(sys.modules)))")
    done = fresh_process(code, document, tmp_path)
    assert done.stdout.splitlines()[-1:] == ["0 ['peft']"], done.stderr


def test_a_run_refused_for_its_data_says_so_in_its_journal_and_result(document: dict[str, Any], tmp_path: Path) -> None:
    document["data"]["columns"] = {"text": "text", "label": "labels"}
    assert start(tmp_path, document) == 2
    told = toys.events(tmp_path / "out")
    assert [type(event).__name__ for event in told] == ["RunStarted", "StageEntered", "RunFailed"]
    found = toys.result(tmp_path / "out")
    assert (found["state"], found["error"]["kind"]) == ("failed", "column_missing")
    assert set(found["seconds"]) == {"start", "load", "prepare", "train", "eval", "save", "total"}


def test_one_label_is_refused(document: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "texts.csv"
    data.write_text("\n".join(line for line in data.read_text().splitlines() if not line.endswith("bad")) + "\n")
    assert start(tmp_path, document) == 2
    assert refused(capsys)["kind"] == "one_label"
    assert toys.result(tmp_path / "out")["state"] == "failed"


def test_too_little_memory_is_refused(document: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "memory_there", lambda device: 10_000_000)
    assert start(tmp_path, document) == 2
    assert refused(capsys)["kind"] == "not_enough"


def test_answers_cut_off_entirely_leave_nothing_to_learn(shared: Path, tmp_path: Path,
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(toys.spec(shared, toys.talks(tmp_path), max_length=8).to_json())
    assert start(tmp_path, document) == 2
    assert refused(capsys)["kind"] == "nothing_to_learn"


def test_a_loss_that_is_no_number_fails_the_run_with_1(document: dict[str, Any], shared: Path, tmp_path: Path,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in (shared / "models" / "bert-tiny").iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = load_file(broken / "model.safetensors")
    weights["bert.encoder.layer.1.output.LayerNorm.weight"][0] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    document["model"]["id"] = str(broken)
    assert start(tmp_path, document) == 1
    assert toys.result(tmp_path / "out")["error"]["kind"] == refused(capsys)["kind"] == "diverged"
    assert isinstance(toys.events(tmp_path / "out")[-1], happened.RunFailed)


@pytest.mark.parametrize("method", [
    {"name": "lora", "init": "eva", "r": 4}, {"name": "lora", "init": "pissa", "r": 4},
    {"name": "lora", "use_rslora": True, "targets": "attention"}])
def test_the_ways_to_start_a_lora_all_train(method: dict[str, Any], document: dict[str, Any], tmp_path: Path) -> None:
    document["method"] = method
    assert start(tmp_path, document) == 0
    assert toys.result(tmp_path / "out")["metrics"]["accuracy"] > 0.6


@pytest.mark.parametrize("name", ["texts", "talks"])
def test_gradient_checkpointing_learns_the_same(name: str, shared: Path, tmp_path: Path) -> None:
    data = toys.texts(tmp_path) if name == "texts" else toys.talks(tmp_path)
    losses = []
    for on in (False, True):
        folder = tmp_path / str(on)
        folder.mkdir()
        plan = toys.spec(shared, data, {"name": "lora"}, epochs=1, precision="fp32", gradient_checkpointing=on)
        assert start(folder, json.loads(plan.to_json())) == 0
        losses.append(toys.result(folder / "out")["metrics"]["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_torn_journal_line_is_cut_off_and_counting_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    first = Journal(path)
    first.write(happened.Logged("one"))
    first.write(happened.Evaluated(step=1, epoch=1.0, metrics={"loss": float("nan"), "accuracy": 0.5}))
    first.close()
    with path.open("a") as file:
        file.write('{"event":"Logged","seq":2,"text":"to')
    second = Journal(path)
    second.write(happened.Logged("three"))
    second.close()
    told = [from_line(line) for line in path.read_text().splitlines()]
    assert [event.seq for event in told] == [0, 1, 2]
    assert told[1].metrics == {"accuracy": 0.5}
