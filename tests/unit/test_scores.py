"""Scores that everybody compares: entities as conlleval, exact match and F1 as SQuAD's script, ROUGE-L."""

from __future__ import annotations

import pytest

from engine import answers, rouge, spans


@pytest.mark.parametrize(("tags", "expected"), [
    ("B-PER I-PER O B-LOC", [("PER", 0, 1), ("LOC", 3, 3)]),
    ("B-PER B-PER I-PER", [("PER", 0, 0), ("PER", 1, 2)]),
    ("I-PER I-PER O I-LOC", [("PER", 0, 1), ("LOC", 3, 3)]),
    ("B-PER I-LOC I-LOC", [("PER", 0, 0), ("LOC", 1, 2)]),
    ("O O", []), ("", []),
    ("B-PER I-PER E-PER S-LOC S-LOC", [("PER", 0, 2), ("LOC", 3, 3), ("LOC", 4, 4)]),
    ("B-PER L-PER U-LOC I-LOC", [("PER", 0, 1), ("LOC", 2, 2), ("LOC", 3, 3)]),
    ("B-a-b I-a-b", [("a-b", 0, 1)])])
def test_entities_are_read_as_conlleval_reads_them(tags: str, expected: list[spans.Span]) -> None:
    assert spans.entities(tags.split()) == expected


def test_tags_without_marks_make_runs() -> None:
    assert spans.entities(["PER", "PER", "O", "LOC", "PER"], "runs") == [("PER", 0, 1), ("LOC", 3, 3), ("PER", 4, 4)]


def test_parts_of_speech_stand_for_themselves() -> None:
    assert spans.entities(["DET", "NOUN", "NOUN"], "words") == [("DET", 0, 0), ("NOUN", 1, 1), ("NOUN", 2, 2)]


@pytest.mark.parametrize(("predicted", "expected", "exact", "f1"), [
    ("The Rome!", ["rome"], 1, 1), ("in Rome", ["Rome"], 0, 2 / 3), ("Oslo", ["Rome", "oslo."], 1, 1),
    ("", [], 1, 1), ("Rome", [], 0, 0), ("", ["Rome"], 0, 0), ("a", ["the"], 1, 1),
    ("big big dog", ["big dog"], 0, 4 / 5)])
def test_answers_are_compared_as_the_official_script_does(predicted: str, expected: list[str], exact: float,
                                                          f1: float) -> None:
    assert answers.exact(predicted, expected) == exact
    assert answers.f1(predicted, expected) == pytest.approx(f1)


@pytest.mark.parametrize(("predicted", "expected", "score"), [
    ("police kill the gunman", "police killed the gunman", 3 / 4),
    ("the gunman kill police", "police killed the gunman", 2 / 4),
    ("", "one", 0.0), ("One, two!", "one two", 1.0)])
def test_rouge_l_is_that_of_the_paper_s_examples(predicted: str, expected: str, score: float) -> None:
    assert rouge.rouge_l(predicted, expected) == pytest.approx(score)
