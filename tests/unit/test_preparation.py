"""Each step of preparation: what it does, what it refuses, and that it does the same again."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from engine import preparation
from engine.data.chat import MESSAGES
from engine.errors import StudioError
from engine.preparation import NothingLeft, StepInvalid
from engine.preparation.base import StepColumn, StepTaken, StepValue

TABLE = pa.table({"text": ["one two three", "four five", "six", "one two three"], "label": ["a", "b", "a", "c"],
                  "stars": [1, 2, 3, 4]})


def done(table: pa.Table, *steps: dict[str, Any], seed: int = 42, held: pa.Table | None = None,
         **options: Any) -> preparation.Prepared:
    """Return what steps make of a table."""
    return preparation.apply(table, preparation.parse(list(steps)), seed, held=held, **options)


def refused(*steps: dict[str, Any], table: pa.Table = TABLE) -> StudioError:
    """Return why steps are refused."""
    with pytest.raises(StudioError) as caught:
        done(table, *steps)
    assert not re.search(r"\{[a-z_]+\}", caught.value.what + caught.value.try_this)
    return caught.value


def labels(rows: int, **sizes: int) -> pa.Table:
    """Return numbered rows with so many of each label, shuffled."""
    names = [name for name, count in sizes.items() for _ in range(count)]
    assert len(names) == rows
    order = np.random.default_rng(0).permutation(rows)
    return pa.table({"row": range(rows), "label": [names[i] for i in order]})


# -- columns -----------------------------------------------------------------------------------------------------------


def test_columns_are_renamed_in_place_and_may_exchange_their_names() -> None:
    made = done(TABLE, {"name": "rename", "names": {"text": "label", "label": "text"}}).train
    assert made.column_names == ["label", "text", "stars"]
    assert made["label"].to_pylist() == TABLE["text"].to_pylist()


def test_columns_are_dropped_or_kept() -> None:
    assert done(TABLE, {"name": "drop", "columns": ["stars"]}).train.column_names == ["text", "label"]
    kept = done(TABLE, {"name": "drop", "columns": ["stars", "text"], "keep": True}).train
    assert kept.column_names == ["text", "stars"]


def test_a_template_writes_a_column() -> None:
    template = "{{{stars}}} {text}: {label}"
    made = done(TABLE, {"name": "template", "column": "prompt", "template": template}).train
    assert made["prompt"].to_pylist()[:2] == ["{1} one two three: a", "{2} four five: b"]
    table = pa.table({"a": ["x", None], "chat": pa.array([[{"role": "user", "content": "Hi"}], None], MESSAGES)})
    made = done(table, {"name": "template", "column": "a", "template": "{a}|{chat}"}).train
    assert made["a"].to_pylist() == ["x|user: Hi", "|"] and made.column_names == ["a", "chat"]
    step = {"name": "template", "column": "b", "template": "{a}!", "skip_empty": True}
    assert done(table, step).train["b"].to_pylist() == ["x!", None]
    assert done(table, {"name": "template", "column": "b", "template": "same"}).train["b"].to_pylist() == ["same"] * 2


@pytest.mark.parametrize(("template", "said"), [
    ("{text", "character 1"), ("a } b", "character 3"), ("a {} b", "no column"), ("{a{b}}", "character 1")])
def test_a_faulty_template_is_refused_at_its_character(template: str, said: str) -> None:
    error = refused({"name": "template", "template": template})
    assert isinstance(error, StepInvalid) and said in error.what and "data.steps.0.template" in error.where


@pytest.mark.parametrize(("step", "kind", "said"), [
    ({"name": "rename", "names": {"body": "text"}}, StepColumn, "body"),
    ({"name": "rename", "names": {"text": "label"}}, StepTaken, "label"),
    ({"name": "drop", "columns": ["txt"]}, StepColumn, "Did you mean 'text'?"),
    ({"name": "template", "template": "{sentence}"}, StepColumn, "sentence"),
    ({"name": "map_labels", "column": "none", "labels": {"a": "b"}}, StepColumn, "none"),
    ({"name": "deduplicate", "columns": ["none"]}, StepColumn, "none"),
    ({"name": "balance", "column": "none"}, StepColumn, "none"),
    ({"name": "split", "way": "grouped", "column": "none"}, StepColumn, "none")])
def test_a_column_that_is_not_there_is_named(step: dict[str, Any], kind: type[StudioError], said: str) -> None:
    error = refused(step)
    assert isinstance(error, kind) and said in error.what + error.try_this


def test_columns_are_followed_through_the_steps() -> None:
    steps = preparation.parse([{"name": "rename", "names": {"text": "sentence"}},
                               {"name": "drop", "columns": ["stars"]},
                               {"name": "template", "column": "prompt", "template": "{sentence}?"}])
    assert preparation.columns_after(steps, TABLE.column_names) == ["sentence", "label", "prompt"]
    assert preparation.renamed(steps, "text") == "sentence" and preparation.formerly(steps, "sentence") == "text"
    with pytest.raises(StepColumn):
        preparation.columns_after(steps, ["label", "stars"])


# -- rows --------------------------------------------------------------------------------------------------------------


def test_rows_are_filtered_and_counted() -> None:
    made = done(TABLE, {"name": "filter", "where": "words(text) > 1 and stars < 4"})
    assert made.train["stars"].to_pylist() == [1, 2]
    assert made.report[0]["rows_before"] == 4 and made.report[0]["rows_after"] == 2
    assert next(made.sentences()) == \
        "Step 1, keep rows where words(text) > 1 and stars < 4: 4 → 2 rows. 2 rows left out."
    dropped = done(TABLE, {"name": "filter", "where": "words(text) > 1 and stars < 4", "drop": True})
    assert dropped.train["stars"].to_pylist() == [3, 4]


def test_a_step_that_leaves_no_row_is_named() -> None:
    error = refused({"name": "sample", "rows": 3}, {"name": "filter", "where": "stars > 9"})
    assert isinstance(error, NothingLeft) and "Step 2" in error.what and error.where == "data.steps.1"
    with pytest.raises(NothingLeft, match="to evaluate on"):
        done(TABLE, {"name": "filter", "where": "stars < 9"}, held=TABLE.set_column(2, "stars", pa.array([10] * 4)))


def test_exact_repeats_go_and_the_first_stays() -> None:
    table = pa.table({"text": ["Hello", "hello ", "Bye", "Hello", None, ""], "n": [1, 2, 3, 1, 5, 6]})
    one = done(table, {"name": "deduplicate", "columns": ["text"]})
    assert one.train["n"].to_pylist() == [1, 3, 5]
    assert one.report[0]["pairs"][:2] == [{"row": 2, "same_as": 1, "alike": 1.0},
                                          {"row": 4, "same_as": 1, "alike": 1.0}]
    strict = done(table, {"name": "deduplicate", "columns": ["text"], "loose": False})
    assert strict.train["n"].to_pylist() == [1, 2, 3, 5]
    assert done(table, {"name": "deduplicate"}).train["n"].to_pylist() == [1, 2, 3, 5, 6]


def test_repeated_conversations_go() -> None:
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    table = pa.table({"messages": pa.array([chat, chat, chat[:1]], MESSAGES)})
    assert done(table, {"name": "deduplicate"}).train.num_rows == 2


WORDS = [f"{name}{i}" for i in range(400) for name in ("river", "stone", "cloud")]


def test_near_repeats_are_found_and_others_stay() -> None:
    draw = np.random.default_rng(5)
    texts = [" ".join(draw.choice(WORDS, 30)) for _ in range(300)]
    near = [text.upper().replace(" ", ", ", 3) + " indeed" for text in texts[:60]]
    table = pa.table({"text": texts + near, "n": range(360)})
    made = done(table, {"name": "deduplicate", "columns": ["text"], "way": "near", "threshold": 0.8})
    assert made.train["n"].to_pylist() == list(range(300))
    pairs = made.report[0]["pairs"]
    assert pairs[0]["row"] == 301 and pairs[0]["same_as"] == 1 and 0.8 <= pairs[0]["alike"] < 1
    assert "60 rows left out" in made.report[0]["note"]
    strict = done(table, {"name": "deduplicate", "columns": ["text"], "way": "near", "threshold": 1.0})
    assert strict.train.num_rows == 360


def test_near_repeats_of_short_and_empty_texts() -> None:
    table = pa.table({"text": ["ok", "OK!", "no", "", None, "...", "an entirely different thing to say"]})
    made = done(table, {"name": "deduplicate", "way": "near"})
    assert made.train["text"].to_pylist() == ["ok", "no", "", None, "...", "an entirely different thing to say"]


def test_repeats_of_rows_to_evaluate_on_go_when_asked() -> None:
    held = pa.table({"text": ["six ", "new"], "label": ["a", "a"], "stars": [0, 0]})
    made = done(TABLE, {"name": "deduplicate", "columns": ["text"], "leaks": True}, held=held)
    assert made.train["text"].to_pylist() == ["one two three", "four five"]
    assert made.eval is held and made.report[0]["pairs"][0] == {"row": 3, "same_as": None, "alike": 1.0}
    assert "1 row repeated one to evaluate on" in made.report[0]["note"]


def test_some_rows_are_kept() -> None:
    table = pa.table({"n": range(100)})
    assert done(table, {"name": "sample", "rows": 3, "way": "first"}).train["n"].to_pylist() == [0, 1, 2]
    drawn = done(table, {"name": "sample", "rows": 10}).train["n"].to_pylist()
    assert drawn == sorted(drawn) and len(set(drawn)) == 10 and drawn != list(range(10))
    assert done(table, {"name": "sample", "rows": 1000}).train.num_rows == 100


# -- labels ------------------------------------------------------------------------------------------------------------


def test_labels_are_renamed_merged_and_left_out() -> None:
    step = {"name": "map_labels", "column": "label", "labels": {"a": "x", "b": "x", "c": "", "d": "y"}}
    made = done(TABLE, step)
    assert made.train["label"].to_pylist() == ["x", "x", "x"] and "No row has 'd'" in made.report[0]["note"]
    only = done(TABLE, {"name": "map_labels", "column": "label", "labels": {"a": "x"}, "others": "drop"})
    assert only.train["label"].to_pylist() == ["x", "x"]
    numbers = done(TABLE, {"name": "map_labels", "column": "stars", "labels": {"1": "low", "4": "high"}}).train
    assert numbers["stars"].to_pylist() == ["low", "2", "3", "high"]
    several = pa.table({"tags": pa.array([["a", "b"], [], None, ["c"]])})
    mapped = done(several, {"name": "map_labels", "column": "tags", "labels": {"a": "x", "b": "x"}}).train
    assert mapped["tags"].to_pylist() == [["x", "x"], [], None, ["c"]]


def test_rare_labels_are_merged_by_what_there_is_to_learn() -> None:
    table, held = labels(23, a=12, b=8, c=2, d=1), labels(6, a=1, b=1, c=3, d=1)
    made = done(table, {"name": "merge_labels", "column": "label", "rarer_than": 3}, held=held)
    assert Counter(made.train["label"].to_pylist()) == {"a": 12, "b": 8, "other": 3}
    assert made.eval is not None and Counter(made.eval["label"].to_pylist()) == {"a": 1, "b": 1, "other": 4}
    named = done(table, {"name": "merge_labels", "column": "label", "labels": ["a", "b"], "into": "ab"})
    assert Counter(named.train["label"].to_pylist()) == {"ab": 20, "c": 2, "d": 1}


def test_labels_are_balanced_by_repeating_or_dropping() -> None:
    table = labels(23, a=12, b=8, c=2, d=1)
    repeated = done(table, {"name": "balance", "column": "label"}).train
    assert Counter(repeated["label"].to_pylist()) == dict.fromkeys("abcd", 12)
    assert set(repeated["row"].to_pylist()) == set(range(23))
    dropped = done(table, {"name": "balance", "column": "label", "way": "drop", "ratio": 4}).train
    assert Counter(dropped["label"].to_pylist()) == {"a": 4, "b": 4, "c": 2, "d": 1}
    most = done(table, {"name": "balance", "column": "label", "ratio": 4}).train
    assert Counter(most["label"].to_pylist()) == {"a": 12, "b": 8, "c": 3, "d": 3}


def test_rows_to_evaluate_on_are_set_aside_before_rows_are_repeated() -> None:
    def divide(table: pa.Table, later: Any) -> tuple[pa.Table, pa.Table]:
        return table.slice(3), table.slice(0, 3)
    made = done(labels(23, a=12, b=8, c=2, d=1), {"name": "filter", "where": "row >= 1"},
                {"name": "balance", "column": "label"}, divide=divide)
    assert made.eval is not None and made.eval["row"].to_pylist() == [1, 2, 3]
    assert not set(made.eval["row"].to_pylist()) & set(made.train["row"].to_pylist())
    assert made.report[1]["note"].startswith("3 rows to evaluate on were set aside before.")


STEPS: list[list[dict[str, Any]]] = [
    [{"name": "filter", "where": "row >= 3"}, {"name": "sample", "rows": 15}, {"name": "balance", "column": "label"}],
    [{"name": "deduplicate", "columns": ["label"], "leaks": False}],
    [{"name": "filter", "where": "row != 4"}, {"name": "split", "share": 0.3},
     {"name": "balance", "column": "label", "way": "drop"}],
    [{"name": "map_labels", "column": "label", "labels": {"a": "x"}, "others": "drop"}],
    [{"name": "windows", "column": "text", "size": 2, "stride": 1}]]


@pytest.mark.parametrize("steps", STEPS, ids=lambda steps: steps[-1]["name"])
@pytest.mark.parametrize("own", [False, True], ids=["set aside", "of its own"])
def test_every_row_knows_which_row_it_was_made_of(steps: list[dict[str, Any]], own: bool) -> None:
    table, held = (part.append_column("text", pa.array([f"{row} is row {row}" for row in part["row"].to_pylist()]))
                   for part in (labels(23, a=12, b=8, c=2, d=1), labels(9, a=4, b=5)))
    made = done(table, *steps, held=held if own else None, divide=lambda rows, later: (rows.slice(3), rows.slice(0, 3)))
    assert made.train["row"].to_pylist() == made.rows.tolist()
    if made.eval is not None and made.eval_rows is not None:
        assert made.eval["row"].to_pylist() == made.eval_rows.tolist()
    assert (made.eval is None) == (made.eval_rows is None)


def test_other_rows_are_prepared_as_those_to_evaluate_on_with_what_the_steps_learned() -> None:
    steps = [{"name": "merge_labels", "column": "label", "rarer_than": 3}, {"name": "filter", "where": "row >= 0"},
             {"name": "balance", "column": "label"}, {"name": "drop", "columns": ["gone"]}]
    table = labels(23, a=12, b=8, c=2, d=1)
    made = done(table.append_column("gone", table["row"]), *steps)
    others, said = made.others(labels(6, a=1, b=1, c=3, d=1))
    assert Counter(others["label"].to_pylist()) == {"a": 1, "b": 1, "other": 4} and said == []
    others, said = made.others(pa.table({"label": ["c"]}))
    assert others["label"].to_pylist() == ["other"]
    assert len(said) == 1 and said[0].startswith("Step 2, keep rows where row >= 0, is left out: ")
    assert "there is no column 'row'" in said[0]


# -- splits ------------------------------------------------------------------------------------------------------------


def parts(table: pa.Table, **step: Any) -> tuple[list[int], list[int]]:
    """Return the rows to learn from and to evaluate on."""
    made = done(table, {"name": "split", **step})
    assert made.eval is not None
    return made.train["row"].to_pylist(), made.eval["row"].to_pylist()


def test_a_random_split_loses_no_row() -> None:
    table = labels(100, a=90, b=10)
    train, held = parts(table, share=0.2)
    assert sorted(train + held) == list(range(100)) and len(held) == 20
    assert parts(table, share=0.2) == (train, held)


def test_a_stratified_split_keeps_shares() -> None:
    made = done(labels(100, a=90, b=10), {"name": "split", "way": "stratified", "column": "label", "share": 0.2})
    assert made.eval is not None and Counter(made.eval["label"].to_pylist()) == {"a": 18, "b": 2}


def test_a_grouped_split_keeps_groups_whole() -> None:
    groups = [f"g{i % 17}" if i % 10 else None for i in range(200)]
    table = pa.table({"row": range(200), "group": groups})
    train, held = parts(table, way="grouped", column="group", share=0.25)
    assert sorted(train + held) == list(range(200)) and 30 <= len(held) <= 70
    assert not {groups[i] for i in train if groups[i]} & {groups[i] for i in held if groups[i]}
    with pytest.raises(StepValue, match="same value in every row"):
        parts(pa.table({"row": range(5), "group": ["g"] * 5}), way="grouped", column="group")


@pytest.mark.parametrize("times", [
    list(range(10)), [f"{i}" for i in range(10)], [f"2024-01-{i + 1:02d}" for i in range(10)],
    [f"2024-01-{i + 1:02d}T10:00:00Z" for i in range(10)], [f"{i + 1:02d}.03.2024" for i in range(10)],
    pa.array(range(10), pa.timestamp("ms")), pa.array(range(10), pa.date32())])
def test_a_split_by_time_keeps_the_latest(times: Any) -> None:
    order = np.random.default_rng(1).permutation(10)
    column = times.take(pa.array(order)) if isinstance(times, pa.Array) else [times[i] for i in order]
    train, held = parts(pa.table({"row": order, "when": column}), way="time", column="when", share=0.3)
    assert sorted(held) == [7, 8, 9] and sorted(train) == list(range(7))


def test_rows_of_one_moment_stay_together_and_rows_without_one_are_learned() -> None:
    table = pa.table({"row": range(7), "when": ["2020", "2021", "2021", "2021", "", None, "2019"]})
    assert parts(table, way="time", column="when", share=0.15) == ([0, 4, 5, 6], [1, 2, 3])


def test_times_that_cannot_be_compared_are_named_by_row() -> None:
    table = pa.table({"row": range(3), "when": ["2024-01-01", "next week", "2024-01-03"]})
    with pytest.raises(StepValue, match="row 2: 'next week'"):
        parts(table, way="time", column="when")
    mixed = pa.table({"row": range(2), "when": ["2024-01-01", "01.02.2024"]})
    with pytest.raises(StepValue, match="different ways"):
        parts(mixed, way="time", column="when")


def test_a_file_to_evaluate_on_takes_the_place_of_a_split() -> None:
    made = done(TABLE, {"name": "split"}, held=TABLE)
    assert made.train is TABLE and made.eval is TABLE and "Nothing is split" in made.report[0]["note"]


# -- lengths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "made"), [
    ({"limit": 2}, "one  two"), ({"limit": 2, "keep": "end"}, "four\nfive"),
    ({"limit": 3, "keep": "both"}, "one  two … five"), ({"limit": 1, "keep": "both"}, "one …"),
    ({"limit": 5}, "one  two three four\nfive"), ({"limit": 6, "unit": "characters"}, "one  t"),
    ({"limit": 6, "unit": "characters", "keep": "end"}, "r\nfive")])
def test_texts_are_cut_between_words(step: dict[str, Any], made: str) -> None:
    table = pa.table({"text": ["one  two three four\nfive", "a", None]})
    assert done(table, {"name": "shorten", "column": "text", **step}).train["text"].to_pylist() == [made, "a", None]


def test_windows_overlap_and_cover_the_whole_text() -> None:
    text = " ".join(f"w{i}" for i in range(10))
    table = pa.table({"text": [text, "short", None], "label": ["a", "b", "c"]})
    made = done(table, {"name": "windows", "column": "text", "size": 4, "stride": 3}).train
    assert made["text"].to_pylist() == ["w0 w1 w2 w3", "w3 w4 w5 w6", "w6 w7 w8 w9", "short", None]
    assert made["label"].to_pylist() == ["a", "a", "a", "b", "c"]
    longer = done(table, {"name": "windows", "column": "text", "size": 4, "stride": 4}).train
    assert longer["text"].to_pylist()[:3] == ["w0 w1 w2 w3", "w4 w5 w6 w7", "w8 w9"]


# -- together ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "where", "said"), [
    ("filter", "data.steps", "not a list"), ([{"name": "none"}], "data.steps.0.name", "no step 'none'"),
    ([{"where": "a"}], "data.steps.0", "with a name"), ([7], "data.steps.0", "with a name"),
    ([{"name": "filter"}], "data.steps.0.where", "missing"),
    ([{"name": "filter", "where": "a = 1", "wher": 2}], "data.steps.0.wher", "'wher' is not a setting"),
    ([{"name": "filter", "where": "1 = 1"}], "data.steps.0.where", "no column"),
    ([{"name": "filter", "where": "a >"}], "data.steps.0.where", "character 4"),
    ([{"name": "sample", "rows": 0}], "data.steps.0.rows", "Rows must be at least 1"),
    ([{"name": "split", "way": "time"}], "data.steps.0", "needs a column"),
    ([{"name": "merge_labels", "column": "a"}], "data.steps.0", "nothing is merged"),
    ([{"name": "windows", "column": "a", "size": 2, "stride": 3}], "data.steps.0", "longer than the window"),
    ([{"name": "rename", "names": {"a": "x", "b": "x"}}], "data.steps.0.names", "two columns"),
    ([{"name": "rename", "names": {}}], "data.steps.0.names", "must not be empty"),
    ([{"name": "split"}, {"name": "split"}], "data.steps.1", "only once"),
    ([{"name": "balance", "column": "a"}, {"name": "split"}], "data.steps.1", "parts of one row"),
    ([{"name": "sample"}] * 51, "data.steps", "at most 50")])
def test_faulty_steps_are_refused_by_name(steps: Any, where: str, said: str) -> None:
    with pytest.raises(StepInvalid if "wher'" not in said else StudioError) as caught:
        preparation.parse(steps)
    assert caught.value.where == where and said in caught.value.what


def test_every_step_has_a_card_and_reads_back_what_it_writes() -> None:
    given: dict[str, dict[str, Any]] = {
        "rename": {"names": {"text": "t"}}, "drop": {"columns": ["stars"]}, "filter": {"where": "stars > 1"},
        "map_labels": {"column": "label", "labels": {"a": "b"}}, "merge_labels": {"column": "label", "rarer_than": 2},
        "template": {"template": "{text}"}, "shorten": {"column": "text"}, "windows": {"column": "text"},
        "balance": {"column": "label"}}
    for name, kind in preparation.every().items():
        step = preparation.parse([{"name": name, **given.get(name, {})}])[0]
        assert preparation.parse([step.model_dump(mode="json")]) == [step]
        assert kind.card.title and kind.card.summary and step.told() and kind.__doc__
        assert all(info.description for field, info in kind.model_fields.items() if field != "name")
        assert step.after(TABLE.column_names) == step.change(TABLE, preparation.Setting(np.random.default_rng(0))
                                                             ).table.column_names


def test_the_same_seed_gives_the_same_rows_and_another_one_others() -> None:
    table = labels(300, a=200, b=80, c=20)
    steps = [{"name": "sample", "rows": 200}, {"name": "split", "way": "stratified", "column": "label", "share": 0.2},
             {"name": "balance", "column": "label", "way": "drop", "ratio": 2}]
    first, second, other = (done(table, *steps, seed=seed) for seed in (7, 7, 8))
    assert first.train.equals(second.train) and first.eval is not None and first.eval.equals(second.eval)
    assert not first.train.equals(other.train)


def test_rows_to_evaluate_on_are_changed_alike_and_may_lack_columns() -> None:
    held = pa.table({"sentence": ["six"], "label": ["b"]})
    made = done(TABLE, {"name": "rename", "names": {"text": "sentence"}}, {"name": "drop", "columns": ["stars"]},
                {"name": "map_labels", "column": "label", "labels": {"b": "x"}}, {"name": "sample", "rows": 2},
                {"name": "deduplicate"}, held=held)
    assert made.eval is not None and made.eval.to_pylist() == [{"sentence": "six", "label": "x"}]
    lost = done(TABLE, {"name": "template", "column": "t", "template": "{stars}"}, held=held)
    assert lost.eval is held and "no column 'stars'" in lost.report[0]["note"]
    with pytest.raises(StudioError, match="In the rows to evaluate on"):
        done(TABLE, {"name": "filter", "where": "stars > 0"}, held=held)


def test_no_rows_are_no_trouble() -> None:
    empty = TABLE.slice(0, 0)
    for step in ({"name": "deduplicate", "way": "near"}, {"name": "deduplicate"}, {"name": "split"},
                 {"name": "balance", "column": "label"}, {"name": "windows", "column": "text"},
                 {"name": "shorten", "column": "text"}, {"name": "template", "template": "{text}"},
                 {"name": "merge_labels", "column": "label", "rarer_than": 2},
                 {"name": "map_labels", "column": "label", "labels": {"a": "b"}},
                 {"name": "filter", "where": "stars > 1"}):
        assert done(empty, step).train.num_rows == 0
