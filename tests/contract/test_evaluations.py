"""What a run tells of its evaluation: intervals, slices, charts, likely label errors, and what was forgotten."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import toys

from engine import adapter, tasks
from engine import events as happened
from engine import spec as specs
from engine.evaluation.neutral import NotMeasurable
from engine.evaluation.report import FILE, Evaluation
from engine.spec import RunSpec
from engine.train import run

pytestmark = [pytest.mark.shared, pytest.mark.usefixtures("one_thread")]

#: What each kind of label is measured by, beside the loss.
MEASURED = {"single_label": {"accuracy", "f1", "f1_micro", "matthews_correlation", "roc_auc", "ece"},
            "multi_label": {"accuracy", "f1", "f1_micro", "roc_auc", "ece", "threshold"},
            "regression": {"pearson", "spearman", "mse", "mae"}}
CHARTS = {"single_label": {"confusion", "curves", "calibration"}, "multi_label": {"by_label", "curves", "calibration"},
          "regression": {"scatter"}}


def write(folder: Path, problem: str, rows: int = 90, name: str = "rows.csv") -> Path:
    """Write texts that tell what they are, their labels, and where they came from."""
    chance, lines = random.Random(1), ["text,label,source"]
    for i in range(rows):
        good, loud = i % 2, i % 3 == 0
        words = chance.choice(toys.WORDS["good" if good else "bad"])
        label = {"single_label": ("bad", "good")[good], "regression": str(good * 3 + loud),
                 "multi_label": "|".join(["good" if good else "bad"] + ["loud"] * loud)}[problem]
        lines.append(f"{chance.choice(toys.OPENINGS)} {words}{' THUNDER BANG' * loud} {'thing ' * chance.randint(0, 9)}"
                     f",{label},{('web', 'mail')[i % 5 == 0]}")
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def plan(shared: Path, data: Path, problem: str = "single_label", forgetting: str | None = None,
         options: dict[str, Any] | None = None, **training: Any) -> RunSpec:
    given = toys.spec(shared, data, **({"learning_rate": 3e-3, "epochs": 3} | training)).model_dump(mode="json")
    given["data"] |= {"columns": {"text": "text", "label": "label"}, "options": {"problem": problem} | (options or {})}
    return specs.parse(given | {"data": given["data"] | ({"forgetting": forgetting} if forgetting else {})})


def told(out: Path) -> Evaluation:
    return Evaluation.model_validate_json((out / FILE).read_text(encoding="utf-8"))


@pytest.mark.parametrize("problem", MEASURED)
def test_every_kind_of_label_is_measured_drawn_and_sliced(problem: str, shared: Path, tmp_path: Path) -> None:
    data = write(tmp_path, problem)
    ended = run(plan(shared, data, problem, options={"eval_fraction": 0.3}), tmp_path / "run")
    assert ended["state"] == "succeeded", ended["error"]
    found = told(tmp_path / "run")
    assert set(found.metrics) == MEASURED[problem] | {"loss"} == set(ended["metrics"])
    assert set(found.charts) == CHARTS[problem]
    for name, one in found.metrics.items():
        assert one.value == ended["metrics"][name]
        if one.low is None or one.high is None:
            # Where all rows are right, every draw of them says the same: that is no interval.
            assert name == "threshold" or (one.value == 1 and name != "accuracy"), name
        else:
            assert one.low <= one.value <= one.high or name == "ece", name
    assert {"length", "source"} <= {one.by for one in found.slices.items}
    assert (problem == "regression") or {one.value for one in found.slices.items if one.by == "label"} >= {"good"}
    assert found.rows == 27 and found.step == ended["steps"]
    lines = data.read_text(encoding="utf-8").splitlines()[1:]
    worst = json.loads((tmp_path / "run" / "examples.json").read_text(encoding="utf-8"))["worst"]
    assert all(lines[record["number"] - 1].startswith(record["input"].strip()) for record in worst)


def test_the_threshold_that_was_found_is_used_when_the_adapter_is_asked(shared: Path, tmp_path: Path) -> None:
    from engine.predict import Player

    ended = run(plan(shared, write(tmp_path, "multi_label"), "multi_label", epochs=2), tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "adapter" / "studio.json").read_text(encoding="utf-8"))
    threshold = ended["metrics"]["threshold"]
    assert facts["options"]["threshold"] == threshold == told(tmp_path / "run").settled["threshold"]
    assert adapter.read(tmp_path / "run" / "adapter").make_task().threshold == threshold  # type: ignore[attr-defined]
    player = Player(shared / "models" / "bert-tiny", "text_classification", dtype="fp32", device="cpu")
    player.attach("it", tmp_path / "run" / "adapter")
    reply = next(iter(player.respond(["it"], [{"text": "what a great thing THUNDER BANG"}])))["replies"][0]
    said = [name for name, chance in reply["scores"].items() if chance >= threshold]
    assert reply["label"] == ", ".join(said)


def test_rare_labels_weigh_more_when_weights_are_balanced(shared: Path, tmp_path: Path) -> None:
    data = tmp_path / "skewed.csv"
    rows = [f"the day was {word} again {i},{'rare' if i % 8 == 0 else 'usual'}"
            for i, word in enumerate(["fine", "dull", "good", "grey"] * 24)]
    data.write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    shares = {}
    for weights in ("none", "balanced", {"rare": 50.0, "usual": 0.1}):
        out = tmp_path / f"run-{len(shares)}"
        run(plan(shared, data, options={"class_weights": weights}, epochs=2), out)
        counts = told(out).charts["confusion"]["counts"]
        shares[str(weights)] = sum(line[0] for line in counts) / sum(map(sum, counts))
    assert list(told(out).charts["confusion"]["labels"]) == ["rare", "usual"]
    none, balanced, heavy = shares.values()
    assert none <= balanced <= heavy and none < heavy == 1.0


def test_another_metric_can_decide(shared: Path, tmp_path: Path) -> None:
    ended = run(plan(shared, write(tmp_path, "single_label"), options={"deciding": "loss"}), tmp_path / "run")
    losses = [event.metrics["loss"] for event in toys.events(tmp_path / "run")
              if isinstance(event, happened.Evaluated)]
    assert ended["best"]["metric"] == "loss" and ended["best"]["value"] == min(losses)


@pytest.mark.parametrize(("options", "word"), [
    ({"deciding": "pearson"}, "deciding"), ({"threshold": 1.5, "problem": "multi_label"}, "threshold"),
    ({"class_weights": "balanced", "problem": "regression"}, "class_weights"),
    ({"class_weights": {"good": -1}}, "class_weights")])
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        tasks.get("text_classification")(**options)


def test_forgetting_is_measured_on_a_second_dataset_without_changing_the_training(shared: Path, tmp_path: Path) -> None:
    data, second = write(tmp_path, "single_label"), write(tmp_path, "single_label", 30, "second.csv")
    plain = run(plan(shared, data), tmp_path / "plain")
    ended = run(plan(shared, data, forgetting=str(second)), tmp_path / "watched")
    found = ended["forgetting"]
    assert found["measure"] == "accuracy" and 0 <= found["before"] <= 1 and found["greater_is_better"]
    assert ended["metrics"]["forgetting"] == pytest.approx(found["after"] - found["before"])
    assert found["after"] > found["before"]
    assert told(tmp_path / "watched").forgetting.change == found["change"]  # type: ignore[union-attr]
    assert toys.weights(tmp_path / "plain") == toys.weights(tmp_path / "watched")
    assert "forgetting" not in plain["metrics"] and told(tmp_path / "plain").forgetting is None


def test_a_resumed_run_remembers_what_was_measured_before_it_began(shared: Path, tmp_path: Path) -> None:
    from engine.train import Control

    def interrupt(event: happened.Event) -> None:
        if isinstance(event, happened.CheckpointSaved):
            Control.request("interrupt")

    watched = plan(shared, write(tmp_path, "single_label"), forgetting="neutral", checkpoint_every=4)
    whole = run(watched, tmp_path / "whole")
    assert run(watched, tmp_path / "parts", on_event=interrupt)["state"] == "interrupted"
    ended = run(watched, tmp_path / "parts")
    assert ended["forgetting"] == whole["forgetting"] and whole["forgetting"]["before"] is not None
    assert toys.weights(tmp_path / "parts") == toys.weights(tmp_path / "whole")


def guessing(folder: Path) -> float:
    """Return the loss of the neutral text's hidden words as transformers alone computes it."""
    import torch
    from transformers import AutoModelForMaskedLM

    from engine import models
    from engine.evaluation import neutral

    tokenizer = models.tokenizer_of(folder)
    ids = torch.as_tensor(neutral.chunks(tokenizer, 64))
    hidden = neutral._hidden(ids.numpy(), tokenizer)
    model: Any = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        logits = model(input_ids=ids.masked_fill(hidden, tokenizer.mask_token_id)).logits  # type: ignore[arg-type]
    return float(torch.nn.functional.cross_entropy(logits[hidden], ids[hidden]))


