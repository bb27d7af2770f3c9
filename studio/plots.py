"""Figures from rows, in the palette: plain plotly JSON, coloured in the browser so that they follow light and dark.

A figure is a value for a `figure()` component: {"data", "layout", …}. Colours are written `var(--ps-…)`, optionally
with an opacity (`var(--ps-accent)/0.2`); studio.js resolves them. The browser keeps zoom and pan between updates.
Plotly reads markup in names, ticks and hover texts: what a figure is made of is escaped here, where it is put together.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import gradio as gr

from engine.digits import short
from studio.text import plural
from studio.theme import PALETTE, SANS, SERIES, Mode
from studio.widgets import scripted

Number = float | int | None
Figure = dict[str, Any]

_TOKEN = re.compile(r"var\(--ps-([\w-]+)\)(?:/([\d.]+))?")
_DASHES = ("solid", "dash", "dot", "dashdot")
#: The parts of a trace that plotly shows as text.
_SHOWN = ("name", "text", "x", "y", "customdata")
#: Letters of a point's name that stand beside it; hovering shows all of them.
_BESIDE = 28


def figure(value: Figure | None = None, *, elem_id: str, label: str = "Chart") -> gr.HTML:
    """Return a component that draws a figure; update it by returning another figure."""
    return scripted("figure", value or blank(label), elem_id=elem_id, label=label)


def blank(label: str, text: str = "Nothing to draw yet.") -> Figure:
    """Return a figure without data that says `text`."""
    return {"data": [], "layout": {}, "label": label, "empty": text, "plotly": _library()}


def lines(series: Mapping[str, tuple[Sequence[Number], Sequence[Number]]], *, label: str, x_title: str = "step",
          y_title: str = "", log_y: bool = False, height: int = 280, dashed: Sequence[str] = (),
          colours: Mapping[str, int] | None = None, marks: bool = False) -> Figure:
    """Return one line for each name -> (x, y); points with y None are gaps.

    `colours` fixes a name's place in the palette, `dashed` names the dashed ones.
    """
    data = []
    for index, (name, (x, y)) in enumerate(series.items()):
        data.append({"type": "scatter", "mode": "lines+markers" if marks or len(x) < 3 else "lines", "name": name,
                     "x": list(x), "y": list(y), "line": {"color": colour((colours or {}).get(name, index)), "width": 2,
                     "dash": "dash" if name in dashed else "solid"}, "marker": {"size": 6},
                     "hovertemplate": "%{y:,.4~r}<extra>%{fullData.name}</extra>"})
    last = "; ".join(f"{name}: last {short(y[-1])}" for name, (_, y) in series.items() if len(y) and y[-1] is not None)
    shape = layout(x_title, y_title, height, legend=len(data) > 1)
    shape["yaxis"]["type"] = "log" if log_y else "linear"
    shape["hovermode"] = "x unified"
    return _made(data if any(len(x) for x, _ in series.values()) else [], shape, label, last)


def bars(values: Mapping[str, Number], *, label: str, title: str = "", height: int | None = None,
         colour_index: int = 0, percent: bool = False) -> Figure:
    """Return horizontal bars, the first entry on top; for label distributions and importances."""
    names = list(values)[::-1]
    numbers = [values[name] for name in names]
    trace = {"type": "bar", "orientation": "h", "y": names, "x": numbers, "marker": {"color": colour(colour_index)},
             "text": [("–" if n is None else f"{n:.1%}" if percent else short(n)) for n in numbers],
             "textposition": "outside", "cliponaxis": False, "hovertemplate": "%{y}: %{x:,}<extra></extra>",
             "textfont": {"color": "var(--ps-ink)"}}
    shape = layout(title, "", height or 60 + 26 * max(len(names), 1))
    shape["yaxis"] |= {"showgrid": False, "type": "category", "automargin": True}
    if percent:
        shape["xaxis"] |= {"tickformat": ".0%", "range": [0, 1.08]}
    elif known := [number for number in numbers if number is not None]:
        # Numbers stand outside of their bars, also of the longest.
        shape["xaxis"] |= {"range": [min(0, *known) * 1.12, max(0, *known) * 1.12]}
    return _made([trace] if names else [], shape, label, "; ".join(f"{n}: {v}" for n, v in values.items()))


def histogram(edges: Sequence[float], counts: Sequence[int], *, label: str, x_title: str, mark: float | None = None,
              mark_text: str = "", height: int = 240) -> Figure:
    """Return a histogram from its edges (one more than counts), with a vertical mark such as the model's limit."""
    spans = list(pairwise(edges))
    middles, widths = [(low + high) / 2 for low, high in spans], [high - low for low, high in spans]
    ranges = [f"{low:,.0f}–{high:,.0f}" for low, high in spans]
    trace = {"type": "bar", "x": middles, "y": list(counts), "width": widths, "customdata": ranges,
             "marker": {"color": colour(0), "line": {"color": "var(--ps-panel)", "width": 1}},
             "hovertemplate": "%{customdata}: %{y:,}<extra></extra>"}
    shape = layout(x_title, "rows", height)
    if mark is not None:
        shape["shapes"] = [{"type": "line", "x0": mark, "x1": mark, "yref": "paper", "y0": 0, "y1": 1,
                            "line": {"color": "var(--ps-bad)", "width": 2, "dash": "dash"}}]
        shape["annotations"] = [{"x": mark, "yref": "paper", "y": 1, "text": mark_text, "showarrow": False,
                                 "xanchor": "right", "xshift": -6, "yanchor": "top",
                                 "font": {"color": "var(--ps-bad-ink)"}}]
    return _made([trace] if counts else [], shape, label, f"{plural(sum(counts), 'row')}, {x_title}")


