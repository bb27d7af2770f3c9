"""Broken files of questions, passages and answers, and of texts to be written anew."""

from __future__ import annotations

import json
from typing import Any

from beast import Beast, Write, data, document, lines, table

PASSAGE = "The river Elbe rises in Bohemia and flows through Hamburg to the North Sea."
ROLES = {"question": "question", "context": "context", "answers": "answers"}
PAIR = {"source": "source", "target": "target"}



def at(text: str, passage: str = PASSAGE) -> dict[str, Any]:
    """Return an answer with its right place."""
    return {"text": [text], "answer_start": [passage.find(text)]}


GOOD = [{"id": f"q{i}", "question": f"Where does river {i} rise?", "context": f"{i} {PASSAGE}",
         "answers": at("Bohemia", f"{i} {PASSAGE}")} for i in range(30)]


def asked(*answers: object, good: int = 30, question: object = "Where?", context: object = PASSAGE) -> Write:
    """Return a writer of questions as jsonl, those with these answers after `good` sound ones."""
    odd = [{"id": f"x{i}", "question": question, "context": context, "answers": answer}
           for i, answer in enumerate(answers)]
    return lines(*GOOD[:good], *odd)


def squad(*odd: dict[str, Any], context: str | None = PASSAGE) -> Write:
    """Return a writer of a SQuAD document: thirty sound questions, then odd ones about a second passage."""
    sound = [{"id": row["id"], "question": row["question"],
              "answers": [{"text": "Bohemia", "answer_start": PASSAGE.find("Bohemia")}]} for row in GOOD]
    return document({"version": "1.1", "data": [{"title": "Elbe", "paragraphs": [
        {"context": PASSAGE, "qas": sound}, {"context": context, "qas": list(odd)}]}]})


def beast(name: str, write: Write, kind: str, level: str, *rows: int, eval: Write | None = None,
          **options: Any) -> Beast:
    """Return a broken file of questions, whose columns a person has mapped."""
    return Beast(name, write, kind, level, ROLES, "question_answering", options, eval, rows)


def pairs(*odd: tuple[object, object]) -> Write:
    """Return a writer of texts and what is to be made of them, the broken ones after 30 sound ones."""
    return data(table([*((f"a long text number {i}", f"short {i}") for i in range(30)), *odd], ("source", "target")))


def rewritten(name: str, write: Write, kind: str, level: str, *rows: int, eval: Write | None = None,
              **options: Any) -> Beast:
    """Return a broken file of texts to be written anew."""
    return Beast(name, write, kind, level, PAIR, "seq2seq", options, eval, rows)


