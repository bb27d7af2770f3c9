"""Predictions are drawn as they are, and nothing in them becomes HTML."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from typing import Any

import pictures
import pytest
from PIL import Image

from engine.data.errors import BrokenImage
from engine.drawing import Bars, Marked, Number, Picture, Prose, Span
from studio import drawn, play_view

EVIL = '<img src=x onerror="alert(1)"> & "quoted" \'text\''


class Seen(HTMLParser):
    """The tags and the text of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def said(picture: Picture, label: str = "", scores: dict[str, float] | None = None, note: str = "") -> dict[str, Any]:
    return {"label": label, "scores": scores or {}, "note": note, "drawing": picture.model_dump()}


def marked(text: str, *spans: tuple[int, int, str, float | None]) -> dict[str, Any]:
    return said(Marked(text=text, spans=[Span(start=a, end=b, label=c, score=d) for a, b, c, d in spans]))


@pytest.mark.parametrize("picture", [
    Bars(values={EVIL: 0.7, "b": 0.3}), Prose(text=EVIL), Marked(text=EVIL),
    Marked(text=EVIL, spans=[Span(start=1, end=9, label=EVIL, score=0.5), Span(start=12, end=20, label="x")])])
def test_hostile_text_stays_text(picture: Picture) -> None:
    html = play_view.answers([EVIL], [{"answer": [said(picture, EVIL, {EVIL: 0.5, "other": 0.5}, EVIL)], "seconds": 1,
                                       "tokens": 0}], "", EVIL)
    seen = Seen(html)
    assert not {"img", "script"} & {tag for tag, _ in seen.tags}
    assert not any(name.startswith("on") for _, attributes in seen.tags for name in attributes)
    assert EVIL in seen.text


def test_marked_parts_carry_label_and_score_in_words_and_the_whole_text_is_there() -> None:
    text = "Tim Berners-Lee met Lily in Rome."
    html = drawn.reply(marked(text, (0, 15, "PER", 0.98), (20, 24, "PER", None), (28, 32, "LOC", 0.5)))
    marks = re.findall(r"<mark.*?</mark>", html)
    assert [Seen(one).text for one in marks] == ["Tim Berners-Lee (PER 98%) ", "Lily (PER) ", "Rome (LOC 50%) "]
    assert html.count(" met ") == html.count(" in ") == 1
    assert [Seen(one).text for one in re.findall(r"<li>.*?</li>", html)] == ["LOC 1", "PER 2"]


def test_a_label_has_one_colour_in_every_column() -> None:
    replies = [marked("ab", (0, 1, "B", None)), marked("ab", (0, 1, "A", None), (1, 2, "B", None)), marked("ab")]
    tones = drawn.tones_of(replies)
    assert tones == {"A": 1, "B": 2}
    html = play_view.answers(["x", "y", "z"], [{"answer": [one], "seconds": 0.1, "tokens": 0} for one in replies], "")
    assert html.count("Nothing is marked.") == 1
    assert set(re.findall(r'<mark class="ps-span" style="--tone:var\((.*?)\)">[ab]', html)) == {
        "--ps-series-1", "--ps-series-2"}


def test_spans_that_overlap_or_leave_the_text_are_left_out() -> None:
    html = drawn.reply(marked("abcdef", (0, 3, "A", None), (2, 4, "B", None), (5, 9, "C", None), (4, 5, "D", None)))
    assert [Seen(one).text[0] for one in re.findall(r"<mark.*?</mark>", html)] == ["a", "e"]


def test_an_answer_in_a_passage_is_said_above_it_and_the_next_best_stand_below() -> None:
    reply = said(Marked(text="He lives in Rome.", spans=[Span(start=12, end=16, label="answer", score=0.9)]), "Rome",
                 {"Rome": 0.9, "in Rome": 0.06})
    html = drawn.reply(reply)
    assert html.startswith('<p class="ps-verdict">Rome</p>') and "Likeliest answers" in html and "90.0%" in html


def test_a_number_and_a_text_are_said_once() -> None:
    assert Seen(drawn.reply(said(Number(value=3.25), "3.25"))).text == "3.25"
    assert Seen(drawn.reply(said(Prose(text="Two lines\nof text"), "Two lines\nof text"))).text == "Two lines\nof text"


def test_labels_beyond_the_likeliest_are_counted() -> None:
    html = drawn.reply(said(Bars(values={f"l{i}": 1 / 20 for i in range(20)}), "l0"))
    assert html.count("<li>") == drawn.MOST_LABELS and "and 8 labels less likely" in html


@pytest.mark.parametrize(("seconds", "tokens", "words"), [
    (0.0123, 0, "12 ms."), (2.5, 0, "2.5 s."), (0.5, 12, "12 tokens in 0.5 s, 24.0 a second."), (None, 0, "")])
def test_how_long_an_answer_took_is_told(seconds: float | None, tokens: int, words: str) -> None:
    assert play_view.timing(seconds, tokens) == words


def test_the_right_answer_shows_once_somebody_has_answered() -> None:
    heard = {"answer": [said(Bars(values={"a": 1.0}), "a")], "seconds": 1, "tokens": 0}
    assert "Expected" not in play_view.answers(["x"], [None], "Asking", "a")
    assert "<b>Expected</b> a" in play_view.answers(["x", "y"], [heard, None], "Asking", "a")


def test_an_image_is_shown_small_with_its_name_and_size() -> None:
    data = pictures.data(Image.new("RGB", (900, 600), "red"))
    seen = Seen(play_view.thumbnail(data, EVIL))
    ((_, shown),) = [(tag, attributes) for tag, attributes in seen.tags if tag == "img"]
    address = shown["src"] or ""
    small = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
    assert small.size == (play_view.THUMBNAIL, play_view.THUMBNAIL * 2 // 3)
    assert seen.text == f"{EVIL}, 900 × 600 pixels" and EVIL in (shown["alt"] or "")


def test_an_image_of_very_many_pixels_is_named_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(play_view, "MOST_PIXELS", 100)
    assert "<img" not in play_view.thumbnail(pictures.data(pictures.noise("reddish", 1)), "a.png")
    with pytest.raises(BrokenImage):
        play_view.thumbnail(b"no image", "a.png")


@pytest.mark.parametrize(("expected", "words"), [(None, ""), ("", "nothing"), ([], "nothing"), (["a", "b"], "a, b"),
                                                 (2.5, "2.5"), (" x ", "x")])
def test_a_right_answer_is_told_in_words(expected: Any, words: str) -> None:
    assert play_view.expected_words(expected) == words
