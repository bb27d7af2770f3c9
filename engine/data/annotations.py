"""What can be wrong with tagged words, with answers in passages, and with pairs of source and target texts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from engine import spans
from engine.data import cells, squad, tags
from engine.data.compute import pc
from engine.data.findings import error, in_eval, note, some, warning
from engine.data.validate import columns_there, table_size, texts
from engine.findings import Finding, Level

_LISTS = "Store them as lists (jsonl, parquet), with blanks between, or as CoNLL text, or map another column."
_MARK = re.compile(r"[BIESLU]-.")


def tagging(table: pa.Table, columns: Mapping[str, str], eval_table: pa.Table | None = None) -> list[Finding]:
    """Return everything wrong or odd about lists of words (role `tokens`) and of their `tags`."""
    found = columns_there(table, columns, ("tokens", "tags"), eval_table)
    if found:
        return found
    found = table_size(table, eval_table)
    words, own = columns["tokens"], columns["tags"]
    read: dict[bool, pa.ListArray] = {}
    for part in (table, eval_table):
        if part is not None and part.num_rows:
            held = part is eval_table
            more = _not_lists(part, (words, own))
            if not more:
                read[held] = tags.lists(part.column(own))
                more = _tagged_rows(tags.lists(part.column(words)), read[held], words, own)
            found += in_eval(more) if held else more
    if any(item.level == "error" for item in found) or False not in read:
        return found
    known = set(pc.unique(read[False].flatten()).to_pylist())
    found += _tag_names(read[False], known, own)
    return found + (_held_tags(read[True], known, own) if True in read else [])


def _not_lists(table: pa.Table, names: Sequence[str]) -> list[Finding]:
    kinds = {name: table.column(name).type for name in names}
    return [error("not_lists", f"The column '{name}' does not hold lists of words.", name, _LISTS)
            for name, kind in kinds.items()
            if not (cells.is_list(table.column(name)) or pt.is_string(kind) or pt.is_large_string(kind))]


def _tagged_rows(words: pa.ListArray, given: pa.ListArray, first: str, second: str) -> list[Finding]:
    lengths = [pc.fill_null(pc.list_value_length(array), 0) for array in (words, given)]
    found: list[Finding] = []
    uneven = pc.not_equal(*lengths)
    rows, count = cells.rows_where(uneven)
    if count:
        sizes = [int(array[rows[0] - 1].as_py()) for array in lengths]
        what = f"There are more or fewer tags than words ({sizes[0]:,} words and {sizes[1]:,} tags at first)"
        found.append(some("error", "tags_unequal", what, rows, count,
                          "Give every word one tag, or leave these rows out.", second))
    rows, count = cells.rows_where(pc.equal(lengths[0], 0))
    if count == len(words):
        return [error("text_empty", f"The column '{first}' is empty in every row.", first, "Map another column.")]
    if count:
        found.append(some("warning", "text_empty", "There are no words", rows, count,
                          "Such rows teach nothing. Go on, or remove them.", first))
    blank = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(words.flatten()), ""), True)
    found += _within(words, blank, "warning", "word_empty", "A word is empty",
                     "It is never found. Go on, or remove it and its tag.", first)
    lost = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(given.flatten()), ""), True)
    return found + _within(given, lost, "error", "label_missing", "A word has no tag",
                           "Give every word a tag; O means none.", second)


def _within(lists: pa.ListArray, mask: pa.Array, level: Level, kind: str, what: str, try_this: str,
            column: str) -> list[Finding]:
    """Return a finding about the rows in which `mask`, a truth for each word, is true."""
    rows = np.unique(np.asarray(pc.list_parent_indices(lists).filter(mask))) + 1
    shown = [int(row) for row in rows[:cells.SHOWN]]
    return [some(level, kind, what, shown, len(rows), try_this, column)] if len(rows) else []


def _tag_names(given: pa.ListArray, known: set[str], column: str) -> list[Finding]:
    """Return what is odd about the tags of the training rows."""
    if len(known) == 1:
        return [error("one_label", f"Every word has the tag '{next(iter(known))}'; there is nothing to tell apart.",
                      column, "Add rows with other tags, or map another column.")]
    found: list[Finding] = []
    if spans.begins(known):
        rows = tags.strays(given)
        if len(rows):
            found.append(some("note", "tags_repaired", "An entity begins with I- instead of B-",
                              [int(row) + 1 for row in rows[:cells.SHOWN]], len(rows),
                              "It is read as B-. Nothing needs to be done.", column))
    elif any(tag.startswith("I-") for tag in known):
        found.append(note("tags_without_beginnings", "No tag begins with B-, so two entities of one type that follow "
                          "each other are read as one.", column, "Nothing needs to be done if there are none."))
    odd = sorted(tag for tag in known if not (tag == "O" or _MARK.match(tag)))
    if odd and len(odd) < len(known - {"O"}):
        found += _within(given, pc.is_in(given.flatten(), value_set=pa.array(odd, pa.string())), "warning", "tags_odd",
                         f"Unlike other tags, {', '.join(map(repr, odd[:5]))} has neither B- nor I- in front",
                         "It is read as a type of its own. Correct it if it is a slip.", column)
    if odd and all(tag.isdigit() for tag in odd) and len(odd) == len(known):
        found.append(warning("tags_numbered", "The tags are numbers, so nobody can tell which of them make entities.",
                             column, "Give them their names (B-PER, I-PER, O); else each word counts by itself."))
    return found


def _held_tags(given: pa.ListArray, known: set[str], column: str) -> list[Finding]:
    """Return what evaluation rows hold that training rows lack, and whether there is anything to find in them."""
    found: list[Finding] = []
    held = set(pc.unique(given.flatten()).to_pylist())
    repaired = {f"B-{tag[2:]}" for tag in known if tag.startswith("I-")} if spans.begins(known) else set[str]()
    unseen = sorted(held - known - repaired)
    if unseen:
        found += _within(given, pc.is_in(given.flatten(), value_set=pa.array(unseen, pa.string())), "warning",
                         "label_unseen", f"The evaluation file has tags that training lacks ({', '.join(unseen[:5])})",
                         "They count as missed. Go on, or add training rows with these tags.", column)
    if held == {"O"}:
        found.append(warning("entities_missing", "The evaluation file marks nothing: every tag is O, so F1 is 0 "
                             "whatever is learned.", column, "Choose another file for evaluation."))
    return found


def answering(table: pa.Table, columns: Mapping[str, str], eval_table: pa.Table | None = None, *,
              unanswerable: bool = False, longest: int = 0) -> list[Finding]:
    """Return everything wrong or odd about questions, passages (role `context`) and answers.

    `longest` is how many words an answer may have to be looked for; 0: any number.
    """
    found = columns_there(table, columns, ("question", "context", "answers"), eval_table)
    if found:
        return found
    found = table_size(table, eval_table)
    for part in (table, eval_table):
        if part is not None and part.num_rows:
            more = texts(part, columns["question"], few=True) + texts(part, columns["context"], few=True)
            if not any(item.level == "error" for item in more):
                more += _answered_rows(part, columns, unanswerable, longest, held=part is eval_table)
            found += in_eval(more) if part is eval_table else more
    return found


def _answered_rows(table: pa.Table, columns: Mapping[str, str], unanswerable: bool, longest: int,
                   held: bool) -> list[Finding]:
    passages = cells.strings(table.column(columns["context"])).to_pylist()
    given = [squad.answers(value) for value in table.column(columns["answers"]).to_pylist()]
    empty = [not known for known in given]
    if all(empty):
        return [_nothing_to_find(columns["answers"], unanswerable and held)]
    places = [[squad.place(answer, passage or "") for answer in answers]
              for passage, answers in zip(passages, given, strict=True)]
    lost = [bool(known) and not any(found) for known, found in zip(given, places, strict=True)]
    if all(a or b for a, b in zip(empty, lost, strict=True)):
        return [error("answers_missing", "No answer stands in its passage.", columns["answers"],
                      "Answers must be parts of the passage, word for word; map other columns, or choose "
                      "another task for answers in free form.")]
    moved = [any(at and answer.start is not None and at[0] != answer.start
                 for at, answer in zip(found, known, strict=True)) for found, known in zip(places, given, strict=True)]
    long = [bool(longest and known and min(len(answer.text.split()) for answer in known) > longest) for known in given]
    asked: list[tuple[Level, str, str, list[bool], str]] = [
        ("error", "answer_empty", "There is no answer", [] if unanswerable else empty,
         "Choose that some questions have no answer, or remove these rows."),
        ("warning", "answer_not_found", "The answer does not stand in the passage", lost,
         "Such rows are not learned from. Go on, or correct them."),
        ("warning", "answer_long", f"The answer is longer than {longest} words, the longest that is looked for", long,
         "Raise the longest answer, or go on: such answers are never found whole."),
        ("note", "answer_moved", "The answer stands elsewhere than its number says", moved,
         "The nearest place it stands at is taken.")]
    return [some(level, kind, what, *cells.rows_where(pa.array(rows)), try_this, columns["answers"])
            for level, kind, what, rows, try_this in asked if any(rows)]


def _nothing_to_find(column: str, may_be: bool) -> Finding:
    """Return what is said of rows none of which has an answer; evaluation rows `may_be` like that."""
    if may_be:
        return warning("answers_none", "No question has an answer, so only silence is measured.", column,
                       "Choose another file, or go on.")
    return error("answers_none", "No question has an answer; there is nothing to learn.", column,
                 "Map the column that holds the answers, or add questions that have one.")


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
