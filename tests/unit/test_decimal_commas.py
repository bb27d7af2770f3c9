"""Numbers with a decimal comma, as spreadsheets in many languages write them, are read as numbers."""

import pyarrow as pa
import pytest

from engine import tasks
from engine.data import answer_counts, cells, columns, labels

SCORES = [f"{1 + i % 4},{(i * 37) % 100:02d}" for i in range(60)]


def table(values):
    return pa.table({"text": [f"a text of some words, number {i}" for i in range(len(values))], "score": values})


def test_a_column_of_decimal_commas_is_a_score_and_not_several_labels():
    guess = columns.guess(table(SCORES))
    assert guess.task == "text_classification"
    assert guess.options == {"problem": "regression"}


@pytest.mark.parametrize("values", [
    ["1,2", "1,2,3", "3", "2,3", "1", "2"] * 10, ["1,2", "2,3", "1,3", "3", "2", "1"] * 10,
    ["12,15", "3,12", "3", "15"] * 10], ids=["three labels", "pairs", "two digits"])
def test_lists_of_numbered_labels_stay_lists(values):
    assert columns.guess(table(values)).options == {"problem": "multi_label"}


@pytest.mark.parametrize(("values", "read"), [
    (["1,29", "4", "-0,5", "+2,25"], [1.29, 4, -0.5, 2.25]), (["1.234,56", "1.234", "7"], [1234.56, 1234, 7]),
    (["1,5", "1.5", "2,5"], [1.5, 1.5, 2.5]), (["1,234", "0,234"], [1.234, 0.234]), (["1,2,3", "1,5"], [None, 1.5]),
    (["1,234", "12,345"], [None, None]), (["1.5", "1,5", "2.5"], [1.5, None, 2.5])])
def test_a_number_is_read_by_how_its_column_is_written(values, read):
    assert cells.numbers(pa.chunked_array([values])).to_pylist() == read


def test_it_is_said_that_commas_are_read_as_points():
    found = labels.check(table(SCORES), "score", "regression")
    assert [(one.level, one.what) for one in found] == [
        ("note", "'score' has decimal commas: 1,00 is read as 1.00.")]
    told = labels.evaluated(table(SCORES), table(["1,29", "2,5"]), "score", "regression")
    assert [one.what for one in told] == ["In the evaluation file: 'score' has decimal commas: 1,29 is read as 1.29."]


def test_a_comma_that_may_part_thousands_is_asked_about():
    only = labels.check(table(["1,234", "12,345", "2,100"]), "score", "regression")[0]
    assert (only.kind, only.count) == ("label_not_number", 3)
    assert "1,234 can be read as 1234 or as 1.234" in only.try_this


def test_training_and_statistics_read_the_same_numbers():
    rows, named = table(["1,29", "3,5", "2"]), {"text": "text", "label": "score"}
    task = tasks.get("text_classification")(problem="regression")
    assert task._targets(rows, named, ["score"]) == [1.29, 3.5, 2.0]
    assert answer_counts.of(rows, task, named)["label_numbers"].max == 3.5
