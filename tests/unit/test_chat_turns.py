"""What a chat keeps of answers that were cut off: an answer that had not begun leaves nothing behind."""

from __future__ import annotations

from typing import Any

from studio import play_chat, play_view

ASKED = {"role": "user", "content": "Say <b>1</b>"}


def heard(*messages: dict[str, Any]) -> tuple[list[dict[str, str]], str]:
    """Return a conversation and its note after what a model said to one message."""
    turns, notes, going = [[dict(ASKED), {"role": "assistant", "content": ""}]], ["Waiting"], [False]
    for message in messages:
        play_chat.hear(message, 0, turns, notes, going)
    assert not going[0]
    return turns[0], notes[0]


def ended(text: str, stopped: str) -> dict[str, Any]:
    return {"event": "answer", "answer": {"text": text, "stopped": stopped, "tokens": 1, "seconds": 1.0, "note": ""}}


def test_a_model_that_had_not_begun_keeps_an_empty_place() -> None:
    for messages in ([{"event": "done", "state": "cancelled"}],
                     [ended("", "cancelled"), {"event": "done", "state": "cancelled"}]):
        said, note = heard(*messages)
        assert said == [ASKED] and note == play_view.NOT_BEGUN
        assert play_chat.answered(said) == []


def test_what_was_cut_off_stays_and_is_marked_in_its_turn() -> None:
    said, _ = heard({"event": "text", "text": "I s"}, ended("I s", "cancelled"),
                    {"event": "done", "state": "cancelled"})
    assert said[-1] == {"role": "assistant", "content": "I s", "stopped": play_view.STOPPED}
    assert play_chat.messages(said) == [ASKED, {"role": "assistant", "content": "I s"}]
    assert play_view.STOPPED in play_view.talks(["a"], [[*said, ASKED]], [False], [""])


def test_a_whole_answer_is_not_marked() -> None:
    said, note = heard({"event": "text", "text": "I say."}, ended("I say.", "eos"), {"event": "done", "state": "ready"})
    assert said[-1] == {"role": "assistant", "content": "I say."} and "Stopped" not in note
    assert play_chat.answered(said) == said
