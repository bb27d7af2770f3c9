"""Rows alike: near-duplicates against comparing each with each, leaks, contradictions; and samples of labels."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pyarrow as pa
import pytest

from engine import tasks
from engine.data import leaks, near, samples
from engine.data.errors import Cancelled

WORDS = ["parcel", "invoice", "refund", "winter", "garden", "engine", "mirror", "copper", "silent", "border", "market",
         "planet", "yellow", "thunder", "library", "kitchen", "morning", "station", "welcome", "history"]
COLUMNS = {"text": "text", "label": "label"}


def sentences(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choice(WORDS) + str(rng.randrange(100)) for _ in range(12)) for _ in range(count)]


def alike(one: str, two: str) -> float:
    """Return the share of common pieces, found plainly."""
    first, second = ({text.encode()[i:i + near.PIECE] for i in range(len(text.encode()) - near.PIECE + 1)}
                     for text in (one, two))
    return len(first & second) / len(first | second)


def test_near_duplicates_are_those_that_comparing_each_with_each_finds() -> None:
    texts = sentences(150)
    texts += [text.replace("1", "2", 1) for text in texts[:40]] + [f"{text} !!" for text in texts[40:60]]
    texts += ["", None, "ab"]  # type: ignore[list-item]
    array = pa.array(texts)
    clean = near.plain(array).to_pylist()
    wanted = {(i, j) for (i, one), (j, two) in itertools.combinations(enumerate(clean), 2)
              if min(len(one), len(two)) >= near.PIECE and alike(one, two) >= near.ALIKE}
    found = near.pairs(array)
    assert len(wanted) > 40
    assert {(pair.first, pair.second) for pair in found} == wanted
    assert all(abs(pair.alike - alike(clean[pair.first], clean[pair.second])) < 1e-3 for pair in found)


def test_letters_of_several_bytes_and_slices_of_tables_are_compared_alike() -> None:
    texts = ["Größe über alles in der schönen Stadt München", "größe über ALLES, in der schönen Stadt München!",
             "日本語の文章はここにあります。とても長い文です", "日本語の文章はここにあります とても長い文です",
             "something else entirely here"]
    array = pa.chunked_array([pa.array(["padding", *texts])]).slice(1).combine_chunks()
    assert [(pair.first, pair.second, pair.alike) for pair in near.pairs(array)] == [(0, 1, 1.0), (2, 3, 1.0)]


def test_comparing_stops_when_it_is_cancelled() -> None:
    with pytest.raises(Cancelled):
        near.pairs(pa.array(sentences(10)), cancelled=lambda: True)


def test_repeats_contradictions_and_leaks_are_listed_with_their_rows() -> None:
    texts = sentences(30)
    table = pa.table({"text": [*texts, texts[0].upper(), texts[1], texts[2][:-1] + "x"],
                      "label": ["a"] * 30 + ["a", "b", "a"]})
    other = pa.table({"text": [texts[4], "quite another thing to say", texts[5] + "?", texts[6][:-1] + "z"],
                      "label": ["a"] * 4})
    heard: list[float] = []
    found = leaks.find(table, COLUMNS, {"label"}, other, progress=lambda part, _: heard.append(part))
    assert found.same_count == 2 and [group.rows for group in found.same] == [[1, 31], [2, 32]]
    assert found.conflict_count == 2 and found.conflicts[0].rows == [2, 32] and found.conflicts[0].answers == ["a", "b"]
    assert found.near_count == 1 and found.near[0].rows == [3, 33] and 0.8 <= found.near[0].alike < 1
    assert found.leak_count == 1 and found.near_leak_count == 2
    assert [(leak.row, leak.same_as) for leak in found.leaks] == [(1, 5), (3, 6), (4, 7)]
    assert found.done == ["same", "near"] and heard == sorted(heard) and heard[-1] == 1.0


def test_without_rows_to_evaluate_on_nothing_is_said_of_leaks() -> None:
    found = leaks.find(pa.table({"text": ["a thing", None, ""], "label": ["x", "y", "y"]}), COLUMNS, {"label"})
    assert (found.leak_count, found.near_leak_count, found.same_count, found.leaks) == (None, None, 0, [])


def test_every_label_has_a_few_rows_that_have_it() -> None:
    labels = [f"label {i % 7}" for i in range(200)] + ["rare", None, " "]
    table = pa.table({"text": [f"t{i}" for i in range(203)], "label": labels})
    task = tasks.get("text_classification")()
    found = samples.of(table, task, COLUMNS)
    assert found == samples.of(table, task, COLUMNS)
    assert found.label_count == 8 and found.labels[-1].label == "rare" and found.labels[-1].rows == [201]
    for one in found.labels:
        assert one.count == labels.count(one.label) and len(one.rows) == min(samples.EACH, one.count)
        assert all(labels[row - 1] == one.label for row in one.rows)


def test_kinds_of_entities_and_several_labels_count_as_labels() -> None:
    tags = pa.table({"tokens": [["a", "b"], ["c"], ["d"]], "tags": [["B-PER", "I-PER"], ["O"], ["B-LOC"]]})
    found = samples.of(tags, tasks.get("token_classification")(), {"tokens": "tokens", "tags": "tags"})
    assert [(one.label, one.count, one.rows) for one in found.labels] == [("LOC", 1, [3]), ("PER", 1, [1])]
    several = pa.table({"text": ["a", "b"], "label": ["x|y", "y"]})
    task = tasks.get("text_classification")(problem="multi_label")  # pyright: ignore[reportCallIssue]
    assert {one.label: one.rows for one in samples.of(several, task, COLUMNS).labels} == {"x": [1], "y": [1, 2]}
    plain = samples.of(pa.table({"text": ["a"] * 40}), tasks.get("causal_lm")(), {"text": "text"})
    assert not plain.labelled and len(plain.labels[0].rows) == samples.PLAIN
    assert list(plain.labels[0].rows) == sorted(np.unique(plain.labels[0].rows))


@pytest.mark.parametrize(("words", "threshold"), [(3, 0.6), (5, 0.6), (12, 0.8), (40, 0.6), (200, 0.9)])
def test_hardly_a_pair_is_missed_whatever_the_lengths_and_the_threshold(words: int, threshold: float) -> None:
    rng = random.Random(words)
    texts = [" ".join(rng.choice(WORDS) + str(rng.randrange(100)) for _ in range(words)) for _ in range(80)]
    for text in texts[:60]:
        at = rng.randrange(len(text))
        texts.append(f"{text[:at]}q{text[at + 1:]}")
    clean = near.plain(pa.array(texts)).to_pylist()
    pieces = [{text[i:i + near.PIECE] for i in range(len(text) - near.PIECE + 1)} for text in clean]
    wanted = {(i, j) for (i, one), (j, two) in itertools.combinations(enumerate(pieces), 2)
              if clean[i] != clean[j] and len(one & two) >= threshold * len(one | two)}
    found = {(pair.first, pair.second) for pair in near.pairs(pa.array(texts), threshold)}
    assert len(wanted) > 40 and not {pair for pair in found - wanted if clean[pair[0]] != clean[pair[1]]}
    assert len(found & wanted) >= 0.98 * len(wanted)


def test_of_many_texts_alike_no_more_pairs_are_compared_than_allowed() -> None:
    texts = pa.array([f"The order number {i} has been shipped to the usual address today" for i in range(3000)])
    heard: list[float] = []
    found = near.pairs(texts, most=500, progress=heard.append)
    assert len(found) == 500 and heard == sorted(heard) and heard[-1] == 1.0
    assert len(near.pairs(texts)) > 2999 and set(near.groups(near.pairs(texts)).values()) == {0}


def test_only_the_beginnings_are_compared_where_that_is_asked() -> None:
    start = "a beginning that both of them have in common, word by word. "
    texts = pa.array([start + "one goes on so " * 9, start + "the other ends in quite another way " * 9])
    assert near.pairs(texts) == [] and near.pairs(texts, letters=60) == [near.Pair(0, 1, 1.0)]
