"""Scores of written answers: those of the libraries everybody uses, and sums that any part of the rows adds up to."""

from __future__ import annotations

import random
import time

import pytest
import sacrebleu

from engine import rouge
from engine.evaluation import resampling
from engine.generation import pattern, scores
from engine.tasks import get

CHANCE = random.Random(1)
WORDS = ["the", "cat", "sat", "on", "a", "mat", "was", "here."]


def texts(count: int) -> list[str]:
    return [" ".join(CHANCE.choice(WORDS) for _ in range(CHANCE.randint(1, 9))) for _ in range(count)]


#: What rouge_score 0.1.2 says, without stemming.
@pytest.mark.parametrize(("written", "expected", "one", "two", "order"), [
    ("the cat sat on the mat", "the cat is on the mat", 5 / 6, 3 / 5, 5 / 6),
    ("police kill the gunman", "police killed the gunman", 3 / 4, 1 / 3, 3 / 4),
    ("a a b", "a b b c", 4 / 7, 2 / 5, 4 / 7),
    ("It costs $5.50, really!", "really it costs 5.50", 1.0, 3 / 4, 4 / 5),
    ("", "x y", 0.0, 0.0, 0.0), ("one", "One.", 1.0, 0.0, 1.0)])
def test_rouge_is_that_of_its_own_library(written: str, expected: str, one: float, two: float, order: float) -> None:
    assert rouge.scores(written, expected) == pytest.approx({"rouge1": one, "rouge2": two, "rougeL": order})


@pytest.mark.parametrize("references", [1, 3])
def test_bleu_and_chrf_are_sacrebleu_s_whatever_part_of_the_rows_is_summed(references: int) -> None:
    written, columns = texts(40), [texts(40) for _ in range(references)]
    counts = scores.compared(written, [list(row) for row in zip(*columns, strict=True)])
    for rows in (range(40), range(5), range(0, 40, 7)):
        part, right = [written[i] for i in rows], [[column[i] for i in rows] for column in columns]
        found = scores.summary([counts[i] for i in rows])
        assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(part, right).score)
        assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(part, right).score)


def test_an_answer_is_held_against_the_reference_it_comes_closest_to() -> None:
    counts = scores.compared(["the cat sat down", "no", ""], [["a dog", "the  cat sat down"], ["yes"], ["yes"]])
    found = scores.summary(counts)
    assert [count["exact_match"] for count in counts] == [1, 0, 0]
    assert found["exact_match"] == found["rouge1"] == found["rougeL"] == pytest.approx(1 / 3)
    assert found["bleu"] > 0 and scores.summary([counts[1]])["bleu"] == 0.0


def test_intervals_of_every_metric_come_from_sums_alone() -> None:
    counts = scores.compared(texts(30), [[text] for text in texts(30)], "(cat|mat)")
    records = [{"counts": scores.losses(float(i), 2) | (count if i % 3 else {})} for i, count in enumerate(counts)]
    task = get("causal_lm")()
    gauge = resampling.gauge(task.summarise, records)
    once = [1.0] * len(records)
    import numpy as np

    assert gauge(np.asarray(once)) == pytest.approx(task.summarise(records))
    twice = [2.0 if i < 10 else 0.0 for i in range(len(records))]
    assert gauge(np.asarray(twice)) == pytest.approx(task.summarise(records[:10] * 2))
    found = resampling.intervals(gauge, len(records), 100, shares=task.shares(records))
    assert set(found) >= {"loss", "perplexity", "bleu", "chrf", "rougeL", "exact_match", "pattern_match"}


@pytest.mark.parametrize(("text", "found"), [
    ("so 3 + 4 = 7\n#### 7", "7"), ("#### 1,234.50", "1234.5"), ("#### $20.", "20"), ("#### 5\n#### 6", "6"),
    ("the answer is 7", None), ("#### Ten  Apples.", "ten apples"), ("#### -0", "0"), ("#### 50%", "50%"), ("", None)])
def test_the_last_match_of_a_pattern_is_compared_as_the_number_it_is(text: str, found: str | None) -> None:
    assert pattern.found([text], r"####\s*(.+)") == [found]


def test_a_pattern_without_parentheses_counts_whole_and_is_found_whole() -> None:
    assert pattern.found(["12 and 345 apples", "none"], r"\d+") == ["345", None]


def test_a_pattern_that_would_never_end_elsewhere_takes_no_time() -> None:
    began = time.perf_counter()
    assert pattern.found(["a" * 200_000 + "b"], "(a+)+$") == [None]
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize("wrong", ["(", "(?<=a)b", r"(a)\1", "x*", "[z-a]", "a{2000}"])
def test_what_is_no_pattern_is_refused_with_a_reason(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"RE2|empty text"):
        pattern.check(wrong)


def test_rows_whose_answer_has_no_such_pattern_do_not_count_for_it() -> None:
    counts = scores.compared(["#### 8", "#### 7", "no"], [["#### 8.0"], ["nothing"], ["#### 1"]], "#### (.+)")
    assert scores.summary(counts)["pattern_match"] == 1 / 2


def test_few_rows_are_chosen_evenly() -> None:
    assert scores.spread(10, 3) == [0, 3, 6] and scores.spread(2, 5) == [0, 1] and scores.spread(0, 3) == []
