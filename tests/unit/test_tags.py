"""Tags: how they are read and mended, which rows of them make sense, and entity scores beside those of seqeval."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from engine import entity_scores, spans
from engine.data import tags
from engine.tasks import get

LABELS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
ROLES = {"tokens": "w", "tags": "t"}
#: Rows of tags expected and predicted.
EXPECTED = ["O O B-MISC I-MISC I-MISC O B-PER", "B-PER I-PER O B-LOC", "B-LOC B-LOC O B-ORG I-ORG",
            "I-PER O B-PER I-LOC", "O O O", "B-ORG I-ORG I-ORG"]
PREDICTED = ["O O O B-MISC I-MISC I-MISC B-PER", "B-PER I-PER O B-LOC", "B-LOC I-LOC O B-ORG O",
             "B-PER O B-PER I-LOC", "B-PER O O", "B-ORG B-ORG I-ORG"]
#: What seqeval 1.2.2 says of them, by type: precision, recall, F1, support.
BY_TYPE = {"LOC": (0.6667, 0.5, 0.5714, 4), "MISC": (0, 0, 0, 1), "ORG": (0, 0, 0, 2), "PER": (0.8, 1, 0.8889, 4)}
OVER_ALL = {"precision": 0.5, "recall": 0.5455, "f1": 0.5217}


@pytest.mark.parametrize(("known", "how"), [
    (["O", "B-PER", "I-PER"], "marked"), (["I-PER", "O"], "marked"), (["S-PER", "O"], "marked"),
    (["PER", "O"], "runs"), (["DET", "NOUN"], "words"), (["0", "1"], "words")])
def test_how_tags_are_to_be_read_shows_in_their_names(known: list[str], how: str) -> None:
    assert spans.scheme(known) == how


@pytest.mark.parametrize(("given", "mended"), [
    ("O I-PER I-PER", "O B-PER I-PER"), ("B-PER I-LOC I-LOC", "B-PER B-LOC I-LOC"), ("I-PER", "B-PER"),
    ("B-PER I-PER O", "B-PER I-PER O"), ("B-PER E-PER I-PER", "B-PER E-PER B-PER"), ("S-PER I-PER", "S-PER B-PER")])
def test_entities_that_begin_with_i_begin_with_b_afterwards(given: str, mended: str) -> None:
    rows = pa.array([["O"], given.split(), None, []], pa.list_(pa.string()))
    assert spans.repaired(given.split()) == mended.split()
    assert spans.entities(mended.split()) == spans.entities(given.split())
    assert tags.strays(rows).tolist() == ([1] if given != mended else [])
    assert tags.strays(rows.slice(1, 2)).tolist() == ([0] if given != mended else [])


def test_entity_scores_are_those_of_seqeval() -> None:
    rows = [(a.split(), b.split()) for a, b in zip(EXPECTED, PREDICTED, strict=True)]
    total = entity_scores.added(entity_scores.tally(a, b, "marked") for a, b in rows)
    found = {kind: tuple(round(value, 4) for value in (one["precision"], one["recall"], one["f1"], one["support"]))
             for kind, one in entity_scores.by_type(total).items()}
    assert found == BY_TYPE
    over_all = [sum(own[i] for own in total.values()) for i in range(3)]
    assert {k: round(v, 4) for k, v in entity_scores.figures(*over_all).items()} == OVER_ALL
    assert entity_scores.figures(0, 0, 0) == {"f1": 0.0, "precision": 0.0, "recall": 0.0}


def test_entities_taken_for_others_are_counted_by_the_one_they_share_words_with() -> None:
    rows = [(["B-PER", "I-PER", "O", "B-LOC", "O"], ["B-ORG", "I-ORG", "O", "O", "B-LOC"]),
            (["B-PER", "I-PER", "O"], ["B-PER", "O", "O"])]
    found = entity_scores.confusion(rows, "marked")
    assert found["labels"] == ["LOC", "ORG", "PER", "O"]
    assert found["counts"] == [[0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0]]
    assert entity_scores.confusion([(["DET"], ["NOUN"])], "words")["labels"] == ["DET", "NOUN"]


def _sensible(path: tuple[str, ...]) -> bool:
    return spans.repaired(path) == list(path)


def test_the_best_row_of_tags_is_the_likeliest_that_makes_sense() -> None:
    random = np.random.default_rng(0)
    allowed = spans.following(LABELS)
    for _ in range(20):
        scores = np.log(random.dirichlet(np.ones(len(LABELS)), size=4))
        found = tuple(LABELS[i] for i in spans.best(scores, allowed))
        rows = [row for row in itertools.product(range(len(LABELS)), repeat=4)
                if _sensible(tuple(LABELS[i] for i in row))]
        wanted = max(rows, key=lambda row: scores[range(4), row].sum())
        assert found == tuple(LABELS[i] for i in wanted)
    assert spans.best(np.zeros((0, 5)), allowed).tolist() == []


def test_what_was_begun_must_end_where_ends_are_marked() -> None:
    labels = ["O", "B-X", "I-X", "E-X", "S-X"]
    allowed = spans.following(labels)
    follows = {labels[i]: {labels[j] for j in range(5) if allowed[i, j]} for i in range(5)}
    assert follows == {"O": {"O", "B-X", "S-X"}, "E-X": {"O", "B-X", "S-X"}, "S-X": {"O", "B-X", "S-X"},
                       "B-X": {"I-X", "E-X"}, "I-X": {"I-X", "E-X"}}
    assert allowed[:, -1].tolist() == [True, False, False, True, True, True]


@pytest.mark.parametrize("labels", [["O", "I-X", "I-Y"], ["DET", "NOUN"], ["O", "PER"]])
def test_tags_without_beginnings_may_follow_in_any_order(labels: list[str]) -> None:
    assert spans.following(labels).all()


@pytest.mark.parametrize(("cell", "expected"), [
    ("EU rejects it", ["EU", "rejects", "it"]), ('["EU", "rejects"]', ["EU", "rejects"]),
    ("['EU', \"it's\"]", ["EU", "it's"]), ("['EU' 'rejects']", ["EU", "rejects"]), ("[0 1 0]", ["0", "1", "0"]),
    ("[0, 1]", ["0", "1"]), ("[sic] it", ["[sic]", "it"]), ("", None), (None, None), (["a", None], ["a", None])])
def test_lists_are_understood_however_they_were_written(cell: Any, expected: Any) -> None:
    assert tags.split(cell) == expected


def test_tags_are_mended_and_known_by_their_mended_names() -> None:
    task = get("token_classification")()
    table = pa.table({"w": [["a", "b"], ["c"], ["d"]], "t": [["I-PER", "I-PER"], ["B-LOC"], ["O"]]})
    assert task.label_names(table, ROLES) == ["O", "B-LOC", "B-PER", "I-PER"]
    plain = pa.table({"w": [["a", "b"]], "t": [["I-PER", "O"]]})
    assert task.label_names(plain, ROLES) == ["O", "I-PER"]
