"""Several adapters on one base give the labels they would give alone."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import made_adapters as made
import pytest

from engine import adapter, predict
from engine.errors import StudioError
from engine.tasks.terms import Reply

TEXTS = ["where is my parcel", "the app crashes when I open it and nothing helps", "thanks"]
ROWS = [{"text": text} for text in TEXTS]
TWO, FIVE = ["no", "yes"], ["a", "b", "c", "d", "e"]


@pytest.fixture(scope="module")
def base(shared: Path) -> Path:
    return shared / "models" / "bert-tiny"


@pytest.fixture(scope="module")
def folders(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from peft import IA3Config, LoraConfig, PromptTuningConfig

    root = tmp_path_factory.mktemp("adapters")
    targets = made.TARGETS[made.CLASSIFY]
    kinds: dict[str, tuple[list[str], Any]] = {
        "two": (TWO, None), "five": (FIVE, None),
        "dora": (FIVE, LoraConfig(r=2, use_dora=True, target_modules=targets)),
        "ia3": (["x", "y", "z"], IA3Config(target_modules=["key", "value"], feedforward_modules=[])),
        "prompt": (TWO, PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3)),
        "biased": (TWO, LoraConfig(r=2, bias="all", target_modules=targets)),
        "pissa": (TWO, LoraConfig(r=2, init_lora_weights="pissa", target_modules=targets)),
    }
    return {name: made.make(root / name, base, made.CLASSIFY, labels, seed=seed, config=config)
            for seed, (name, (labels, config)) in enumerate(kinds.items())}


def alone(folder: Path, base: Path, labels: list[str], texts: list[str] = TEXTS) -> Any:
    import torch

    model, tokenizer = made.plain(folder, base, made.CLASSIFY, labels)
    with torch.inference_mode():
        return [model(**tokenizer(text, return_tensors="pt")).logits[0].softmax(-1).tolist() for text in texts]


def asked(player: predict.Player, ids: list[str | None], rows: list[dict[str, Any]]) -> list[list[Reply]]:
    return [answers["replies"] for answers in player.respond(ids, rows)]


def chances(verdicts: list[Reply]) -> list[list[float]]:
    return [list(verdict["scores"].values()) for verdict in verdicts]


def same(found: list[list[float]], expected: list[list[float]]) -> bool:
    return [pytest.approx(row, abs=1e-6) for row in expected] == found


def test_every_adapter_on_a_shared_base_answers_as_alone(base: Path, folders: dict[str, Path]) -> None:
    player = predict.Player(base, made.CLASSIFY, dtype="fp32", device="cpu")
    labels = {name: adapter.read(folder).labels for name, folder in folders.items()}
    for name, folder in folders.items():
        player.attach(name, folder)
    names = list(folders)
    for order in (names, names[::-1]):
        for name, verdicts in zip(order, asked(player, order, ROWS), strict=True):
            assert same(chances(verdicts), alone(folders[name], base, labels[name])), name
            assert [list(verdict["scores"]) for verdict in verdicts] == [labels[name]] * len(ROWS)
            assert all(verdict["label"] == max(verdict["scores"], key=verdict["scores"].__getitem__)
                       for verdict in verdicts)


def test_attaching_leaves_the_base_untouched_and_costs_only_the_adapter(base: Path, folders: dict[str, Path]) -> None:
    import torch

    player = predict.Player(base, made.CLASSIFY, dtype="fp32", device="cpu")
    before = copy.deepcopy(player.base.state_dict())
    empty = player.bytes()
    assert empty > 17_000_000
    player.attach("two", folders["two"])
    player.attach("five", folders["five"])
    on_disk = sum((folders[name] / "adapter_model.safetensors").stat().st_size for name in ("two", "five"))
    # peft keeps an unused copy of the heads beside the trained ones.
    assert empty < player.bytes() < empty + 2 * on_disk + 1000
    for name in ("biased", "pissa", "dora"):
        player.attach(name, folders[name])
    after = player.base.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    for name in player.attached:
        player.detach(name)
    assert player.bytes() == empty


def test_an_untrained_base_says_so_and_is_the_same_each_time(base: Path, folders: dict[str, Path]) -> None:
    player = predict.Player(base, made.CLASSIFY, dtype="fp32", device="cpu")
    player.attach("five", folders["five"])
    first, second = asked(player, [None, "five"], ROWS), asked(player, [None], ROWS)
    assert first[0] == second[0]
    assert all(verdict["note"] == predict.UNTRAINED for verdict in first[0])
    assert list(first[0][0]["scores"]) == FIVE
    assert all(verdict["note"] == "" for verdict in first[1])


def test_a_base_with_a_trained_head_and_a_whole_model_answer_for_themselves(base: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3, dtype=torch.float32).eval()
    model.config.id2label, model.config.label2id = {0: "x", 1: "y", 2: "z"}, {"x": 0, "y": 1, "z": 2}
    model.save_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.save_pretrained(tmp_path / "model")
    with torch.inference_mode():
        expected = [model(**tokenizer(text, return_tensors="pt")).logits[0].softmax(-1).tolist() for text in TEXTS]
    itself = predict.Player(tmp_path / "model", made.CLASSIFY, dtype="fp32", device="cpu")
    verdicts = asked(itself, [None], ROWS)[0]
    assert same(chances(verdicts), expected)
    assert [list(verdicts[0]["scores"]), verdicts[0]["note"]] == [["x", "y", "z"], ""]
    beside = predict.Player(base, made.CLASSIFY, dtype="fp32", device="cpu")
    empty = beside.bytes()
    beside.attach("whole", tmp_path / "model")
    assert same(chances(asked(beside, ["whole"], ROWS)[0]), expected)
    assert beside.bytes() > 1.9 * empty


def test_text_beyond_the_trained_length_is_cut_and_noted(base: Path, folders: dict[str, Path]) -> None:
    player = predict.Player(base, made.CLASSIFY, dtype="fp32", device="cpu")
    player.attach("two", folders["two"])
    long, short = asked(player, ["two"], [{"text": "word " * 100}, {"text": "word"}])[0]
    cut = asked(player, ["two"], [{"text": "word " * 62}])[0][0]
    assert long["note"] == "Only the first 64 of 102 tokens were read, as in training."
    assert short["note"] == ""
    assert long["scores"] == pytest.approx(cut["scores"], abs=1e-6)


def test_pairs_several_labels_and_scores(base: Path, tmp_path: Path) -> None:
    import torch

    multi = made.make(tmp_path / "multi", base, made.CLASSIFY, FIVE, options={"problem": "multi_label"})
    score = made.make(tmp_path / "score", base, made.CLASSIFY, ["score"], options={"problem": "regression"},
                      columns={"text": "a", "text_pair": "b", "label": "c"})
    player = predict.Player(base, made.CLASSIFY, dtype="fp32", device="cpu")
    player.attach("multi", multi)
    player.attach("score", score)
    rows = [{"text": "one thing", "text_pair": "another"}, {"text": "two", "text_pair": "more of this"}]
    many, numbers = asked(player, ["multi", "score"], rows)
    for name, verdicts, count in (("multi", many, 5), ("score", numbers, 1)):
        model, tokenizer = made.plain(tmp_path / name, base, made.CLASSIFY, ["x"] * count)
        for row, verdict in zip(rows, verdicts, strict=True):
            with torch.inference_mode():
                logits = model(**tokenizer(row["text"], row["text_pair"], return_tensors="pt")).logits[0]
            if name == "score":
                assert float(verdict["label"]) == pytest.approx(float(logits), rel=1e-3)
                assert verdict["scores"] == {}
            else:
                expected = dict(zip(FIVE, logits.sigmoid().tolist(), strict=True))
                assert verdict["scores"] == pytest.approx(expected, abs=1e-6)
                assert verdict["label"] == ", ".join(key for key, value in expected.items() if value >= 0.5)


def test_bfloat16_base_keeps_the_heads_in_fp32(base: Path, folders: dict[str, Path]) -> None:
    import torch

    player = predict.Player(base, made.CLASSIFY, dtype="bf16", device="cpu")
    player.attach("five", folders["five"])
    assert {p.dtype for p in player.base.bert.encoder.parameters()} == {torch.bfloat16}
    found = chances(asked(player, ["five"], ROWS)[0])
    for row, expected in zip(found, alone(folders["five"], base, FIVE), strict=True):
        assert row == pytest.approx(expected, abs=0.03)
    head = adapter.tensors(folders["five"])
    assert any(key.endswith("classifier.weight") for key in head)
    weights = [p for name, p in player._members["five"].model.named_parameters() if "modules_to_save" in name]
    assert {p.dtype for p in weights} == {torch.float32}


@pytest.mark.parametrize("case", ["nothing", "pickle", "other base", "other task", "unknown"])
def test_what_cannot_be_attached_is_refused_by_name(case: str, base: Path, shared: Path, tmp_path: Path,
                                                    folders: dict[str, Path]) -> None:
    import shutil

    player = predict.Player(base, made.CLASSIFY, dtype="fp32", device="cpu")
    expected: type[StudioError]
    folder = tmp_path / "adapter"
    if case == "nothing":
        folder.mkdir()
        expected = adapter.AdapterMissing
    elif case == "pickle":
        folder.mkdir()
        shutil.copy(folders["two"] / "adapter_config.json", folder)
        (folder / "adapter_model.bin").write_bytes(b"\x80\x04.")
        expected = adapter.PickledAdapter
    elif case in ("other base", "other task"):
        made.make(folder, shared / "models" / "stories260k", made.CHAT)
        if case == "other base":
            made.write_facts(folder, made.CLASSIFY, TWO, {}, {}, base)
        expected = adapter.AdapterMismatch if case == "other base" else predict.WrongTask
    else:
        with pytest.raises(predict.NotAttached):
            asked(player, ["unknown"], ROWS)
        return
    with pytest.raises(expected) as caught:
        player.attach("x", folder)
    assert not any(mark in caught.value.what for mark in ("{problem}", "{folder}", "{adapter}"))
    assert str(tmp_path) not in caught.value.what
    assert player.attached == []


def test_a_soft_prompt_leaves_room_for_itself(base: Path, folders: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folders["prompt"], tmp_path / "long")
    made.write_facts(tmp_path / "long", made.CLASSIFY, TWO, {}, {}, base, max_length=512)
    player = predict.Player(base, made.CLASSIFY, dtype="fp32", device="cpu")
    player.attach("long", tmp_path / "long")
    verdict = asked(player, ["long"], [{"text": "word " * 600}])[0][0]
    assert verdict["note"] == "Only the first 509 of 602 tokens were read, as in training."


def test_many_rows_are_heard_in_parts_and_nothing_more_is_said_after_a_stop(base: Path, folders: dict[str, Path],
                                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    player = predict.Player(base, made.CLASSIFY, dtype="fp32", device="cpu")
    player.attach("two", folders["two"])
    monkeypatch.setattr(predict, "PART", 2)
    rows = [{"text": f"{text} {i}"} for i in range(3) for text in TEXTS]
    heard: list[tuple[int, list[str]]] = []

    def hear(place: int, replies: list[Reply]) -> None:
        heard.append((place, [reply["label"] for reply in replies]))

    (whole,) = player.respond(["two"], rows, on_reply=hear)
    assert [len(labels) for _, labels in heard] == [2, 2, 2, 2, 1] and {place for place, _ in heard} == {0}
    assert [reply["label"] for reply in whole["replies"]] == [label for _, labels in heard for label in labels]
    assert whole["seconds"] > 0 and whole["tokens"] == 0
    heard.clear()
    (stopped,) = player.respond(["two", None], rows, on_reply=hear, cancelled=lambda: len(heard) >= 2)
    assert stopped["replies"] == whole["replies"][:4]


def test_replies_are_drawn_as_bars_and_numbers(base: Path, folders: dict[str, Path], tmp_path: Path) -> None:
    player = predict.Player(base, made.CLASSIFY, dtype="fp32", device="cpu")
    player.attach("two", folders["two"])
    player.attach("score", made.make(tmp_path / "score", base, made.CLASSIFY, ["score"],
                                     options={"problem": "regression"}))
    (bars,), (number,) = asked(player, ["two", "score"], ROWS[:1])
    assert bars["drawing"] == {"kind": "bars", "values": bars["scores"]}
    assert number["drawing"]["kind"] == "number" and f"{number['drawing']['value']:.4g}" == number["label"]