QUESTION = {"id": "x", "question": "Where?"}
BEASTS = [
    Beast("wrong_offset.squad", squad(QUESTION | {"answers": [{"text": "Hamburg", "answer_start": 3}]}),
          "answer_moved", "note", rows=(31,)),
    Beast("negative_offset.squad", squad(QUESTION | {"answers": [{"text": "North Sea.", "answer_start": -10}]}),
          "answer_moved", "note", rows=(31,)),
    Beast("offset_beyond.squad", squad(QUESTION | {"answers": [{"text": "Elbe", "answer_start": 10 ** 9}]}),
          "answer_moved", "note", rows=(31,)),
    Beast("text_offset.squad", squad(QUESTION | {"answers": [{"text": "Elbe", "answer_start": "ten"}]}),
          "answer_moved", "note", rows=(31,)),
    Beast("elsewhere.squad", squad(QUESTION | {"answers": [{"text": "Dresden", "answer_start": 3}]}),
          "answer_not_found", "warning", rows=(31,)),
    Beast("a_third_elsewhere.squad", squad(*[QUESTION | {"id": f"x{i}", "answers": [
        {"text": f"Dresden {i}", "answer_start": 3}]} for i in range(15)]), "answer_not_found", "warning",
        rows=tuple(range(31, 46))),
    Beast("all_elsewhere.squad", document({"data": [{"title": "Elbe", "paragraphs": [{"context": PASSAGE, "qas": [
        QUESTION | {"id": f"x{i}", "answers": [{"text": f"Dresden {i}", "answer_start": 3}]} for i in range(20)]}]}]}),
        "answers_missing", "error"),
    Beast("all_elsewhere.mrqa", lines(*({"context": f"{i} {PASSAGE}", "qas": [
        {"qid": str(i), "question": "Where?", "answers": ["Dresden"]}]} for i in range(20))), "answers_missing",
        "error"),
    Beast("no_question.squad", squad({"id": "x", "answers": [{"text": "Elbe", "answer_start": 10}]}),
          "text_empty", "warning", rows=(31,)),
    Beast("no_passage.squad", squad(QUESTION | {"answers": [{"text": "Elbe", "answer_start": 10}]}, context=None),
          "text_empty", "warning", rows=(31,)),
    Beast("ids_twice.squad", squad({"id": "q3", "question": "What?", "answers": [
        {"text": "Elbe", "answer_start": PASSAGE.find("Elbe")}]}), "ids_repeated", "warning", rows=(31,)),
    beast("no_answer_chosen.jsonl", asked({"text": [], "answer_start": []}), "answer_empty", "error", 31,
          unanswerable=False),
    beast("null_answer.jsonl", asked(None), "answer_empty", "error", 31, unanswerable=False),
    beast("all_unanswered.jsonl", asked(*[{"text": [], "answer_start": []}] * 30, good=0), "answers_none", "error"),
    beast("free_form.jsonl", asked(*[f"somewhere else {i}" for i in range(30)], good=0), "answers_missing", "error"),
    beast("long_answer.jsonl", asked(at(PASSAGE)), "answer_long", "warning", 31, longest_answer=8),
    beast("silent_evaluation.jsonl", asked(), "answers_none", "warning", unanswerable=True,
          eval=asked({"text": [], "answer_start": []}, good=0)),
    beast("leaked_questions.jsonl", asked(), "eval_overlap", "warning", 2,
          eval=lines(GOOD[0] | {"question": "When?"}, GOOD[4])),
    beast("deep_answer.csv", data(table([*((f"Where is {i}?", f"{i} {PASSAGE}", "Bohemia") for i in range(30)),
                                         ("Where?", PASSAGE, "[" * 100_000)], ("question", "context", "answers"))),
          "answer_not_found", "warning", 31),
    beast("two_answers.jsonl", asked(at("Elbe"), at("Hamburg")), "duplicates_conflict", "warning", 32),
    beast("broken_answers.csv", data(table([(f"Where is {i}?", f"{i} {PASSAGE}", json.dumps(at("Bohemia"))[:-3])
                                            for i in range(30)], ("question", "context", "answers"))),
          "answers_missing", "error"),
    rewritten("no_target.csv", pairs(("a text", ""), ("another", " ")), "text_empty", "warning", 31, 32),
    rewritten("no_source.csv", pairs(("", "a word")), "text_empty", "warning", 31),
    rewritten("all_targets_empty.csv", data(table([(f"text {i}", "") for i in range(30)], ("source", "target"))),
              "text_empty", "error"),
    rewritten("same_target.csv", data(table([(f"text {i}", "yes") for i in range(30)], ("source", "target"))),
              "text_constant", "error"),
    rewritten("long_target.csv", pairs(("a text", "word " * 200)), "target_long", "warning", 31, target_length=64),
    rewritten("lists_as_targets.jsonl", lines(*({"source": f"text {i}", "target": ["a", "b"]} for i in range(30))),
              "not_text", "error"),
    rewritten("leaked_pairs.csv", pairs(), "eval_overlap", "warning", 1,
              eval=data(table([("a long text number 3", "other words"), ("new", "text")], ("source", "target")))),
]