def points(rows: Sequence[tuple[str, Number, Number]], *, label: str, x_title: str, y_title: str, log_x: bool = False,
           height: int = 320) -> Figure:
    """Return a named point for each (name, x, y): quality against trained parameters, for example."""
    places = _places([x for _, x, y in rows if y is not None], log_x)
    data = [{"type": "scatter", "mode": "markers+text", "name": name, "x": [x], "y": [y],
             "text": [name if len(name) <= _BESIDE else name[:_BESIDE - 1] + "…"],
             "textposition": f"top {places[x]}", "cliponaxis": False, "marker": {"size": 12, "color": colour(index)},
             "hovertemplate": f"{x_title} %{{x:,}}<br>{y_title} %{{y:,.4~r}}<extra>%{{fullData.name}}</extra>"}
            for index, (name, x, y) in enumerate(rows) if x is not None and y is not None]
    shape = layout(x_title, y_title, height)
    shape["xaxis"] |= {"type": "log" if log_x else "linear"}
    return _made(data, shape, label, "; ".join(f"{name}: {y}" for name, _, y in rows))


def _places(values: Sequence[Number], log: bool) -> dict[Number, str]:
    """Return on which side of each value its name stays within the plot: right, center or left."""
    known = [value for value in values if value is not None and (value > 0 or not log)]
    scaled = {value: math.log(value) if log else float(value) for value in known}
    low, high = min(scaled.values(), default=0), max(scaled.values(), default=0)
    shares = {value: (at - low) / (high - low) if high > low else 0.5 for value, at in scaled.items()}
    return dict.fromkeys(values, "center") | {
        value: "right" if share < 1 / 3 else "left" if share > 2 / 3 else "center" for value, share in shares.items()}


