"""Answers in passages: the likeliest of a window, when to say that there is none, and what is said to a person."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from engine import answers, passages
from engine.tasks import get

OFFSETS = np.array([[-1, -1], [-1, -1], [0, 2], [3, 7], [8, 10], [10, 11], [-1, -1]])


@pytest.mark.parametrize("longest", [1, 2, 3, 30])
def test_the_likeliest_answers_are_those_of_a_full_search(longest: int) -> None:
    random = np.random.default_rng(longest)
    for _ in range(20):
        scores = random.normal(size=(len(OFFSETS), 2)).astype(np.float32)
        every = sorted(((float(scores[i, 0] + scores[j, 1]), int(OFFSETS[i, 0]), int(OFFSETS[j, 1]))
                        for i, j in itertools.product(range(2, 6), repeat=2) if 0 <= j - i < longest), reverse=True)
        found = passages.likeliest(scores, OFFSETS, longest, 5)
        assert [(one.start, one.end) for one in found] == [one[1:] for one in every[:5]]
        assert passages.likeliest(scores, OFFSETS, longest)[0].score == pytest.approx(every[0][0])


def test_a_window_without_the_passage_holds_no_answer() -> None:
    assert passages.likeliest(np.zeros((3, 2)), np.full((3, 2), -1), 5) == []
    few = passages.likeliest(np.zeros((7, 2)), OFFSETS, 1, 20)
    assert len(few) == 4


@pytest.mark.parametrize(("margins", "spoken", "silent", "expected"), [
    ([-3.0, -2.0, 2.0, 4.0], [1, 1, 0, 0], [0, 0, 1, 1], 0.0), ([1.0, 2.0, 3.0, 4.0], [1, 1, 0, 0], [0, 0, 1, 1], 2.5),
    ([-4.0, -3.0], [1, 0], [0, 1], -3.5), ([-4.0, -3.0], [0, 0], [1, 1], -5.0), ([3.0, 4.0], [1, 1], [0, 0], 4.0),
    ([2.0, 2.0, 2.0], [1, 1, 0], [0, 0, 1], 2.0), ([], [], [], 0.0)])
def test_the_margin_for_no_answer_gives_the_highest_score(margins: list[float], spoken: list[float],
                                                          silent: list[float], expected: float) -> None:
    assert answers.best_margin(margins, spoken, silent) == pytest.approx(expected)


def test_the_margin_for_no_answer_is_never_worse_than_any_other() -> None:
    random = np.random.default_rng(1)
    for _ in range(50):
        margins = random.integers(-3, 4, 8).astype(float)
        spoken, silent = random.random(8), random.integers(0, 2, 8).astype(float)

        def mean(margin: float, m: np.ndarray = margins, a: np.ndarray = spoken, b: np.ndarray = silent) -> float:
            return float(np.where(m > margin, b, a).mean())

        best = mean(answers.best_margin(margins.tolist(), spoken.tolist(), silent.tolist()))
        assert best == pytest.approx(max(mean(at) for at in np.arange(-4, 5) + 0.5))


def test_records_add_up_to_the_official_parts() -> None:
    task = get("question_answering")(unanswerable=True)
    counts = [{"rows": 1.0, "exact": e, "f1": f, "answerable": a, "exact_answerable": e * a, "f1_answerable": f * a,
               "loss": 1.0, "terms": 2} for e, f, a in ((1, 1, 1), (0, 0.5, 1), (1, 1, 0), (0, 0, 0))]
    found = task.summarise([{"counts": own} for own in counts])
    assert found == {"f1": 0.625, "exact_match": 0.5, "has_answer_f1": 0.75, "has_answer_exact_match": 0.5,
                     "no_answer_accuracy": 0.5, "loss": 0.5}
    assert task.summarise([]) == {}
    assert "no_answer_accuracy" not in task.summarise([{"counts": counts[0]}])


def test_questions_are_told_apart_by_the_word_that_asks() -> None:
    questions = ["Who came?", "In what town?", "who else?", "Name a town."]
    found = answers.by_question(questions, [1, 0, 0, 1], [1, 0.5, 0.5, 1])
    assert found == {"who": {"f1": 0.75, "exact_match": 0.5, "questions": 2},
                     "what": {"f1": 0.5, "exact_match": 0.0, "questions": 1},
                     "other": {"f1": 1.0, "exact_match": 1.0, "questions": 1}}
    assert answers.by_question(["Wo?"], [1], [1]) == {}
