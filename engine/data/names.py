"""Names that people give to columns, by the part the column plays; lower case, words joined by underscores."""

from __future__ import annotations

import re
from functools import lru_cache

MESSAGES = ("messages", "conversations", "conversation", "dialogue", "dialog", "chat", "turns")
#: Fields that can hold nothing but conversations: anything else in them is a mistake.
CONVERSATIONS = ("messages", "conversations")
#: Fields whose nested values are understood as they are.
UNDERSTOOD = (*CONVERSATIONS, "answers")
TOKENS = ("tokens", "words")
TAGS = ("tags", "ner_tags", "labels", "ner", "entities")
QUESTION, PASSAGES, ANSWERS = "question", ("context", "passage"), ("answers", "answer")
SYSTEM = ("system", "system_prompt", "system_message")
#: Prompt and completion, the surest first.
EXCHANGES = (
    ("prompt", "completion"), ("prompt", "response"), ("prompt", "output"), ("prompt", "answer"), ("prompt", "chosen"),
    ("prompt", "instances_output"),
    ("instruction", "output"), ("instruction", "response"), ("instruction", "completion"),
    ("instruction", "answer"), ("question", "answer"), ("question", "response"), ("question", "completion"),
    ("query", "response"), ("query", "answer"), ("input", "output"), ("input", "target"), ("inputs", "targets"),
    ("source", "target"), ("src", "tgt"), ("user", "assistant"), ("human", "assistant"), ("context", "response"),
    ("request", "reply"), ("mr", "ref"), ("document", "summary"), ("article", "highlights"), ("article", "summary"),
    ("text", "summary"), ("dialogue", "summary"), ("q", "a"))
PAIRS = (
    ("sentence1", "sentence2"), ("sentence_1", "sentence_2"), ("text1", "text2"), ("text_1", "text_2"),
    ("premise", "hypothesis"), ("question1", "question2"), ("sentence_a", "sentence_b"), ("text_a", "text_b"),
    ("question", "sentence"), ("question", "passage"), ("query", "passage"), ("query", "document"),
    ("text", "text_pair"), ("s1", "s2"), ("claim", "evidence"))
TEXTS = ("text", "texts", "sentence", "content", "body", "message", "review", "comment", "tweet", "utterance",
         "document", "question", "query", "description", "title", "headline", "summary", "review_body", "input",
         "passage", "email", "ticket", "x", "v2", "title_text", "sms", "post", "article", "prompt")
LABELS = ("label", "labels", "class", "classes", "category", "categories", "intent", "target", "sentiment", "topic",
          "topics", "tag", "tags", "label_text", "gold_label", "emotion", "is_duplicate", "outcome", "y", "v1",
          "rating", "stars", "score", "similarity", "polarity", "coarse_label", "fine_label", "type", "genre", "spam",
          "toxic", "language", "department", "queue", "priority")
NUMBERS = ("score", "similarity", "similarity_score", "rating", "grade", "value", "regression", "relevance", "label",
           "price", "cost", "amount", "salary", "income", "revenue", "sales", "points", "age",
           "temperature", "toxicity", "readability", "difficulty", "popularity", "helpfulness", "quality")
IDS = ("file", "id", "idx", "index", "uuid", "guid", "key", "row", "row_id", "unnamed_0", "number", "no")
KNOWN = frozenset({*MESSAGES, *SYSTEM, *TEXTS, *LABELS, *NUMBERS, *IDS, "name", "source", "answers", "instances",
                   *(name for pair in (*EXCHANGES, *PAIRS) for name in pair)})


@lru_cache(20_000)
def plain(name: str) -> str:
    """Return a column name in lower case, its words joined by underscores."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()).strip("_")