def heat(rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[Number]], *, label: str,
         texts: Sequence[Sequence[str]] | None = None, x_title: str = "", height: int | None = None) -> Figure:
    """Return a heat map, its first row on top; None stays empty. `texts` are shown on hovering."""
    known = [value for line in values for value in line if value is not None]
    trace = {"type": "heatmap", "y": list(rows), "x": list(columns), "z": [list(line) for line in values],
             "text": [list(line) for line in texts] if texts else None, "xgap": 2, "ygap": 2, "showscale": False,
             "zmin": 0, "zmax": max(known, default=1) or 1, "hoverongaps": False,
             "colorscale": [[0, "var(--ps-sunken)"], [0.0001, "var(--ps-heat-low)"], [1, "var(--ps-heat-high)"]],
             "hovertemplate": "%{y}, %{x}: " + ("%{text}" if texts else "%{z:,}") + "<extra></extra>"}
    shape = layout(x_title, "", height or 66 + 24 * max(len(rows), 1))
    shape["yaxis"] |= {"autorange": "reversed", "showgrid": False, "type": "category", "automargin": True,
                       "ticksuffix": "  "}
    shape["xaxis"] |= {"showgrid": False, "type": "category", "zeroline": False}
    told = f"{plural(len(rows), 'row')} by {plural(len(columns), 'column')}"
    return _made([trace] if known else [], shape, label, told)


def layout(x_title: str = "", y_title: str = "", height: int = 280, *, legend: bool = False) -> dict[str, Any]:
    """Return the layout every figure starts from: transparent, quiet grid, text in the palette."""
    axis = {"gridcolor": "var(--ps-line)", "zerolinecolor": "var(--ps-line)", "linecolor": "var(--ps-line-strong)",
            "automargin": True, "fixedrange": False}
    return {
        "height": height, "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "showlegend": legend,
        "uirevision": "keep", "margin": {"l": 8, "r": 14, "t": 14 if not legend else 8, "b": 8}, "bargap": 0.25,
        "font": {"color": "var(--ps-muted)", "size": 12.5, "family": "var(--ps-sans)"},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"color": "var(--ps-ink)"}},
        "hoverlabel": {"bgcolor": "var(--ps-panel)", "bordercolor": "var(--ps-line-strong)",
                       "font": {"color": "var(--ps-ink)"}},
        "xaxis": axis | {"title": {"text": x_title, "standoff": 8, "font": {"size": 12.5}}},
        "yaxis": axis | {"title": {"text": y_title, "standoff": 8, "font": {"size": 12.5}}},
    }


def colour(index: int) -> str:
    """Return the palette's colour number `index`, starting again after the last."""
    return f"var(--ps-series-{index % len(SERIES) + 1})"


def dash(index: int) -> str:
    """Return the line style that tells series apart once the palette starts again."""
    return _DASHES[index // len(SERIES) % len(_DASHES)]


def resolved(value: Any, mode: Mode) -> Any:
    """Return a figure's part with its colours as #rrggbb[aa]: what the browser makes of it in that mode."""
    if isinstance(value, str) and (found := _TOKEN.fullmatch(value)):
        name, alpha = found.groups()
        if name == "sans":
            return ",".join(SANS)
        shade = SERIES[int(name.removeprefix("series-")) - 1] if name.startswith("series-") else PALETTE[mode][name]
        return shade + (f"{round(float(alpha) * 255):02x}" if alpha else "")
    if isinstance(value, list):
        return [resolved(item, mode) for item in value]
    if isinstance(value, dict):
        return {key: resolved(item, mode) for key, item in value.items()}
    return value


def plain(value: Any) -> Any:
    """Return text, or every text in a list, such that plotly shows it letter by letter instead of reading markup."""
    if isinstance(value, str):
        return html.escape(value, quote=False)
    return [plain(item) for item in value] if isinstance(value, list) else value


def _made(data: list[dict[str, Any]], shape: dict[str, Any], label: str, summary: str) -> Figure:
    for part in [*data, *shape.get("annotations", []), shape["xaxis"]["title"], shape["yaxis"]["title"]]:
        part |= {key: plain(part[key]) for key in _SHOWN if key in part}
    return {"data": data, "layout": shape, "label": label, "summary": summary[:600], "plotly": _library()}


@cache
def _library() -> str:
    """Return the URL of plotly's script, which the installed plotly package holds."""
    from importlib.metadata import version
    return f"/static-studio/plotly.min.js?v={version('plotly')}"
