"""Models that write: batches say what rows alone would, samples come at every evaluation and change nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import puzzles
import pyarrow as pa
import pytest
import torch
import toys

from engine import attention, methods, models, tasks, tiny
from engine import events as happened
from engine import spec as specs
from engine.events import Event
from engine.generation import rewriting, samples, writing
from engine.generation.writing import Manner
from engine.tasks.terms import Asked
from engine.train import Control, Sources, run

PROMPTS = [[5, 9, 11, 40, 41, 42, 43], [20], [30, 31, 32], [7, 8], [50, 51, 52, 53, 54], [60, 61]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which the tiny models are made once."""
    return tmp_path_factory.mktemp("data")


def loaded(made: Path, name: str, method: dict[str, Any] | None = None) -> Any:
    """Return a tiny model, with a trained-looking method on it, ready to be asked."""
    task = tasks.get("causal_lm")()
    torch.manual_seed(3)
    base = models.load(tiny.folder(name, made), task, [], dtype="fp32")
    if method is None:
        return base.model.eval()
    chosen = methods.get(method["name"]).model_validate(method)
    model = chosen.attach(base.model, base.shape, base.heads)
    chosen.begin(model, base.tokenizer, [])
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def alone(model: Any, prompt: list[int], most: int, ends: set[int]) -> list[int]:
    """Return the likeliest tokens after one prompt, the whole text read anew for each."""
    ids = list(prompt)
    with torch.inference_mode(), writing.able_to_write(model):
        for _ in range(most):
            token = int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
            if token in ends:
                break
            ids.append(token)
    return ids[len(prompt):]


BASES = ["llama", "gpt2", "gpt_neox", "qwen3", "gemma2", "gemma3_text", "mistral", "phi3", "opt", "bloom"]
ON_LLAMA: list[dict[str, Any]] = [
    {"name": "lora"}, {"name": "prefix_tuning", "length": 4}, {"name": "prompt_tuning", "length": 3},
    {"name": "p_tuning", "template": "[P×3] {text}"}]


@pytest.mark.parametrize(("name", "method"), [*((name, None) for name in BASES), *(("llama", m) for m in ON_LLAMA)],
                         ids=lambda value: value["name"] if isinstance(value, dict) else value or "bare")
def test_a_batch_writes_what_each_row_alone_would(name: str, method: dict[str, Any] | None, made: Path) -> None:
    model = loaded(made, name, method)
    free = writing.write(model, PROMPTS, Manner(most=12))
    assert free == [alone(model, prompt, 12, set()) for prompt in PROMPTS]
    # Tokens that some rows write early end them, so that rows leave the batch at different times.
    ends = {free[0][3], free[2][1], free[3][6]}  # type: ignore[index]
    ended = writing.write(model, PROMPTS, Manner(most=12, ends=ends))
    assert ended == [alone(model, prompt, 12, ends) for prompt in PROMPTS]
    short = writing.write(model, PROMPTS, Manner(most=12, limit=10))
    assert short == [tokens[:10 - len(prompt)] for prompt, tokens in zip(PROMPTS, free, strict=True) if tokens]
    assert len({len(tokens) for tokens in short if tokens}) == 5


def test_rows_that_are_drawn_do_not_depend_on_their_neighbours(made: Path) -> None:
    model = loaded(made, "llama")
    state = torch.get_rng_state()
    manner = Manner(most=10, temperature=1.0, top_p=0.9, seed=7)
    whole = writing.write(model, PROMPTS, manner)
    assert writing.write(model, PROMPTS[:1], manner) == whole[:1]
    assert writing.write(model, PROMPTS, Manner(most=10, temperature=1.0, seed=8)) != whole
    assert torch.equal(torch.get_rng_state(), state)


def test_an_answer_ends_where_the_model_s_places_do_and_stops_when_asked_to(made: Path) -> None:
    model = loaded(made, "gpt2")
    assert writing.room(model) == 128
    long = [list(range(5, 5 + 120)), [5, 6, 7]]
    found = writing.write(model, long, Manner(most=40, limit=128))
    assert [len(tokens or []) for tokens in found] == [8, 40]
    assert found == [alone(model, long[0], 8, set()), alone(model, long[1], 40, set())]
    asked = iter([False, False, True])
    assert writing.write(model, PROMPTS, Manner(most=9), cancelled=lambda: next(asked)) == [None] * 6


