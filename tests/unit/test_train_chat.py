"""Only what the assistant says is learned, whatever the chat template looks like."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from engine import chat

pytestmark = pytest.mark.shared

CHATML = ("{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
          "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
          "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
#: Forgets what the assistant thought in earlier turns, as reasoning models do.
FORGETFUL = ("{% for m in messages %}[{{ m['role'] }}]"
             "{% if not loop.last and m['role'] == 'assistant' %}{{ m['content'].split('</think>')[-1] }}"
             "{% else %}{{ m['content'] }}{% endif %}[end]{% endfor %}"
             "{% if add_generation_prompt %}[assistant]{% endif %}")
TALK = [{"role": "user", "content": "Hi. Who are you?"}, {"role": "assistant", "content": "I am Tim."},
        {"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "I am Tim."}]


@pytest.fixture(scope="module")
def tokenizer(shared: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(shared / "models" / "stories260k")


def learned(tokenizer: PreTrainedTokenizerBase, template: str, talk: list[dict[str, str]]) -> list[str]:
    tokenizer.chat_template = template
    rendered = chat.render(talk, tokenizer)
    return [rendered.text[start:end] for start, end in rendered.spans]


def test_answers_and_their_end_marks_are_learned(tokenizer: PreTrainedTokenizerBase) -> None:
    assert learned(tokenizer, CHATML, TALK) == ["I am Tim.<|im_end|>"] * 2
    assert learned(tokenizer, chat.CONVERSATION, TALK) == ["I am Tim.</s>"] * 2
    assert learned(tokenizer, chat.PROMPT, TALK[:2]) == ["I am Tim.</s>"]


def test_the_spans_are_the_answers_own_places_not_those_of_equal_words(tokenizer: PreTrainedTokenizerBase) -> None:
    talk = [{"role": "user", "content": "Say: I am Tim."}, {"role": "assistant", "content": "I am Tim."}]
    tokenizer.chat_template = CHATML
    rendered = chat.render(talk, tokenizer)
    assert rendered.text[:rendered.spans[0][0]].endswith("<|im_start|>assistant\n")


def test_a_template_that_rewrites_earlier_turns_still_learns_what_it_shows(tokenizer: PreTrainedTokenizerBase) -> None:
    talk = [TALK[0], {"role": "assistant", "content": "<think>hm</think>I am Tim."}, TALK[2],
            {"role": "assistant", "content": "<think>again</think>Tim!"}]
    found = learned(tokenizer, FORGETFUL, talk)
    assert found[-1] == "<think>again</think>Tim![end]"
    assert all("[user]" not in span for span in found)


def test_a_conversation_that_starts_with_an_answer_learns_that_answer_alone(tokenizer: PreTrainedTokenizerBase) -> None:
    assert learned(tokenizer, CHATML, [TALK[1]]) == ["I am Tim.<|im_end|>"]


def test_tokens_are_learned_exactly_where_the_spans_are(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = chat.CONVERSATION
    rendered = chat.render(TALK, tokenizer)
    (ids, mask), = chat.tokenize([rendered], tokenizer)
    assert ids[0] == tokenizer.bos_token_id
    text = tokenizer.decode(ids[mask])
    assert text.count("I am Tim.") == 2 and "Who" not in text
    assert (ids[mask] == tokenizer.eos_token_id).sum() == 2


def test_plain_text_is_learned_whole_with_its_end_mark(tokenizer: PreTrainedTokenizerBase) -> None:
    start = chat.begin_mark(tokenizer)
    (ids, mask), = chat.tokenize([chat.as_text(chat.exchange(None, "Once upon a time"), tokenizer, start)], tokenizer)
    assert mask.tolist() == [False] + [True] * (len(ids) - 1)
    assert ids[-1] == tokenizer.eos_token_id