@pytest.mark.parametrize("method", ["lora", "prompt_tuning", "p_tuning_v2", "full", "bitfit", "adapter"])
def test_an_encoder_is_measured_by_the_words_it_can_guess(method: str, shared: Path, tmp_path: Path) -> None:
    given = plan(shared, write(tmp_path, "single_label", 40), forgetting="neutral", max_steps=4, precision="fp32",
                 learning_rate=1e-2).model_dump(mode="json")
    ended = run(specs.parse(given | {"method": {"name": method}}), tmp_path / "run")
    assert ended["state"] == "succeeded", ended["error"]
    found = ended["forgetting"]
    assert found["measure"] == "masked_loss"
    if method in ("lora", "full"):
        assert found["before"] == pytest.approx(guessing(shared / "models" / "bert-tiny"), rel=1e-4)
    assert found["change"] != 0 and found["after"] > 1


def test_a_decoder_is_measured_by_its_perplexity_with_and_without_its_own_head(shared: Path, tmp_path: Path) -> None:
    talk = toys.spec(shared, toys.talks(tmp_path), epochs=1, max_steps=3).model_dump(mode="json")
    talk["data"]["forgetting"] = "neutral"
    spoken = run(specs.parse(talk), tmp_path / "talk")
    sort = plan(shared, write(tmp_path, "single_label", 40), forgetting="neutral", max_steps=3).model_dump(mode="json")
    sort["model"]["id"] = str(shared / "models" / "stories260k")
    sorted_ = run(specs.parse(sort), tmp_path / "sort")
    assert spoken["state"] == sorted_["state"] == "succeeded", (spoken["error"], sorted_["error"])
    assert spoken["forgetting"]["measure"] == sorted_["forgetting"]["measure"] == "perplexity"
    # The same base on the same text, before either learned anything.
    assert spoken["forgetting"]["before"] == pytest.approx(sorted_["forgetting"]["before"], rel=1e-4)