def test_a_model_that_reads_packed_rows_writes_as_before_and_reads_them_again(made: Path) -> None:
    model = loaded(made, "llama")
    before = writing.write(model, PROMPTS, Manner(most=6))
    attention.register()
    model.set_attn_implementation(attention.PACKED)
    assert writing.write(model, PROMPTS, Manner(most=6)) == before
    assert model.config._attn_implementation == attention.PACKED


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_texts_made_of_sources_do_not_depend_on_their_neighbours(name: str, made: Path) -> None:
    base = models.load(tiny.folder(name, made), tasks.get("seq2seq")(), [], dtype="fp32")
    model, tokenizer = base.model.eval(), base.tokenizer
    sources = [tokenizer(text)["input_ids"] for text in ("good day", "a", "xyz xyz xyz xyz")]
    for search in (rewriting.Search(most=8), rewriting.Search(most=8, beams=3, length_penalty=2.0, no_repeat=2)):
        together = rewriting.write(model, tokenizer, sources, search)
        assert together == [rewriting.write(model, tokenizer, [source], search)[0] for source in sources]
        assert all(isinstance(text, str) for text in together)
    assert rewriting.write(model, tokenizer, sources, rewriting.Search(most=8), cancelled=lambda: True) == [None] * 3


def story_spec(shared: Path, data: Path, options: dict[str, Any], **training: Any) -> specs.RunSpec:
    plan = toys.spec(shared, data, None, **training).model_dump(mode="json")
    plan["data"]["options"] = options
    return specs.parse(plan)


@pytest.mark.shared
@pytest.mark.usefixtures("one_thread")
def test_samples_come_before_training_and_at_every_evaluation_and_change_nothing(shared: Path, tmp_path: Path) -> None:
    data = toys.talks(tmp_path)
    options = {"samples": 2, "max_new_tokens": 12}
    run(story_spec(shared, data, options), tmp_path / "with")
    run(story_spec(shared, data, {"samples": 0}), tmp_path / "without")
    assert toys.weights(tmp_path / "with") == toys.weights(tmp_path / "without")
    assert not (tmp_path / "without" / samples.NAME).exists()
    kept = samples.read(tmp_path / "with" / samples.NAME)
    told = toys.events(tmp_path / "with")
    evaluated = [event.step for event in told if isinstance(event, happened.Evaluated)]
    assert [entry["step"] for entry in kept] == [0, *evaluated]
    assert [event.step for event in told if isinstance(event, happened.SamplesWritten)] == [0, *evaluated]
    rows = [[sample["row"] for sample in entry["samples"]] for entry in kept]
    assert rows == [rows[0]] * len(kept) and len(rows[0]) == 2
    texts = [[sample["written"] for sample in entry["samples"]] for entry in kept]
    assert texts[0] != texts[-1] and all(texts[-1])
    assert "Tell me about" in kept[0]["samples"][0]["input"] and "Once upon" in kept[0]["samples"][0]["expected"]


@pytest.mark.shared
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("elsewhere", [False, True], ids=["same_folder", "next_attempt"])
def test_an_interrupted_run_ends_with_the_same_samples_and_bytes(elsewhere: bool, shared: Path,
                                                                 tmp_path: Path) -> None:
    options = {"samples": 2, "max_new_tokens": 8, "written": 3, "pattern": "(there) was"}
    plan = story_spec(shared, toys.talks(tmp_path), options, checkpoint_every=4, epochs=3, eval_every=3)

    def listen(event: Event) -> None:
        if isinstance(event, happened.CheckpointSaved) and event.step >= 8:
            Control.request("interrupt")

    run(plan, tmp_path / "whole")
    parts = tmp_path / "parts"
    assert run(plan, parts, on_event=listen)["state"] == "interrupted"
    # A line beyond the checkpoint, and one that was never finished.
    with (parts / samples.NAME).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": 11, "epoch": 9.0, "samples": []}) + '\n{"step": 12, "sam')
    last = tmp_path / "next" if elsewhere else parts
    ended = run(plan, last, checkpoint_dirs=[parts / "checkpoints"] if elsewhere else [])
    assert ended["state"] == "succeeded" and ended["metrics"] == toys.result(tmp_path / "whole")["metrics"]
    assert toys.weights(last) == toys.weights(tmp_path / "whole")
    assert (last / samples.NAME).read_text() == (tmp_path / "whole" / samples.NAME).read_text()
    assert {"exact_match", "rouge1", "rouge2", "rougeL", "bleu", "chrf", "pattern_match"} <= set(ended["metrics"])
    shown = json.loads((last / "examples.json").read_text())
    assert sum(item["predicted"] is not None for half in shown.values() for item in half) == 3


