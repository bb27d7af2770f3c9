"""Texts whose labels, scores or repetitions are at fault."""

from __future__ import annotations

from beast import GOOD, ROWS, Beast, Write, data, lines, parquet, table, workbook

PAIR = {"text": "text", "label": "label"}


def labelled(*labels: object) -> Write:
    """Return a writer of sixty sound rows and rows with these labels."""
    return data(table([*ROWS, *((f"one more text, number {i}", label) for i, label in enumerate(labels))]))


def scored(*scores: object) -> bytes:
    """Return thirty rows with a score, and rows with these."""
    return table([*((f"text number {i}", i / 10) for i in range(30)), *((f"more {i}", one) for i, one in
                                                                      enumerate(scores))])


def score(name: str, write: Write, kind: str, level: str, *rows: int, eval: Write | None = None) -> Beast:
    """Return a broken file of texts with scores."""
    return Beast(name, write, kind, level, PAIR, "text_classification", {"problem": "regression"}, eval, rows)


def several(name: str, write: Write, kind: str, level: str, *rows: int, eval: Write | None = None) -> Beast:
    """Return a broken file of texts with several labels each."""
    return Beast(name, write, kind, level, PAIR, "text_classification", {"problem": "multi_label"}, eval, rows)


def topics(*odd: object, good: int = 30) -> Write:
    """Return a writer of texts with lists of labels, the broken ones after `good` sound ones."""
    rows = [["red", "big"], ["small"], ["red", "small"]]
    return lines(*({"text": f"text number {i}", "label": rows[i % 3]} for i in range(good)),
                 *({"text": f"odd text {i}", "label": one} for i, one in enumerate(odd)))


