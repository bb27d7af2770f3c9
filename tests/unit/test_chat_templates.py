"""Chat templates a person chooses or writes: checked, tried, saved, and used for learning and asking alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from engine import chat, generate, models, spec, tasks
from engine.errors import SpecError
from engine.generation import questions, templates

pytestmark = pytest.mark.shared

TALK = [{"role": "user", "content": "Who is it?"}, {"role": "assistant", "content": "It is Tim."}]
OWN = "{% for m in messages %}<{{ m['role'] }}>{{ m.content }}{{ eos_token }}{% endfor %}"


@pytest.fixture
def tokenizer(shared: Path) -> Any:
    return models.tokenizer_of(shared / "models" / "stories260k")


def refused(**options: Any) -> str:
    with pytest.raises(SpecError) as caught:
        spec.parse({"task": "causal_lm", "model": {"id": "x"}, "data": {"train": "x", "options": options},
                    "method": {"name": "lora"}})
    return caught.value.what


@pytest.mark.parametrize(("template", "why"), [
    ("mistral", "none of auto"), ("{% for m in messages %}{{ m.content }}", "line 1"),
    ("{{ talk.content }}", "show `messages`"),
    ("{% for m in messages %}{{ m.role }}{% endfor %}", "show the `content`"), ("{{ messages[0].content", "line 1")])
def test_a_template_that_can_show_nothing_is_refused_before_a_run_starts(template: str, why: str) -> None:
    assert why in refused(template=template)


@pytest.mark.parametrize(("template", "why"), [
    ("{% for m in messages %}{{ m.content }}{% endfor %}", "eos_token"),
    ("{{ messages[0].content }}{{ eos_token }}", "leaves out its answer"),
    ("{{ messages[1].content }}{{ eos_token }}", "cannot be used"),
    ("{{ messages[0].content + 1 }}", "cannot be used"),
    ("{% for m in messages %}{{ ''.__class__.__mro__ }}{{ m.content }}{% endfor %}", "unsafe")])
def test_a_template_that_loses_words_or_fails_is_named(template: str, why: str, tokenizer: Any) -> None:
    templates.check(template)
    with pytest.raises(templates.TemplateBroken, match=why):
        templates.choose(tokenizer, template, "prompt")


@pytest.mark.parametrize("name", [*templates.NAMED, OWN])
def test_answers_learn_their_end_mark_and_prompts_end_where_answers_begin(name: str, tokenizer: Any,
                                                                          tmp_path: Path) -> None:
    assert "saved with the adapter" in templates.choose(tokenizer, name, "messages")
    rendered = chat.render([*TALK, *TALK], tokenizer)
    spans = [rendered.text[start:end] for start, end in rendered.spans]
    assert all("It is Tim." in span and span.endswith("</s>") and "Who" not in span for span in spans)
    (ids, learned), = chat.tokenize([chat.render(TALK, tokenizer)], tokenizer)
    opened = generate.prompt(tokenizer, TALK[:1]).ids
    if name != OWN:
        # What is asked is what was learned from, token by token, a blank at its end aside.
        assert opened == ids[:len(opened)].tolist() and learned.tolist().index(True) == len(opened)
    tokenizer.save_pretrained(str(tmp_path))
    assert models.tokenizer_of(tmp_path).chat_template == tokenizer.chat_template


def test_the_tokenizer_s_own_template_stays_and_one_without_gets_what_fits_the_data(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    assert "no chat template" in templates.choose(tokenizer, "auto", "prompt")
    assert tokenizer.chat_template == chat.PROMPT
    assert templates.choose(tokenizer, "auto", "messages") == "" and tokenizer.chat_template == chat.PROMPT
    assert "learned as it is" in templates.choose(tokenizer, "chatml", "text")
    assert tokenizer.chat_template == chat.PROMPT


def test_a_conversation_the_template_refuses_is_named_by_its_row(tokenizer: Any) -> None:
    tokenizer.chat_template = ("{% if messages[0].role == 'system' %}{{ raise_exception('No system messages here.') }}"
                               "{% endif %}" + OWN)
    table = pa.table({"m": [TALK, [{"role": "system", "content": "Be kind."}, *TALK]]})
    with pytest.raises(chat.TemplateRefuses, match="No system messages here") as caught:
        tasks.get("causal_lm")().encode(table, {"messages": "m"}, tokenizer, 64, [])
    assert caught.value.where == "row 2"


def test_questions_leave_the_answer_out(tokenizer: Any) -> None:
    templates.choose(tokenizer, "dialogue", "messages")
    found = questions.of_conversation([*TALK, *TALK], tokenizer)
    assert found is not None and found.expected == "It is Tim."
    assert found.prompt.count("It is Tim.") == 1 and found.prompt.endswith("Assistant:")
    assert questions.of_conversation(TALK[1:], tokenizer) is None and questions.of_conversation([], tokenizer) is None
    text = questions.of_text("Once upon a time there was", "<s>")
    assert text is not None and (text.prompt, text.expected) == ("<s>Once upon", " a time there was")
    assert questions.of_text("Once", "<s>") is None


@pytest.mark.parametrize(("row", "shown"), [
    ({"prompt": "Hi"}, "Hi"), ({"messages": TALK}, "Who is it?"), ({"prompt": "Hi", "system": "Be kind."},
                                                                  "system: Be kind.\nuser: Hi"),
    ({"prompt": " "}, None), ({}, None), ({"text": "Once"}, "Once")])
def test_rows_are_asked_by_what_they_hold(row: dict[str, Any], shown: str | None, tokenizer: Any) -> None:
    templates.choose(tokenizer, "dialogue", "messages")
    found = questions.asked(row, tokenizer, "<s>", continues=False)
    assert (found and found.shown) == shown


def test_a_pattern_found_in_no_answer_forbids_training_and_in_some_it_asks() -> None:
    columns = {"prompt": "q", "completion": "a"}
    task = tasks.get("causal_lm")(pattern="#### (.+)")
    rows = {"q": ["a", "b", "c"], "a": ["#### 1", "two", "#### 3"]}
    warned = [item for item in task.check(pa.table(rows), columns) if item.kind == "pattern_not_found"]
    assert [(item.level, item.rows) for item in warned] == [("warning", [2])]
    rows["a"] = ["1", "2", "3"]
    assert [item.level for item in task.check(pa.table(rows), columns) if item.kind == "pattern_not_found"] == ["error"]
