"""Checks on the sample datasets shipped in studio/samples."""

import csv
import json
import re
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path

import pytest

SAMPLES = Path(__file__).resolve().parents[2] / "studio" / "samples"
LABELS = {
    "billing",
    "refund",
    "delivery",
    "account_access",
    "technical_problem",
    "product_question",
    "cancellation",
    "feedback",
}
MAX_SIMILARITY = 0.8


def normalise(text):
    return " ".join(text.lower().split())


def near_duplicates(texts):
    """Pairs of texts whose word sets overlap by more than MAX_SIMILARITY."""
    words = [frozenset(re.findall(r"\w+", text.lower())) for text in texts]
    return [
        (texts[i], texts[j])
        for (i, a), (j, b) in combinations(enumerate(words), 2)
        if len(a & b) > MAX_SIMILARITY * len(a | b)
    ]


@pytest.fixture(scope="module")
def tickets():
    with (SAMPLES / "support_tickets.csv").open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle, strict=True)
        rows = list(reader)
    assert reader.fieldnames == ["text", "intent"]
    return rows


@pytest.fixture(scope="module")
def chats():
    lines = (SAMPLES / "friendly_chat.jsonl").read_text(encoding="utf-8").split("\n")
    assert lines.pop() == "", "the file must end with a line feed"
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("name", ["support_tickets.csv", "friendly_chat.jsonl"])
def test_encoding_and_line_ends(name):
    raw = (SAMPLES / name).read_bytes()
    raw.decode("utf-8")
    assert not raw.startswith(b"\xef\xbb\xbf")
    assert b"\r" not in raw
    assert raw.endswith(b"\n")


def test_ticket_counts_and_balance(tickets):
    assert len(tickets) == 384
    counts = Counter(row["intent"] for row in tickets)
    assert set(counts) == LABELS
    assert set(counts.values()) == {48}


def test_tickets_are_complete(tickets):
    for row in tickets:
        assert set(row) == {"text", "intent"}
        assert row["text"] == row["text"].strip()
        assert 4 <= len(row["text"].split()) <= 80, row["text"]


def test_tickets_are_unique(tickets):
    counts = Counter(normalise(row["text"]) for row in tickets)
    assert [text for text, n in counts.items() if n > 1] == []


def test_tickets_have_no_near_duplicates(tickets):
    assert near_duplicates([row["text"] for row in tickets]) == []


def test_ticket_labels_are_mixed(tickets):
    assert {row["intent"] for row in tickets[:64]} == LABELS
    same = sum(a["intent"] == b["intent"] for a, b in pairwise(tickets))
    assert same < len(tickets) / 4


def test_tickets_exercise_csv_quoting(tickets):
    texts = [row["text"] for row in tickets]
    for character in (",", '"', "\n"):
        assert sum(character in text for text in texts) >= 5


def test_chat_counts(chats):
    assert len(chats) == 136
    turns = Counter(sum(m["role"] == "user" for m in chat["messages"]) for chat in chats)
    assert set(turns) == {1, 2, 3}
    assert turns[1] == 86
    assert sum(chat["messages"][0]["role"] == "system" for chat in chats) == 12


def test_chat_structure_and_role_order(chats):
    for chat in chats:
        assert set(chat) == {"messages"}
        for message in chat["messages"]:
            assert set(message) == {"role", "content"}
            assert isinstance(message["content"], str)
            assert message["content"]
            assert message["content"] == message["content"].strip()
        roles = [message["role"] for message in chat["messages"]]
        if roles[0] == "system":
            roles = roles[1:]
        assert roles
        assert roles == ["user", "assistant"] * (len(roles) // 2)


def test_chat_replies_are_brief(chats):
    for chat in chats:
        for message in chat["messages"]:
            if message["role"] == "assistant":
                # A quoted draft counts as part of the sentence around it.
                text = re.sub(r'"[^"]*"', "Q", message["content"])
                sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z])", text)
                assert len(sentences) <= 3, message["content"]
                assert len(message["content"].split()) <= 70, message["content"]


@pytest.mark.parametrize("role", ["user", "assistant"])
def test_chat_messages_are_unique(chats, role):
    texts = [m["content"] for chat in chats for m in chat["messages"] if m["role"] == role]
    counts = Counter(map(normalise, texts))
    assert [text for text, n in counts.items() if n > 1] == []
    assert near_duplicates(texts) == []


def test_the_home_page_counts_the_conversations_that_there_are():
    from studio import samples

    rows = len((SAMPLES / "friendly_chat.jsonl").read_text(encoding="utf-8").splitlines())
    assert f"{rows} short conversations" in samples.SAMPLES["friendly_chat"].text
