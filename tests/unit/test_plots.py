"""Figures and colours: valid plotly, readable in both modes."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from engine.breakdown import Breakdown, Cell, Parameters
from engine.memory import Memory
from studio import plots, preview
from studio.theme import PALETTE, SERIES, contrast, css

FIGURES: dict[str, plots.Figure] = {
    "lines": plots.lines({"a": ([1, 2, 3], [0.5, None, 0.2]), "b": ([1], [0.1])}, label="Loss", log_y=True,
                         dashed=["b"]),
    "bars": plots.bars({"refund": 12, "delivery": 7}, label="Labels"),
    "shares": plots.bars({"refund": 0.9, "delivery": 0.1}, label="Probabilities", percent=True),
    "histogram": plots.histogram([0, 10, 20], [3, 1], label="Lengths", x_title="tokens", mark=15, mark_text="limit"),
    "points": plots.points([("a", 1e6, 0.9), ("b", None, 0.8)], label="Quality", x_title="parameters",
                           y_title="accuracy", log_x=True),
    "heat": plots.heat(["query", "MLP up"], ["1", "2"], [[1, None], [4, 9]], label="Where",
                       texts=[["1", ""], ["4", "9"]]),
}


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_valid_plotly_once_their_colours_are_resolved(name: str, mode: Any) -> None:
    import plotly.graph_objects as go
    made = plots.resolved(FIGURES[name], mode)
    go.Figure(data=made["data"], layout=made["layout"])
    text = json.dumps(made, allow_nan=False)
    assert "var(" not in text and made["label"] and made["data"]


def test_a_figure_without_rows_says_so() -> None:
    for empty in (plots.lines({}, label="Loss"), plots.bars({}, label="x"), plots.heat([], [], [], label="x"),
                  plots.points([("a", None, 1)], label="x", x_title="", y_title=""), plots.blank("x")):
        assert empty["data"] == []


def test_a_series_keeps_its_colour_when_others_come_and_go() -> None:
    made = plots.lines({"b": ([1], [1])}, label="Loss", colours={"b": 4})
    assert made["data"][0]["line"]["color"] == plots.colour(4)


MARKUP = "<b>R&D</b>"


def test_names_that_look_like_markup_are_shown_letter_by_letter_in_every_figure() -> None:
    made = [plots.lines({MARKUP: ([1], [1])}, label="a", x_title=MARKUP, y_title=MARKUP),
            plots.bars({MARKUP: 1}, label="a", title=MARKUP),
            plots.histogram([0, 1], [1], label="a", x_title=MARKUP, mark=1, mark_text=MARKUP),
            plots.points([(MARKUP, 1, 1)], label="a", x_title="x", y_title="y"),
            plots.heat([MARKUP], [MARKUP], [[1]], label="a", texts=[[MARKUP]], x_title=MARKUP)]
    for one in made:
        text = json.dumps([one["data"], one["layout"]])
        assert MARKUP not in text and "&lt;b&gt;R&amp;D&lt;/b&gt;" in text


def test_names_of_points_stand_within_the_plot() -> None:
    rows: list[tuple[str, plots.Number, plots.Number]] = [("a", 1e3, 1), ("b", 1e6, 1), ("c" * 90, 1e9, 1)]
    made = plots.points(rows, label="a", x_title="x", y_title="y", log_x=True)["data"]
    assert [one["textposition"] for one in made] == ["top right", "top center", "top left"]
    assert len(made[2]["text"][0]) == 28 and made[2]["name"] == "c" * 90


def test_the_heat_map_has_a_row_for_each_kind_and_a_column_for_each_layer() -> None:
    memory = Memory(weights=1, trained=1, gradients=1, optimizer=1, activations=1, logits=1, overhead=1, total=7,
                    available=100, verdict="fits")
    cells = [Cell(group="attention query", layer=0, trained=9, total=100),
             Cell(group="attention query", layer=1, trained=0, total=100),
             Cell(group="head", layer=None, trained=4, total=4)]
    counts = Parameters(trained=13, stored=13, head=4, total=204, percent=6.4)
    made = preview.heat(Breakdown(parameters=counts, cells=cells, adapter_bytes=52, memory=memory))["data"][0]
    assert made["y"] == ["attention query", "head"] and made["x"] == ["1", "2", preview.OUTSIDE]
    assert made["z"] == [[3.0, 0.0, None], [None, None, 2.0]]
    assert made["text"][0][0] == "9 trained of 100"


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_reaches_wcag_aa_on_every_background(mode: Any) -> None:
    tokens = PALETTE[mode]
    for ink, ground in itertools.product(("ink", "muted", "accent-ink"), ("paper", "panel", "sunken")):
        assert contrast(tokens[ink], tokens[ground]) >= 4.5, (ink, ground)
    for tone in ("accent", "good", "warn", "bad", "info"):
        assert contrast(tokens[f"{tone}-ink"], tokens[f"{tone}-soft"]) >= 4.5, tone
        assert contrast(tokens["ink"], tokens[f"{tone}-soft"]) >= 4.5, tone
        assert contrast(tokens[f"{tone}-ink"], tokens["panel"]) >= 4.5, tone
    assert contrast(tokens["on-accent"], tokens["accent"]) >= 4.5
    assert contrast(tokens["on-accent"], tokens["accent-hover"]) >= 4.5
    assert contrast(tokens["panel"], tokens["bad"]) >= 4.5, "the button that deletes"
    assert contrast(tokens["warn-ink"], tokens["sunken"]) >= 4.5, "why a method is impossible"


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_lines_and_borders_of_controls_are_seen_on_both_backgrounds(mode: Any) -> None:
    for ground in ("paper", "panel"):
        for shade in (*SERIES, PALETTE[mode]["line-strong"], PALETTE[mode]["accent"]):
            assert contrast(shade, PALETTE[mode][ground]) >= 3, (shade, ground)


def test_no_style_asks_for_anything_from_elsewhere() -> None:
    assert "http" not in css() and "@import" not in css() and "@font-face" not in css()