def test_rows_keep_their_numbers_and_the_second_dataset_its_shape_through_preparation(
        shared: Path, tmp_path: Path) -> None:
    data, second = write(tmp_path, "single_label"), write(tmp_path, "single_label", 30, "second.csv")
    (tmp_path / "bare.csv").write_text("text,label\n" + "".join(f"a thing {i},good\n" for i in range(9)))
    spec = plan(shared, data, forgetting=str(second), options={"eval_fraction": 0.3}, max_steps=4)
    given = spec.model_dump(mode="json")
    given["data"]["steps"] = [
        {"name": "filter", "where": 'source = "web"'}, {"name": "sample", "rows": 50},
        {"name": "map_labels", "column": "label", "labels": {"good": "fine"}},
        {"name": "balance", "column": "label", "ratio": 1}]
    ended = run(specs.parse(given), tmp_path / "run")
    assert ended["state"] == "succeeded", ended["error"]
    lines = data.read_text(encoding="utf-8").splitlines()[1:]
    shown = json.loads((tmp_path / "run" / "examples.json").read_text(encoding="utf-8"))
    for record in shown["worst"] + shown["best"]:
        line = lines[record["number"] - 1]
        assert line.startswith(record["input"].strip()) and line.endswith(",web")
    suspects = told(tmp_path / "run").suspects
    assert all(one.number and {"fine": "good"}.get(str(one.expected), one.expected) in lines[one.number - 1]
               for one in suspects)
    assert ended["forgetting"]["on"] == "the second dataset" and ended["forgetting"]["note"] == ""
    given["data"]["forgetting"] = str(tmp_path / "bare.csv")
    bare = run(specs.parse(given), tmp_path / "bare")
    assert "Step 1, keep rows where" in bare["forgetting"]["note"], bare["error"]


def test_a_folder_s_own_part_to_evaluate_on_is_used(shared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    given = plan(shared, write(folder, "single_label", 40, "train.csv"), max_steps=2).model_dump(mode="json")
    held = write(folder, "single_label", 11, "test.csv").read_text(encoding="utf-8").splitlines()[1:]
    given["data"]["train"] = str(folder)
    ended = run(specs.parse(given), tmp_path / "run")
    assert ended["state"] == "succeeded" and told(tmp_path / "run").rows == 11, ended["error"]
    worst = json.loads((tmp_path / "run" / "examples.json").read_text(encoding="utf-8"))["worst"]
    assert all(held[record["number"] - 1].startswith(record["input"].strip()) for record in worst)


def test_neutral_text_is_refused_where_no_head_predicts_words(shared: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    bare = tmp_path / "bare"
    bare.mkdir()
    for path in (shared / "models" / "bert-tiny").iterdir():
        if path.suffix in (".json", ".txt"):
            (bare / path.name).write_bytes(path.read_bytes())
    weights = load_file(shared / "models" / "bert-tiny" / "model.safetensors")
    save_file({name: value for name, value in weights.items() if not name.startswith("cls.")},
              bare / "model.safetensors", metadata={"format": "pt"})
    given = plan(shared, write(tmp_path, "single_label", 40), forgetting="neutral").model_dump(mode="json")
    given["model"]["id"] = str(bare)
    with pytest.raises(NotMeasurable, match="without a head that predicts words"):
        run(specs.parse(given), tmp_path / "run")


def test_a_second_dataset_of_another_kind_is_refused(shared: Path, tmp_path: Path) -> None:
    from engine.evaluation.forgetting import ForgettingUnfit

    data = write(tmp_path, "single_label", 40)
    other = tmp_path / "other.csv"
    for text, said in (("city,people\nRome,3\nBern,4\n", "no column"),
                       ("text,label\none thing,red\nanother,blue\n", "none of its labels")):
        other.write_text(text, encoding="utf-8")
        with pytest.raises(ForgettingUnfit, match=said):
            run(plan(shared, data, forgetting=str(other)), tmp_path / "run")