@pytest.mark.shared
def test_rows_are_answered_as_the_evaluation_wrote_them(shared: Path) -> None:
    task = tasks.get("causal_lm")(written=8, max_new_tokens=10)
    base = models.load(shared / "models" / "stories260k", task, [], dtype="fp32")
    roles = {"prompt": "q", "completion": "a"}
    task.prepare_tokenizer(base.tokenizer, roles)
    table = pa.table({"q": ["Once upon a time", "Tim", "The big dog"], "a": ["there", "ran", "sat"]})
    encoded = task.encode(table, roles, base.tokenizer, 64, [])
    batches = [([i], task.collate([row], 0)) for i, row in enumerate(encoded.rows)]
    with torch.inference_mode():
        outputs = task.evaluate(base.model.eval(), encoded, table, roles, [], batches)
    written = {record["row"]: record["predicted"] for record in outputs.examples}
    asked = Asked(model=base.model, tokenizer=base.tokenizer, labels=[], columns=roles)
    replies = task.respond(asked, [{"prompt": text} for text in table.column("q").to_pylist()] + [{"prompt": " "}])
    assert [reply["label"] for reply in replies] == [written[i] for i in range(3)] + [""]
    assert replies[0]["drawing"] == {"kind": "prose", "text": written[0]} and task.filled(replies[0]) == {
        "prediction": written[0]}
    assert "nothing to answer" in replies[3]["note"] and not replies[0]["note"]
    stopped = Asked(model=base.model, tokenizer=base.tokenizer, labels=[], columns=roles, cancelled=lambda: True)
    assert task.respond(stopped, [{"prompt": "a"}]) == []


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_rows_of_one_source_are_one_text_held_against_all_their_targets(name: str, made: Path, tmp_path: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    rows = [("a" * (1 + i % 3), target) for i in range(24) for target in ("A", "B")]
    data.write_text("".join(json.dumps({"source": s, "target": t}) + "\n" for s, t in rows), encoding="utf-8")
    plan = puzzles.spec("seq2seq", name, data, "full", epochs=14)
    plan = specs.parse(plan.model_dump(mode="json") | {"data": {
        "train": str(data), "eval": str(data), "columns": plan.data.columns,
        "options": {"target_length": 6, "prefix": "x: ", "num_beams": 2, "samples": 2}}})
    ended = run(plan, tmp_path / "out", sources=Sources(data_dir=made))
    # Two answers are right for each source, and one of them is written every time.
    assert ended["state"] == "succeeded" and ended["metrics"]["exact_match"] == 1.0
    assert ended["metrics"]["chrf"] == pytest.approx(100.0)
    kept = samples.read(tmp_path / "out" / samples.NAME)
    assert kept[0]["step"] == 0 and len({sample["input"] for sample in kept[-1]["samples"]}) == 2
    assert all(sample["written"] in ("A", "B") for sample in kept[-1]["samples"])


def test_sources_are_rewritten_with_the_beams_asked_for(made: Path) -> None:
    task = tasks.get("seq2seq")(prefix="x: ", target_length=6)
    base = models.load(tiny.folder("bart", made), task, [], dtype="fp32")
    asked = Asked(model=base.model.eval(), tokenizer=base.tokenizer, labels=[], limit=10,
                  options={"num_beams": 2, "max_new_tokens": 4})
    replies = task.respond(asked, [{"source": "good"}, {"source": "a long text indeed"}, {}])
    assert len(replies) == 3 and not replies[0]["note"] and "as in training" in replies[1]["note"]
    assert all(reply["drawing"] == {"kind": "prose", "text": reply["label"]} for reply in replies)
    assert task.respond(asked, []) == []


def test_targets_with_more_words_than_they_are_cut_to_are_named() -> None:
    table = pa.table({"s": ["a", "b", "c"], "t": ["one two three", "one", "one two"]})
    found = tasks.get("seq2seq")(target_length=2).check(table, {"source": "s", "target": "t"})
    assert [(item.level, item.rows) for item in found if item.kind == "target_long"] == [("warning", [1])]
