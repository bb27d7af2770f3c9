"""What a causal language model's task does with answers: compare them, keep some as samples, give them when asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine import chat, generate
from engine.chat import Message
from engine.control import Control
from engine.data.findings import error, some
from engine.drawing import Prose
from engine.findings import Finding
from engine.generation import pattern as patterns
from engine.generation import questions, scores
from engine.generation.questions import Question
from engine.tasks.terms import Asked, Reply

#: A sample is cut here, so that looking at the model costs little beside training it.
SAMPLE_TOKENS = 64
#: Characters of a prompt or an answer that are kept with an example or a sample.
KEPT = 2000
NOTHING_ASKED = "There is nothing to answer in this row."


def without_pattern(rows: Iterable[Sequence[Message]], pattern: str, columns: Mapping[str, str]) -> list[Finding]:
    """Return what is to be said of rows whose expected answer holds nothing that `pattern` finds."""
    texts = [row[-1]["content"] if row else "" for row in rows]
    lost = [number for number, said in enumerate(patterns.found(texts, pattern), 1) if said is None]
    column = columns.get("completion") or columns.get("messages") or columns.get("text") or ""
    if texts and len(lost) == len(texts):
        return [error("pattern_not_found", "The answer pattern is found in no expected answer.", column,
                      "Correct the pattern, or leave it empty.")]
    if not lost:
        return []
    return [some("warning", "pattern_not_found", "The answer pattern is not found in what is expected", lost[:20],
                 len(lost), "Such rows do not count for it. Go on, or correct pattern or rows.", column)]


def compare(records: Sequence[dict[str, Any]], asked: Mapping[int, Question], model: Any, tokenizer: Any, *,
            most: int, pattern: str, continues: bool) -> None:
    """Let the model answer questions, by row, and add what it wrote, and its counts, to the records of these rows."""
    chosen = {record["row"]: record for record in records if record["row"] in asked}
    written = _written([asked[row] for row in chosen], model, tokenizer, most=most, continues=continues)
    counts = scores.compared(written, [[asked[row].expected] for row in chosen], pattern)
    for (row, record), text, count in zip(chosen.items(), written, counts, strict=True):
        record["input"], record["expected"] = asked[row].shown[:KEPT], asked[row].expected[:KEPT]
        record["predicted"], record["correct"] = text[:KEPT], bool(count.get("pattern_match", count["exact_match"]))
        record["counts"] |= count


def sample(asked: Mapping[int, Question], model: Any, tokenizer: Any, *, most: int,
           continues: bool) -> list[dict[str, Any]]:
    """Return what the model writes to questions, by row: {row, input, expected, written}."""
    written = _written(list(asked.values()), model, tokenizer, most=min(most, SAMPLE_TOKENS), continues=continues)
    return [{"row": row, "input": question.shown[:KEPT], "expected": question.expected[:KEPT], "written": text[:KEPT]}
            for (row, question), text in zip(asked.items(), written, strict=True)]


def _written(asked: Sequence[Question], model: Any, tokenizer: Any, *, most: int, continues: bool) -> list[str]:
    """Return the likeliest answers; raises Stopped when the run is to stop at once."""
    from engine.generation import answering

    found = answering.answers(model, tokenizer, [question.prompt for question in asked], most=most,
                              continues=continues, cancelled=Control.urgent)
    if Control.urgent():
        Control.check()
    return [answer.text if answer is not None else "" for answer in found]


def respond(asked: Asked, rows: Sequence[Mapping[str, Any]], *, most: int) -> list[Reply]:
    """Return the answer to each row; fewer when `asked.cancelled()`. A row that cannot be asked gets a note."""
    from engine.generation import answering

    tokenizer, options = asked.tokenizer, asked.options
    continues = "text" in asked.columns or not generate.talks(tokenizer)
    start = chat.begin_mark(tokenizer)
    prompts, notes = [], []
    for row in rows:
        prompt, note = _prompt(row, tokenizer, start, continues)
        prompts.append(prompt)
        notes.append(note)
    wanted = [prompt for prompt in prompts if prompt is not None]
    found = iter(answering.answers(
        asked.model, tokenizer, wanted, most=int(options.get("max_new_tokens", most)), continues=continues,
        temperature=float(options.get("temperature", 0.0)), top_p=float(options.get("top_p", 1.0)),
        seed=int(options.get("seed", 0)), cancelled=asked.cancelled))
    replies: list[Reply] = []
    for prompt, note in zip(prompts, notes, strict=True):
        answer = next(found) if prompt is not None else answering.Answer("", 0, 0)
        if answer is None:
            break
        replies.append(reply(answer.text, note or answer.note))
    return replies


def _prompt(row: Mapping[str, Any], tokenizer: Any, start: str, continues: bool) -> tuple[str | None, str]:
    try:
        question = questions.asked(row, tokenizer, start, continues=continues)
    except chat.TemplateRefuses as problem:
        return None, problem.what
    return (None, NOTHING_ASKED) if question is None else (question.prompt, "")


def reply(text: str, note: str = "") -> Reply:
    """Return a written text as a reply."""
    return Reply(label=text, scores={}, note=note, drawing=Prose(text=text).model_dump())
