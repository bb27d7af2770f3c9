"""What can be wrong with tagged words, with answers in passages, and with pairs of source and target texts."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from engine.data import cells, squad
from engine.data.compute import pc
from engine.data.findings import error, in_eval, some, warning
from engine.data.validate import columns_there, table_size, texts
from engine.findings import Finding

_LISTS = "Store them as lists (jsonl, parquet) or as CoNLL text, or map another column."


def tagging(table: pa.Table, columns: Mapping[str, str], eval_table: pa.Table | None = None) -> list[Finding]:
    """Return everything wrong or odd about lists of words (role `tokens`) and of their `tags`."""
    found = columns_there(table, columns, ("tokens", "tags"), eval_table)
    if found:
        return found
    found = table_size(table, eval_table)
    for part in (table, eval_table):
        if part is not None and part.num_rows:
            more = _tagged_rows(part, columns["tokens"], columns["tags"])
            found += in_eval(more) if part is eval_table else more
    if any(item.level == "error" for item in found) or not table.num_rows:
        return found
    known = pc.unique(pc.cast(cells.whole(table.column(columns["tags"])).flatten(), pa.string()))
    if len(known) == 1:
        found.append(error("one_label", f"Every word has the tag '{known[0]}'; there is nothing to tell apart.",
                           columns["tags"], "Add rows with other tags, or map another column."))
    if eval_table is not None and eval_table.num_rows:
        held = pc.unique(pc.cast(cells.whole(eval_table.column(columns["tags"])).flatten(), pa.string()))
        unseen = sorted(set(held.to_pylist()) - set(known.to_pylist()))
        if unseen:
            found.append(warning("label_unseen", "The evaluation file has tags that training lacks: "
                                 f"{', '.join(unseen[:5])}.", columns["tags"],
                                 "They count as missed. Go on, or add training rows with these tags."))
    return found


def _tagged_rows(table: pa.Table, words: str, tags: str) -> list[Finding]:
    for name in (words, tags):
        if not cells.is_list(table.column(name)):
            return [error("not_lists", f"The column '{name}' does not hold lists.", name, _LISTS)]
    first, second = (cells.whole(table.column(name)) for name in (words, tags))
    lengths = [pc.fill_null(pc.list_value_length(array), 0) for array in (first, second)]
    found: list[Finding] = []
    rows, count = cells.rows_where(pc.not_equal(*lengths))
    if count:
        found.append(some("error", "tags_unequal", "There are more or fewer tags than words", rows, count,
                          "Give every word one tag.", tags))
    rows, count = cells.rows_where(pc.equal(lengths[0], 0))
    if count == table.num_rows:
        return [error("text_empty", f"The column '{words}' is empty in every row.", words, "Map another column.")]
    if count:
        found.append(some("warning", "text_empty", "There are no words", rows, count,
                          "Such rows teach nothing. Go on, or remove them.", words))
    lost = pc.is_null(pc.cast(second.flatten(), pa.string()))
    parents = pc.list_parent_indices(second).filter(lost)
    if len(parents):
        rows = sorted({int(row) + 1 for row in parents.to_pylist()})
        found.append(some("error", "label_missing", "A word has no tag", rows[:cells.SHOWN], len(rows),
                          "Give every word a tag; O means none.", tags))
    return found


def answering(table: pa.Table, columns: Mapping[str, str], eval_table: pa.Table | None = None, *,
              unanswerable: bool = False) -> list[Finding]:
    """Return everything wrong or odd about questions, passages (role `context`) and answers."""
    found = columns_there(table, columns, ("question", "context", "answers"), eval_table)
    if found:
        return found
    found = table_size(table, eval_table)
    for part in (table, eval_table):
        if part is not None and part.num_rows:
            more = texts(part, columns["question"], few=True) + texts(part, columns["context"], few=True)
            if not any(item.level == "error" for item in more):
                more += _answered_rows(part, columns, unanswerable)
            found += in_eval(more) if part is eval_table else more
    return found


def _answered_rows(table: pa.Table, columns: Mapping[str, str], unanswerable: bool) -> list[Finding]:
    passages = cells.strings(table.column(columns["context"])).to_pylist()
    given = [squad.answers(value) for value in table.column(columns["answers"]).to_pylist()]
    empty = [not some_given for some_given in given]
    lost, moved = [], []
    for passage, answers in zip(passages, given, strict=True):
        places = [squad.place(answer, passage or "") for answer in answers]
        lost.append(bool(answers) and not any(places))
        moved.append(any(at and answer.start is not None and at[0] != answer.start
                         for at, answer in zip(places, answers, strict=True)))
    found: list[Finding] = []
    if all(a or b for a, b in zip(empty, lost, strict=True)):
        found.append(error("answers_missing", "No answer stands in its passage.", columns["answers"],
                           "Answers must be parts of the passage, word for word; map other columns, or choose "
                           "another task for answers in free form."))
    elif any(empty) and not unanswerable:
        found.append(some("error", "answer_empty", "There is no answer", *cells.rows_where(pa.array(empty)),
                          "Choose that some questions have no answer, or remove these rows.", columns["answers"]))
    if any(lost) and not any(item.level == "error" for item in found):
        found.append(some("warning", "answer_not_found", "The answer does not stand in the passage",
                          *cells.rows_where(pa.array(lost)),
                          "Such rows are not learned from. Go on, or correct them.", columns["answers"]))
    if any(moved):
        found.append(some("note", "answer_moved", "The answer stands elsewhere than its number says",
                          *cells.rows_where(pa.array(moved)), "The nearest place it stands at is taken.",
                          columns["answers"]))
    return found


def rewriting(table: pa.Table, columns: Mapping[str, str], eval_table: pa.Table | None = None) -> list[Finding]:
    """Return everything wrong or odd about texts (role `source`) and what is to be made of them (`target`)."""
    found = columns_there(table, columns, ("source", "target"), eval_table)
    if found:
        return found
    found = table_size(table, eval_table)
    for part in (table, eval_table):
        if part is not None and part.num_rows:
            few = part is eval_table
            more = [item for role in ("source", "target") for item in texts(part, columns[role], few=few)]
            found += in_eval(more) if few else more
    return found
