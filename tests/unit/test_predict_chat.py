"""Text comes out token by token, readable at every step, and as the model alone would write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import made_adapters as made
import pytest

from engine import generate, predict

TEMPLATE = ("{{ bos_token }}{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}"
            "{{ eos_token }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}")
ASK = [{"role": "user", "content": "Once upon a time there was"}]


@pytest.fixture(scope="module")
def base(shared: Path) -> Path:
    return shared / "models" / "stories260k"


@pytest.fixture(scope="module")
def folders(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from peft import PrefixTuningConfig, PromptTuningConfig

    root = tmp_path_factory.mktemp("adapters")
    return {
        "text": made.make(root / "text", base, made.CHAT, seed=1, columns={"text": "story"}),
        "chat": made.make(root / "chat", base, made.CHAT, seed=2, columns={"messages": "m"}, template=TEMPLATE),
        "prompt": made.make(root / "prompt", base, made.CHAT, seed=3, columns={"text": "story"},
                            config=PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)),
        "prefix": made.make(root / "prefix", base, made.CHAT, seed=4, columns={"text": "story"},
                            config=PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)),
    }


@pytest.fixture(scope="module")
def player(base: Path, folders: dict[str, Path]) -> predict.Player:
    player = predict.Player(base, made.CHAT, dtype="fp32", device="cpu")
    for name, folder in folders.items():
        player.attach(name, folder)
    return player


def collected(player: predict.Player, adapter_id: str | None, **settings: Any) -> tuple[generate.Answer, list[str]]:
    pieces: list[str] = []
    answer = player.chat(adapter_id, settings.pop("messages", ASK), on_text=pieces.append,
                         **{"max_new_tokens": 30, **settings})
    assert "".join(pieces) == answer["text"]
    return answer, pieces


@pytest.mark.parametrize("name", ["text", "prompt", "prefix", "chat"])
def test_greedy_text_is_what_generate_writes(name: str, base: Path, folders: dict[str, Path],
                                             player: predict.Player) -> None:
    model, tokenizer = made.plain(folders[name], base, made.CHAT)
    text = (tokenizer.apply_chat_template(ASK, tokenize=False, add_generation_prompt=True) if name == "chat"
            else "<s>" + ASK[0]["content"])
    inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False, return_token_type_ids=False)
    written = model.generate(**inputs, max_new_tokens=30, do_sample=False, pad_token_id=2)[0]
    new = written[inputs["input_ids"].shape[1]:] if len(written) > 30 else written
    whole = tokenizer.decode([*inputs["input_ids"][0], *new], skip_special_tokens=True)
    before = tokenizer.decode(inputs["input_ids"][0], skip_special_tokens=True)
    expected = whole[len(before):]
    answer, pieces = collected(player, name, temperature=0)
    assert answer["text"] == (expected.lstrip() if name == "chat" else expected)
    assert answer["tokens"] == len(new)
    assert len(pieces) > 5


def test_continued_text_begins_with_its_space(player: predict.Player) -> None:
    answer, pieces = collected(player, "text", messages=[{"role": "user", "content": "Once upon a"}], max_new_tokens=4)
    assert pieces[0].startswith(" ")
    assert answer["stopped"] == "length"


def test_the_seed_alone_decides_what_is_drawn(player: predict.Player) -> None:
    import torch

    settings = {"temperature": 1.0, "top_p": 0.95, "max_new_tokens": 24}
    first = collected(player, "text", seed=7, **settings)[0]["text"]
    state = torch.random.get_rng_state()
    torch.manual_seed(999)
    moved = torch.random.get_rng_state()
    assert collected(player, "text", seed=7, **settings)[0]["text"] == first
    assert torch.equal(torch.random.get_rng_state(), moved)
    torch.random.set_rng_state(state)
    assert collected(player, "text", seed=8, **settings)[0]["text"] != first
    assert len({collected(player, "text", seed=None, **settings)[0]["text"] for _ in range(3)}) > 1


def test_adapters_in_a_row_do_not_disturb_each_other(player: predict.Player) -> None:
    order: list[str | None] = ["text", "prompt", None, "chat", "prefix"]
    first = {name: collected(player, name)[0]["text"] for name in order}
    again = {name: collected(player, name)[0]["text"] for name in reversed(order)}
    assert first == again
    assert len(set(first.values())) == len(order)


def test_stop_takes_effect_between_tokens(player: predict.Player) -> None:
    asked = iter([False, False, False, True])
    answer, pieces = collected(player, "text", cancelled=lambda: next(asked))
    assert (answer["stopped"], answer["tokens"]) == ("cancelled", 3)
    assert answer["text"] == "".join(pieces) != ""
    assert collected(player, "text", cancelled=lambda: True)[0]["tokens"] == 0


def test_an_answer_ends_at_the_end_mark(base: Path, folders: dict[str, Path], tmp_path: Path) -> None:
    tokenizer = predict.adapter.tokenizer(folders["chat"])
    assert tokenizer is not None
    start = generate.prompt(tokenizer, ASK)
    assert start.ends == {2}
    tokens = [*tokenizer("a boy", add_special_tokens=False)["input_ids"], 2, 5]
    answer = generate.write(_script(tokens, len(start.ids)), tokenizer, start, temperature=0, top_p=1,
                            max_new_tokens=20, seed=0, on_text=lambda text: None, cancelled=lambda: False)
    assert (answer["text"], answer["stopped"], answer["tokens"]) == ("a boy", "eos", len(tokens) - 1)


def test_the_end_mark_is_read_off_the_chat_template(base: Path) -> None:
    tokenizer = predict.adapter.tokenizer(base)
    assert tokenizer is not None
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = ("{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
                               "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
    start = generate.prompt(tokenizer, ASK, eos=[9])
    assert start.ends == {2, 9, tokenizer.convert_tokens_to_ids("<|im_end|>")}
    assert start.ids[0] == tokenizer.convert_tokens_to_ids("<|im_start|>")


def test_the_base_borrows_a_format_from_its_adapter_and_says_so(base: Path, folders: dict[str, Path]) -> None:
    player = predict.Player(base, made.CHAT, dtype="fp32", device="cpu")
    assert "goes on writing" in collected(player, None)[0]["note"]
    player.attach("chat", folders["chat"])
    assert "adapter's" in collected(player, None)[0]["note"]


def test_a_prompt_beyond_the_context_is_refused_and_a_long_answer_ends_there(player: predict.Player) -> None:
    with pytest.raises(generate.PromptTooLong) as caught:
        collected(player, "text", messages=[{"role": "user", "content": "dog " * 600}])
    assert "512" in caught.value.what
    start = generate.prompt(player.tokenizer, ASK, continues=True)
    answer = generate.write(_script([100] * 400, len(start.ids)), player.tokenizer, start, temperature=0, top_p=1,
                            max_new_tokens=300, seed=0, on_text=lambda text: None, cancelled=lambda: False,
                            limit=len(start.ids) + 40)
    assert (answer["tokens"], answer["stopped"]) == (40, "length")
    with pytest.raises(generate.PromptEmpty):
        collected(player, "text", messages=[{"role": "user", "content": "  "}])


@pytest.mark.parametrize("text", [
    "naïve café — “quotes”", "日本語のテスト 🙂🙃 end", "a  b   c\n\n\td", "x", "e\u0301 ﷽ 𝔘"])
@pytest.mark.parametrize("kind", ["sentencepiece", "bytes", "wordpiece"])
def test_pieces_are_readable_and_add_up(kind: str, text: str, shared: Path) -> None:
    tokenizer = _tokenizer(kind, shared)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    words = generate.Detokeniser(tokenizer)
    pieces = [words.add(i) for i in ids] + [words.finish()]
    whole = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert "".join(pieces) == whole
    if "\ufffd" not in whole:
        assert not any("\ufffd" in piece for piece in pieces)
    if kind != "wordpiece":
        assert whole.strip() == text.strip()


def test_a_character_cut_short_by_the_limit_is_shown_at_the_end(shared: Path) -> None:
    tokenizer = _tokenizer("bytes", shared)
    ids = tokenizer("hi 🙂", add_special_tokens=False)["input_ids"][:-1]
    words = generate.Detokeniser(tokenizer)
    pieces = [words.add(i) for i in ids]
    assert "".join(pieces) == "hi "
    assert words.finish() == "\ufffd"


def test_nucleus_sampling_keeps_to_the_likeliest_tokens() -> None:
    import torch

    generator = torch.Generator().manual_seed(0)
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    drawn = {generate.pick(logits, 1.0, 0.6, generator) for _ in range(200)}
    assert drawn == {0, 1}
    assert {generate.pick(logits, 1.0, 1.0, generator) for _ in range(400)} == {0, 1, 2, 3}
    assert {generate.pick(logits, 1.0, 0.0, generator) for _ in range(20)} == {0}
    assert generate.pick(logits, 0.0, 1.0, generator) == 0
    assert {generate.pick(logits, 0.05, 1.0, generator) for _ in range(50)} == {0}


def _script(tokens: list[int], prompt: int) -> Any:
    """Return a model that writes `tokens`, whatever it reads."""
    import torch

    def step(ids: Any, cache: Any) -> tuple[Any, Any]:
        assert ids.shape == ((1, prompt) if cache is None else (1, 1))
        place = 0 if cache is None else cache + 1
        return torch.nn.functional.one_hot(torch.tensor(tokens[place]), 600).float(), place

    return step


def _tokenizer(kind: str, shared: Path) -> Any:
    from transformers import AutoTokenizer

    if kind == "bytes":
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        inner = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
        return PreTrainedTokenizerFast(tokenizer_object=inner)
    name = {"sentencepiece": "stories260k", "wordpiece": "bert-tiny"}[kind]
    return AutoTokenizer.from_pretrained(shared / "models" / name)
