"""What models with soft prompts and prefixes are called with, what they write from a cache, and ensembles of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from prompted import IDS, LABELS, METHODS, Made, inputs

from engine import attention
from engine.insight import similarity
from engine.methods import _prompt


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def write(made: Made, ids: torch.Tensor, count: int) -> tuple[list[int], list[torch.Tensor]]:
    """Return the likeliest tokens after `ids`, one by one from a cache, and the scores each was chosen by."""
    from engine.predict import _stepper

    step, cache, scores, found = _stepper(made.model), None, [], []
    with torch.inference_mode():
        for _ in range(count):
            logits, cache = step(ids, cache)
            found.append(int(logits.argmax()))
            scores.append(logits)
            ids = torch.tensor([found[-1:]])
    return found, scores


@pytest.mark.parametrize("method", ["prefix", "infix", "prompt", "lstm"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma", "opt", "gemma3_text"])
def test_what_is_written_from_a_cache_is_what_teacher_forcing_finds(name: str, method: str, root: Path) -> None:
    wanted = METHODS["prefix"] | {"place": "infix"} if method == "infix" else METHODS[method]
    made = Made(root, name, "causal_lm", wanted)
    made.stir()
    ids = torch.randint(5, 99, (1, 24), generator=torch.Generator().manual_seed(1))
    found, scores = write(made, ids, 5)
    whole = torch.cat([ids, torch.tensor([found[:-1]])], dim=1)
    # An infix is seen by the places that predict the answer.
    attention.set_layout(None, torch.arange(whole.shape[1])[None] >= ids.shape[1] - 1)
    with torch.no_grad():
        forced = made.model(input_ids=whole).logits[0, -5:]
    assert forced.argmax(-1).tolist() == found
    assert torch.allclose(torch.stack(scores), forced, atol=1e-4)
    attention.set_layout(None)
    # Rows of different lengths, filled up on the left as transformers' own generation wants them.
    both = torch.cat([torch.cat([torch.zeros(1, 4, dtype=torch.long), ids[:, :20]], 1), ids])
    with torch.no_grad():
        text = made.model.generate(input_ids=both, attention_mask=(both != 0).long(), max_new_tokens=5,
                                   min_new_tokens=5, do_sample=False, eos_token_id=None, pad_token_id=0)
    assert text[1, 24:].tolist() == found
    assert text[0, 24:].tolist() == write(made, ids[:, :20], 5)[0]


@pytest.mark.parametrize("method", ["prefix", "prompt", "lstm"])
@pytest.mark.parametrize("name", ["t5", "bart"])
def test_encoder_decoders_write_what_teacher_forcing_finds(name: str, method: str, root: Path) -> None:
    made = Made(root, name, "seq2seq", METHODS[method])
    made.stir()
    given = {key: value for key, value in inputs("seq2seq").items() if not key.startswith("decoder")}
    made.loaded.model.generation_config.forced_eos_token_id = None
    with torch.no_grad():
        text = made.model.generate(**given, max_new_tokens=4, min_new_tokens=4, do_sample=False, num_beams=1,
                                   eos_token_id=None, forced_eos_token_id=None)
        forced = made.model(**given, decoder_input_ids=text[:, :-1]).logits
    assert forced.argmax(-1)[:, -4:].tolist() == text[:, -4:].tolist()


def test_an_infix_is_seen_by_the_answer_alone(root: Path) -> None:
    made = Made(root, "llama", "causal_lm", METHODS["prefix"] | {"place": "infix"})
    made.stir()
    ids = IDS[:1]
    attention.set_layout(None, torch.tensor([[False, False, False, True, True, True, False]]))
    with torch.no_grad():
        found = made.model(input_ids=ids).logits[0]
        with made.model.disable_adapter():
            plain = made.model(input_ids=ids).logits[0]
    changed = (found - plain).abs().amax(-1) > 1e-4
    # The last place sees no infix itself, but answers that did.
    assert changed.tolist() == [False, False, False, True, True, True, True]


def seen(made: Made, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the embeddings and the mask that the blocks' own model is called with."""
    caught: dict[str, Any] = {}
    stack = made.loaded.model.base_model

    def look(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        caught.update(kwargs)

    handle = stack.register_forward_pre_hook(look, with_kwargs=True)
    with torch.no_grad():
        made.outputs(**inputs(made.task, ids))
    handle.remove()
    return caught["inputs_embeds"], caught["attention_mask"]


def test_a_template_puts_virtual_tokens_and_words_where_it_says(root: Path) -> None:
    made = Made(root, "bert", "text_classification",
                {"name": "p_tuning", "template": "[P] ab {text}[P×2] c", "encoder": "none"})
    layer = _prompt.layer(made.model)
    own, words = layer.prompt_tokens["default"], made.loaded.model.get_input_embeddings().weight
    tokens = made.loaded.tokenizer
    a, b, c, space = tokens.convert_tokens_to_ids(["a", "b", "c", " "])
    embeds, mask = seen(made, IDS)
    assert mask.tolist() == [[1] * 15, [1] * 12 + [0] * 3]
    expected = [own[0], *words[[space, a, b]], *words[IDS[1, :4]], *own[1:], *words[[space, c]], *words[[0, 0, 0]]]
    assert torch.equal(embeds[1], torch.stack(expected))
    assert made.run.method.virtual_tokens(made.shape) >= 8


def test_heads_find_the_first_and_the_last_token_as_before(root: Path) -> None:
    """What the last block gives out for the text is what a model called with the longer row gives out there."""
    for name, place in (("bert", 0), ("llama", -1)):
        made = Made(root, name, "text_classification", {"name": "prompt_tuning", "length": 2})
        made.stir()
        embeds, _ = seen(made, IDS[:1])
        base = made.loaded.model
        with torch.no_grad():
            found = made.outputs(**inputs(made.task, IDS[:1]))
            _prompt.layer(made.model).enable_adapters(False)
            hidden = base.base_model(inputs_embeds=embeds).last_hidden_state[:, 2:]
            wanted = base.score(hidden[:, place]) if name == "llama" else base.classifier(base.bert.pooler(hidden))
        assert torch.allclose(found, wanted, atol=1e-5)


def test_a_decoder_pools_what_stands_last_in_the_template(root: Path) -> None:
    made = Made(root, "llama", "text_classification", {"name": "p_tuning", "template": "{text} [P×2]"})
    one, two = (made.outputs(**inputs(made.task, ids)) for ids in (IDS[1:, :4], IDS))
    assert torch.allclose(one[0], two[1], atol=1e-5)
    with torch.no_grad():
        _prompt.layer(made.model).prompt_tokens["default"][1] += 5
        assert not torch.allclose(made.outputs(**inputs(made.task, IDS)), two, atol=1e-3)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_an_ensemble_learns_from_each_and_answers_with_all(name: str, root: Path) -> None:
    method = {"name": "prompt_tuning", "length": 2, "ensemble": 3}
    made = Made(root, name, "text_classification", method)
    made.stir()
    given, layer = inputs(made.task), _prompt.layer(made.model)
    with torch.no_grad():
        own = made.outputs()
        layer.training = True
        learning = made.model(**{key: torch.cat([value] * 3) for key, value in given.items()}).logits
        layer.training = False
        members = []
        for prompt in layer.prompt_tokens["default"]:
            single = Made(root, name, "text_classification", method | {"ensemble": 1})
            single.loaded.model.load_state_dict(
                {key: value for key, value in made.loaded.model.state_dict().items() if "prompt_tokens" not in key},
                strict=False)
            _prompt.layer(single.model).keep("default", prompt)
            members.append(single.outputs())
    assert torch.allclose(learning, torch.cat(members), atol=1e-5)
    assert torch.allclose(own, torch.stack(members).mean(0), atol=1e-5)
    layer.settings["default"].combine = "vote"
    votes = torch.stack(members).argmax(-1)
    with torch.no_grad():
        chosen = made.outputs().softmax(-1)
    assert torch.allclose(chosen.sum(-1), torch.ones(2))
    for row in range(2):
        counts = torch.bincount(votes[:, row], minlength=3)
        assert counts[chosen[row].argmax()] == counts.max()


@pytest.mark.parametrize(("init", "expected"), [("text", ["a", "b", "a", "b"]), ("labels", None)])
def test_a_prompt_starts_from_words(init: str, expected: list[str] | None, root: Path) -> None:
    made = Made(root, "bert", "text_classification", {"name": "prompt_tuning", "length": 4, "init": init, "text": "ab"})
    own, words = _prompt.layer(made.model).prompt_tokens["default"], made.loaded.model.get_input_embeddings().weight
    numbers = made.loaded.tokenizer.convert_tokens_to_ids
    if expected is not None:
        assert torch.equal(own, words[numbers(expected)])
    else:
        for place, label in enumerate(LABELS):
            assert torch.allclose(own[place], words[numbers(list(label))].mean(0), atol=1e-6)
        assert any(torch.equal(own[3], word) for word in words)


@pytest.mark.parametrize("method", [{"name": "prompt_tuning", "length": 4}, {"name": "p_tuning_v2", "length": 4}],
                         ids=["prompt_tuning", "p_tuning_v2"])
def test_a_run_starts_from_the_prompts_of_another(method: dict[str, Any], root: Path, tmp_path: Path) -> None:
    from engine.errors import SpecError

    first = Made(root, "electra", "text_classification", method)
    first.stir()
    first.method.save(first.model, tmp_path / "source")
    again = Made(root, "electra", "text_classification", method, tmp_path / "source")
    parts = [{key: p for key, p in made.model.named_parameters() if ".default" in key and "modules_to" not in key}
             for made in (first, again)]
    assert parts[0] and all(torch.equal(p, parts[1][key]) for key, p in parts[0].items())
    with pytest.raises(SpecError):
        Made(root, "electra", "text_classification", method | {"length": 5}, tmp_path / "source")


def test_sources_are_ranked_by_how_alike_their_prompts_are(root: Path, tmp_path: Path) -> None:
    made = Made(root, "bert", "text_classification", {"name": "prompt_tuning", "length": 2})
    layer = _prompt.layer(made.model)
    for name, seed in (("target", 0), ("near", 0), ("far", 1)):
        torch.manual_seed(seed)
        layer.keep("default", torch.randn(2, 32) + (0.1 if name == "near" else 0.0))
        made.method.save(made.model, tmp_path / name)
    ranked = similarity.rank(tmp_path / "target", [tmp_path / "far", tmp_path / "near"])
    assert [path.name for path, _ in ranked] == ["near", "far"]
    assert ranked[0][1] > 0.9 > ranked[1][1]


@pytest.mark.parametrize("method", ["prefix", "v2", "prompt", "lstm"])
def test_adapters_are_added_switched_and_taken_off_again(method: str, root: Path) -> None:
    import copy

    made = Made(root, "bert", "text_classification", METHODS[method])
    model = made.model
    with torch.no_grad():
        first = made.outputs()
        model.add_adapter("other", copy.deepcopy(model.peft_config["default"]))
        model.set_adapter("other")
        other = made.outputs()
        model.set_adapter("default")
        assert torch.equal(made.outputs(), first)
        assert not torch.equal(other, first)
        model.delete_adapter("other")
        twin = copy.deepcopy(model)
        assert torch.equal(twin(**inputs(made.task)).logits, first)
        with model.disable_adapter():
            plain = made.outputs()
        bare = model.unload()
        assert torch.equal(bare(**inputs(made.task)).logits, plain)
        assert not any("prompt" in key or "prefix" in key for key, _ in bare.named_parameters())
        assert torch.equal(twin(**inputs(made.task)).logits, first)
