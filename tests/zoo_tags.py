"""Broken files of tagged words."""

from __future__ import annotations

from beast import Beast, Write, data, lines, parquet

WORDS = ["Tim", "Berners", "lives", "in", "London", "."]
TAGS = ["B-PER", "I-PER", "O", "O", "B-LOC", "O"]
TOKENS = {"tokens": "tokens", "tags": "tags"}


def tagged(*rows: tuple[object, object], good: int = 30) -> Write:
    """Return a writer of tagged sentences as jsonl, the broken ones after `good` sound ones."""
    sound = [([f"{WORDS[0]}{i}", *WORDS[1:]], TAGS) for i in range(good)]
    return lines(*({"tokens": words, "tags": tags} for words, tags in [*sound, *rows]))


def conll(*extra: str, words: list[str] = WORDS, tags: list[str] = TAGS, count: int = 30) -> Write:
    """Return a writer of sentences as CoNLL lines, then the lines of `extra` as they are."""
    sentence = "\n".join(f"{word} {tag}" for word, tag in zip(words, tags, strict=True))
    return data("\n\n".join([*(f"No{i} O\n{sentence}" for i in range(count)), *extra]) + "\n")


def beast(name: str, write: Write, kind: str, level: str, *rows: int, eval: Write | None = None) -> Beast:
    """Return a broken file of tagged words, whose columns a person has mapped."""
    return Beast(name, write, kind, level, TOKENS, "token_classification", eval=eval, rows=rows)


BEASTS = [
    Beast("more_cells.conll", conll("Paris B-LOC\nin IN O\nMay B-DATE"), "ragged_rows", "error", rows=(31,)),
    Beast("fewer_cells.conll", conll("Paris B-LOC\nalone\nMay B-DATE"), "ragged_rows", "error", rows=(31,)),
    Beast("inner_begins.conll", conll("Rome I-LOC\nis O"), "tags_repaired", "note", rows=(31,)),
    Beast("no_beginnings.conll", conll(tags=["I-PER", "I-PER", "O", "O", "I-LOC", "O"]),
          "tags_without_beginnings", "note"),
    Beast("unmarked.conll", conll(), "column_missing", "error", eval=conll(tags=["O"] * 6), columns=TOKENS,
          task="token_classification"),
    beast("nothing_marked.jsonl", tagged(), "entities_missing", "warning",
          eval=lines(*({"tokens": [f"w{i}", "x"], "tags": ["O", "O"]} for i in range(5)))),
    Beast("unseen_type.conll", conll(), "label_unseen", "warning", eval=conll("May B-DATE\nis O"), columns=TOKENS,
          task="token_classification", rows=(31,)),
    Beast("same_sentences.conll", conll(), "eval_overlap", "warning", eval=conll(count=3), columns=TOKENS,
          task="token_classification", rows=(1, 2, 3)),
    beast("more_tags.jsonl", tagged((["a", "b"], ["O", "O", "O"])), "tags_unequal", "error", 31),
    beast("fewer_tags.jsonl", tagged((["a", "b"], ["O"])), "tags_unequal", "error", 31),
    beast("null_tag.jsonl", tagged((["a", "b"], ["O", None])), "label_missing", "error", 31),
    beast("empty_word.jsonl", tagged((["a", " "], ["O", "O"])), "word_empty", "warning", 31),
    beast("no_words.jsonl", tagged(([], [])), "text_empty", "warning", 31),
    beast("all_empty.jsonl", lines(*({"tokens": [], "tags": []},) * 30), "text_empty", "error"),
    beast("bare_type.jsonl", tagged((["May", "be"], ["DATE", "O"])), "tags_odd", "warning", 31),
    beast("numbers.jsonl.tags", lines(*({"tokens": [f"w{i}", "x"], "tags": [i % 2, 2]} for i in range(30))),
          "tags_numbered", "warning"),
    beast("one_tag.jsonl", lines(*({"tokens": [f"w{i}", "x"], "tags": ["O", "O"]} for i in range(30))),
          "one_label", "error"),
    beast("numbers_for_lists.jsonl", lines(*({"tokens": i, "tags": i % 3} for i in range(30))), "not_lists", "error"),
    beast("sentences_twice.jsonl", tagged(*([(WORDS, TAGS)] * 3)), "duplicates", "warning"),
    beast("two_minds.jsonl", tagged((WORDS, TAGS), (WORDS, ["O"] * 6)), "duplicates_conflict", "warning", 32),
    beast("nested_tags.parquet", parquet({"tokens": [["a", "b"]] * 30, "tags": [[["O"], ["B-X"]]] * 30}),
          "nested_json", "warning"),
]
