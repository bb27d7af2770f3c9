"""What is wrong with conversations is said with the row, and with the message where it is one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.data import columns, read, validate
from engine.data.errors import from_finding
from engine.data.findings import beyond, some
from engine.findings import Finding
from studio import cards
from worker.orders.inspect_dataset import plain

GOOD = [[{"role": "user", "content": f"question {i}"}, {"role": "assistant", "content": "answer"}] for i in range(9)]


def found(folder: Path, *conversations: Any) -> dict[str, Finding]:
    """Return the findings of reading and checking conversations, by kind."""
    path, out = folder / "chat.jsonl", folder / "rows.parquet"
    path.write_text("\n".join(json.dumps({"messages": item}) for item in conversations))
    ingested = read.ingest(path, out)
    table = read.read(out)
    guess = columns.guess(table)
    assert (guess.task, guess.columns) == ("causal_lm", {"messages": "messages"})
    assert table.num_rows == len(conversations) and table.column_names == ["messages"]
    return {item.kind: item for item in [*ingested.findings, *validate.language(table, guess.columns)]}


def turns(*roles: str) -> list[dict[str, str]]:
    return [{"role": role, "content": f"words of {role}"} for role in roles]


@pytest.mark.parametrize(("cell", "said"), [
    ("just a text", "is not a list of messages"), (7, "is not a list of messages"),
    ({"role": "user", "content": "hi"}, "is not a list of messages"), (["a", "b"], "message 1 is not an object"),
    ([{"a": 1}], "message 1 has neither role nor content"),
    ([*turns("user"), {"a": 1}], "message 2 has neither role nor content")])
def test_a_cell_that_is_no_conversation_is_an_error_that_names_its_row(tmp_path: Path, cell: Any, said: str) -> None:
    finding = found(tmp_path, *GOOD[:3], cell, *GOOD[4:])["messages_malformed"]
    assert (finding.level, finding.rows) == ("error", [4])
    assert finding.what.startswith("Row 4: ") and said in finding.what
    assert "`role` and `content`" in finding.try_this


@pytest.mark.parametrize(("content", "said"), [
    ({"x": 1}, "an object"), (7, "a number"), (True, "true or false"), ([{"type": "image"}], "a list without text")])
def test_content_that_is_not_text_is_named_by_row_and_message(tmp_path: Path, content: Any, said: str) -> None:
    cell = [*turns("user"), {"role": "assistant", "content": content}]
    finding = found(tmp_path, *GOOD[:3], cell, *GOOD[4:])["messages_malformed"]
    assert (finding.level, finding.rows) == ("error", [4])
    assert finding.what == f"Row 4: the content of message 2 is {said}, not text (column 'messages')."


def test_parts_of_a_content_that_are_text_are_kept(tmp_path: Path) -> None:
    cell = [*turns("user"), {"role": "assistant", "content": [{"type": "text", "text": "Yes."}]}]
    assert "messages_malformed" not in found(tmp_path, *GOOD, cell)


@pytest.mark.parametrize("call", [{"tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]},
                                  {"function_call": {"name": "f", "arguments": "{}"}}])
def test_tool_calls_are_left_out_and_said_to_be(tmp_path: Path, call: dict[str, Any]) -> None:
    asked, answer = turns("user", "assistant")
    cell = [asked, {"role": "assistant", "content": None} | call, {"role": "tool", "content": "42"},
            {"role": "assistant", "content": "It is 42."} | call, asked, answer]
    every = found(tmp_path, *GOOD, cell, cell)
    finding = every["tool_calls"]
    assert (finding.level, finding.rows, finding.count) == ("warning", [10, 11], 2)
    assert "Tools are not learned: the call and what the tool said were left out" in finding.what
    assert not {"content_blank", "content_missing", "role_order"} & set(every)
    told = read.read(tmp_path / "rows.parquet").column("messages")[9].as_py()
    assert [one["content"] for one in told] == ["words of user", "It is 42.", "words of user", "words of assistant"]


def test_a_conversation_of_tool_calls_alone_has_no_answer(tmp_path: Path) -> None:
    cell = [*turns("user"), {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]
    assert found(tmp_path, *GOOD, cell)["no_answer"].rows == [10]


def test_a_row_that_cannot_be_read_is_not_called_empty_as_well(tmp_path: Path) -> None:
    every = found(tmp_path, *GOOD[:3], "just a text", *GOOD[4:], [])
    reading = [plain(every["messages_malformed"])]
    (told,) = beyond(reading, [plain(every["conversation_empty"])])
    assert (told["rows"], told["count"], told["what"]) == ([10], 1, "The conversation is empty in row 10.")
    every = found(tmp_path, *GOOD[:3], "just a text", *GOOD[4:])
    assert beyond(reading, [plain(every["conversation_empty"]), {"kind": "few_rows"}]) == [{"kind": "few_rows"}]


@pytest.mark.parametrize(("cell", "said"), [
    ("just a text", "is not a list of messages"), (["a", "b"], "message 1 is not an object"),
    ([{"a": 1}, {"b": 2}], "message 1 has neither role nor content"),
    ({"role": "user", "content": "hi"}, "is not a list of messages")])
def test_a_messages_column_without_any_conversation_says_what_is_expected(tmp_path: Path, cell: Any, said: str) -> None:
    every = found(tmp_path, *[cell] * 30)
    finding = every["not_messages"]
    assert (finding.level, finding.rows[0], finding.count) == ("error", 1, 30)
    assert said in finding.what and finding.where == "row 1, column messages"
    assert '[{"role": "user"' in finding.try_this and '{"role": "user"' in from_finding(finding).try_this
    assert "text_constant" not in every


def test_roles_out_of_order_are_named_by_row_and_message(tmp_path: Path) -> None:
    every = found(tmp_path, *GOOD, turns("user", "assistant", "user", "user", "assistant"),
                  turns("system", "assistant", "user", "assistant"))
    finding = every["role_order"]
    assert (finding.level, finding.rows) == ("warning", [10, 11])
    assert "in 2 rows (10, message 4; 11, message 2)" in finding.what
    assert finding.where == "row 10, message 4, column messages"


def test_a_row_with_nothing_to_learn_is_an_error_and_no_warning_beside(tmp_path: Path) -> None:
    every = found(tmp_path, *GOOD, turns("user", "user"))
    assert every["no_answer"].level == "error" and every["no_answer"].rows == [10]
    assert "role_order" not in every


def test_a_late_system_message_is_named_by_its_place(tmp_path: Path) -> None:
    finding = found(tmp_path, *GOOD, turns("user", "assistant", "system", "user", "assistant"))["system_late"]
    assert (finding.level, finding.where) == ("error", "row 10, message 3, column messages")


def test_a_finding_about_no_column_names_none() -> None:
    assert some("warning", "odd", "Odd", [2, 5], 2, "", "").where == "row 2"


@pytest.mark.parametrize(("finding", "place"), [
    (some("warning", "odd", "Odd", [2], 1, "", "text"), "row 2, column text"),
    (some("warning", "odd", "Odd", [2, 5], 2, "", "text"), "column text · rows 2, 5"),
    (some("warning", "odd", "Odd", [2, 5], 2, "", ""), "rows 2, 5"),
    (some("error", "odd", "Odd", [2], 1, "", "chat", [3]), "row 2, message 3, column chat"),
    (some("error", "odd", "Odd", [2, 7], 2, "", "chat", [3, 1]), "column chat · rows 2, 7"),
    (some("error", "odd", "Odd", list(range(1, 21)), 2500, "", "text"),
     "column text · rows 1, 2, 3, 4, 5, 6, 7, 8 and 2,492 more"),
    (Finding(kind="odd", level="error", what="Odd", where="row 4", rows=[4], count=1), "row 4"),
    (Finding(kind="odd", level="error", what="Odd", where="row 4", rows=[4, 6], count=2), "rows 4, 6"),
    (Finding(kind="odd", level="note", what="Odd", where="label", count=3), "label · 3 times"),
    (Finding(kind="odd", level="note", what="Odd", where="data.csv", rows=[1200]), "data.csv · row 1,200"),
    (Finding(kind="odd", level="note", what="Odd"), "")])
def test_where_a_finding_is_names_each_row_once(finding: Finding, place: str) -> None:
    assert finding.place == place
    assert cards.findings([finding]).count('class="ps-where"') == bool(place)
    assert place in cards.findings([finding])