BEASTS = [
    Beast("nan_among_scores.csv", data(scored("nan", "NaN", 0.5)), "label_not_number", "error", rows=(31, 32)),
    Beast("inf_among_scores.csv", data(scored(*["-inf"] * 5)), "label_not_number", "error",
          rows=(31, 32, 33, 34, 35)),
    Beast("one_label.csv", data(table([(text, "cat") for text, _ in ROWS])), "one_label", "error"),
    Beast("nan_labels.csv", data(table([*ROWS, ("who knows", ""), ("and this", "NaN")])), "label_missing", "error"),
    Beast("null_labels.jsonl", lines(*({"text": f"row {i}", "label": None if i == 7 else i % 2} for i in range(40))),
          "label_missing", "error"),
    Beast("empty_texts.csv", data(table([*ROWS, ("", "cat"), ("  ", "dog")])), "text_empty", "warning"),
    Beast("no_texts.csv", data(table([("", label) for _, label in ROWS])), "text_empty", "error",
          {"text": "text", "label": "label"}),
    Beast("constant.csv", data(table([("the same", label) for _, label in ROWS])), "text_constant", "error",
          {"text": "text", "label": "label"}),
    Beast("wrong_column.csv", data(GOOD), "column_missing", "error", {"text": "sentence", "label": "label"}),
    Beast("twice_mapped.csv", data(GOOD), "column_twice", "error", {"text": "text", "label": "text"}),
    Beast("words_as_scores.csv", data(GOOD), "label_not_number", "error", PAIR,
          "text_classification", {"problem": "regression"}),
    Beast("unseen.csv", data(GOOD), "label_unseen", "error", eval=data(table([*ROWS[:5], ("a cow", "cow")]))),
    Beast("eval_columns.csv", data(GOOD), "column_missing", "error", eval=data(table(ROWS[:5], ("body", "label")))),
    Beast("eval_empty.csv", data(GOOD), "no_rows", "error", eval=data(b"text,label\n")),
    Beast("capitals.csv", data(table([*ROWS, ("Cats", "Cat"), ("Dogs", "Dog")])), "labels_alike", "warning"),
    Beast("unbalanced.csv", data(table([(text, "dog" if i else "cat") for i, (text, _) in enumerate(ROWS)])),
          "label_unbalanced", "warning"),
    Beast("decimals.csv", data(table([(text, "1.0" if label == "cat" else "2.0") for text, label in ROWS])),
          "labels_decimal", "note"),
    Beast("decimals.jsonl", lines(*({"text": text, "label": float(label == "cat")} for text, label in ROWS)),
          "labels_decimal", "note"),
    Beast("decimals.xlsx", workbook([("text", "label"), *((text, f"{len(label) - 1 + i % 2}.0")
                                                          for i, (text, label) in enumerate(ROWS))]),
          "labels_decimal", "note", PAIR, "text_classification"),
    Beast("two_spellings.csv", data(table([(text, ("1", "1.0", "2")[i % 3]) for i, (text, _) in enumerate(ROWS)])),
          "labels_alike", "warning"),
    Beast("inner_blanks.csv", labelled("big cat", "big cat", "big  cat", "big  cat"), "labels_alike", "warning"),
    Beast("numbers_and_words.csv", labelled("1", "1", "2", "2"), "labels_mixed", "warning"),
    Beast("mixed_types.jsonl", lines(*({"text": text, "label": label if i != 40 else 7}
                                       for i, (text, label) in enumerate(ROWS))), "mixed_types", "warning", rows=(41,)),
    Beast("mixed_texts.jsonl", lines(*({"text": text if i != 40 else 5, "label": label}
                                       for i, (text, label) in enumerate(ROWS))), "mixed_types", "warning", rows=(41,)),
    Beast("mixed_cells.xlsx", workbook([("text", "label"), *ROWS, ("a number", 7)]), "mixed_types", "warning",
          rows=(61,)),
    Beast("list_among_labels.jsonl", lines(*({"text": text, "label": label if i != 40 else ["cat", "dog"]}
                                             for i, (text, label) in enumerate(ROWS))), "mixed_types", "warning",
          rows=(41,)),
    Beast("truth_among_labels.jsonl", lines(*({"text": text, "label": label if i != 40 else True}
                                              for i, (text, label) in enumerate(ROWS))), "mixed_types", "warning",
          rows=(41,)),
    Beast("none_as_label.csv", labelled("N/A", "N/A"), "label_odd", "warning"),
    Beast("rare.csv", labelled("cow"), "label_rare", "warning"),
    Beast("many_labels.csv", data(table([(f"text number {i} of many", f"id{i}") for i in range(40)])), "label_many",
          "warning", PAIR, "text_classification"),
    Beast("ids_twice.csv", data(table([(i if i != 50 else 3, *row) for i, row in enumerate(ROWS)],
                                      ("id", "text", "label"))), "ids_repeated", "warning", rows=(51,)),
    Beast("uuids_twice.parquet", parquet({"uuid": [f"u{i % 58}" for i in range(60)],
                                          "text": [row[0] for row in ROWS], "label": [row[1] for row in ROWS]}),
          "ids_repeated", "warning", rows=(59, 60)),
    Beast("ids_in_both.csv", data(table([(i, *row) for i, row in enumerate(ROWS)], ("id", "text", "label"))),
          "ids_shared", "warning", rows=(1,),
          eval=data(table([(7, "another text", "cat"), (70, "and a new one", "dog")], ("id", "text", "label")))),
    Beast("repeated_rows.csv", data(table([*ROWS, *ROWS[:5]])), "duplicates", "warning"),
    Beast("contradictions.csv", data(table([*ROWS, (ROWS[0][0], "cat")])), "duplicates_conflict", "warning",
          rows=(61,)),
    Beast("leak.csv", data(GOOD), "eval_overlap", "warning", rows=(2,),
          eval=data(table([("something new", "cat"), (ROWS[8][0].upper(), "dog")]))),
    Beast("one_label_evaluated.csv", data(GOOD), "eval_one_label", "warning",
          eval=data(table([(f"new text {i}", "cat") for i in range(10)]))),
    Beast("eval_unlabelled.csv", data(GOOD), "label_missing", "error", rows=(2,),
          eval=data(table([("something new", "cat"), ("and more", "")]))),
    Beast("chats_as_labels.jsonl", lines(*({"text": text, "label": [{"role": "user", "content": label}]}
                                           for text, label in ROWS)), "label_not_plain", "error", PAIR,
          "text_classification"),
    Beast("weight_for_nobody.csv", data(GOOD), "weight_without_label", "error", PAIR, "text_classification",
          {"class_weights": {"cow": 2.0}}),
    Beast("unlike_pairs.csv", data(table([(text, "", label) for text, label in ROWS], ("text", "text_pair", "label"))),
          "text_empty", "error", PAIR | {"text_pair": "text_pair"}, "text_classification"),
    score("infinite.csv", data(scored("inf", "-Infinity")), "label_not_number", "error", 31, 32),
    score("infinite.jsonl", lines(*({"text": f"text number {i}", "label": i / 10} for i in range(30)),
                                  '{"text": "a", "label": Infinity}'), "label_not_number", "error", 31),
    score("nan_scores.csv", data(scored("nan")), "label_not_number", "error", 31),
    score("no_score.csv", data(scored("")), "label_not_number", "error", 31),
    score("commas.csv", data(scored("1,5")), "label_not_number", "error", 31),
    score("same_score.csv", data(table([(f"text {i}", 3.5) for i in range(30)])), "one_label", "error"),
    score("outlier.csv", data(scored("1e30")), "label_far", "warning", 31),
    score("eval_infinite.csv", data(scored()), "label_not_number", "error", 2,
          eval=data(table([("new", 1.5), ("newer", "inf")]))),
    several("one_topic.jsonl", lines(*({"text": f"text {i}", "label": ["red"]} for i in range(30))), "one_label",
            "error"),
    several("always_one.jsonl", lines(*({"text": f"text {i}", "label": [("red", "big")[i % 2]]} for i in range(30))),
            "label_always_one", "note"),
    several("no_topics.jsonl", lines(*({"text": f"text {i}", "label": []} for i in range(30))), "label_missing",
            "error"),
    several("topicless.jsonl", topics([], []), "label_none", "note", 31, 32),
    several("topic_capitals.jsonl", topics(["Red"], ["Red"]), "labels_alike", "warning"),
    several("topic_twice.jsonl", topics(["red", "red"]), "label_twice", "warning", 31),
    several("unseen_topic.jsonl", topics(), "label_unseen", "error", 1, eval=topics(["blue"], good=0)),
    several("chats_as_topics.jsonl", lines(*({"text": f"text {i}", "label": [{"role": "user", "content": "x"}]}
                                             for i in range(30))), "label_not_plain", "error"),
]
