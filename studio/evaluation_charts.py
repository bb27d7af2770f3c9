"""The charts of an evaluation, drawn by kind; kinds that are not known become tables where they can."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from studio import cards, plots
from studio.text import count, metric, percent

Value = dict[str, Any]
#: Labels of a confusion matrix that are drawn, and up to which its cells say their numbers; mix-ups named beneath.
DRAWN, SPOKEN, NAMED = 30, 12, 10
#: Pixels of a line of the matrix, and of a square one; share from which letters are light on dark.
LINE, SQUARE, STRONG = 26, 460, 0.6


def sections(charts: Mapping[str, Any]) -> list[Value]:
    """Return a section for each chart that can be drawn, the known kinds first."""
    found = []
    order = [*(kind for kind in KINDS if kind in charts), *(kind for kind in charts if kind not in KINDS)]
    for kind, content in ((kind, charts[kind]) for kind in order):
        made = KINDS[kind](content) if kind in KINDS else _table(kind, content)
        if made is not None:
            found.append(made)
    return found


def _section(name: str, title: str, how: str, *parts: Value, note: str = "") -> Value:
    return {"name": name, "title": title, "how": how, "note": note, "html": "", "parts": list(parts)}


def _confusion(content: Mapping[str, Any]) -> Value | None:
    labels, counts = [str(label) for label in content["labels"]], content["counts"]
    if not any(any(line) for line in counts):
        return None
    mistakes = [sum(line) - line[i] + sum(other[i] for other in counts) - counts[i][i] for i, line in enumerate(counts)]
    order = sorted(range(len(labels)), key=lambda i: -mistakes[i])[:DRAWN]
    kept = sorted(order) if len(labels) > DRAWN else list(range(len(labels)))
    pairs = sorted(((line[j], labels[i], labels[j]) for i, line in enumerate(counts)
                    for j in range(len(line)) if i != j and line[j]), key=lambda pair: -pair[0])
    parts = [{"title": "", "figure": _matrix([labels[i] for i in kept], [[counts[i][j] for j in kept] for i in kept]),
              "square": True}]
    if pairs:
        rows = [(expected, predicted, count(number)) for number, expected, predicted in pairs[:NAMED]]
        parts.append({"title": "", "html": cards.table(["Expected", "Predicted", "Rows"], rows, "Most frequent mix-ups",
                                                       numeric=[2])})
    left = f" Drawn are the {DRAWN} of {count(len(labels))} labels that are mixed up most." \
        if len(labels) > DRAWN else ""
    return _section("confusion", "What is taken for what", "A line for each label that was expected, a column for each "
                    f"that was predicted; colour is the share of the line.{left}", *parts)


def _matrix(labels: list[str], counts: list[list[int]]) -> plots.Figure:
    totals = [sum(line) or 1 for line in counts]
    shares = [[number / total if number else None for number in line]
              for line, total in zip(counts, totals, strict=True)]
    texts = [[f"{count(number)} of {count(total)} ({percent(number / total)})" for number in line]
             for line, total in zip(counts, totals, strict=True)]
    line = max(LINE if len(labels) <= SPOKEN else 12, min(60, SQUARE // len(labels)))
    made = plots.heat(labels, labels, shares, label="Confusion matrix", texts=texts, x_title="predicted",
                      height=90 + line * len(labels))
    made["layout"]["yaxis"]["title"] = {"text": "expected", "font": {"size": 12.5}}
    if len(labels) <= SPOKEN:
        # By number: a label called "2" would be taken for the third one.
        made["layout"]["annotations"] = [
            {"x": j, "y": i, "text": count(number), "showarrow": False, "font": {
                "size": 11, "color": "var(--ps-panel)" if (shares[i][j] or 0) > STRONG else "var(--ps-ink)"}}
            for i, row in enumerate(counts) for j, number in enumerate(row) if number]
    return made


def _curves(content: Mapping[str, Any]) -> Value | None:
    series = {}
    for one in content["series"]:
        name = str(one["name"]) + (f" ({metric(one['area'])})" if one.get("area") is not None else "")
        series[name] = (one["x"], one["y"])
    if not series:
        return None
    x_title, y_title = str(content.get("x_title", "")), str(content.get("y_title", ""))
    made = plots.lines(series, label=f"{y_title} over {x_title}", x_title=x_title, y_title=y_title,
                       height=300 + 12 * len(series))
    made["layout"]["yaxis"]["range"] = made["layout"]["xaxis"]["range"] = [0, 1.02]
    left = content.get("left_out") or 0
    return _section("curves", f"{y_title.capitalize()} and {x_title}", "How much precision is left as more of the rows "
                    "of a label are found. In brackets the average precision."
                    + (f" The {len(series)} most frequent labels; {count(left)} others are not drawn." if left else ""),
                    {"title": "", "figure": made})


def _calibration(content: Mapping[str, Any]) -> Value | None:
    bins = content["bins"]
    if not bins:
        return None
    made = plots.lines({"this model": ([one["predicted"] for one in bins], [one["observed"] for one in bins]),
                        "perfect": ([0, 1], [0, 1])}, label="Calibration", x_title="confidence", y_title="share right",
                       dashed=["perfect"], colours={"this model": 0, "perfect": 8}, height=320)
    made["data"][0] |= {"mode": "lines+markers", "customdata": [one["rows"] for one in bins],
                        "hovertemplate": "%{y:.3f} of %{customdata:,} rows<extra></extra>"}
    made["layout"]["yaxis"]["range"] = made["layout"]["xaxis"]["range"] = [0, 1.02]
    made["layout"]["hovermode"] = "closest"
    return _section("calibration", "Whether its confidence can be trusted", "Rows grouped by the model's probability, "
                    "and how often it was right: below the dashed line it is too sure, above it too careful.",
                    {"title": "", "figure": made})


def _scatter(content: Mapping[str, Any]) -> Value | None:
    x, y = content["x"], content["y"]
    if not x:
        return None
    low, high = min(*x, *y), max(*x, *y)
    made = plots.lines({"rows": (x, y), "perfect": ([low, high], [low, high])}, label="Predicted against expected",
                       x_title=content.get("x_title", ""), y_title=content.get("y_title", ""), dashed=["perfect"],
                       colours={"rows": 0, "perfect": 8}, height=360)
    made["data"][0] |= {"mode": "markers", "marker": {"size": 6, "color": plots.colour(0), "opacity": 0.6},
                        "hovertemplate": "expected %{x:,.4~r}, predicted %{y:,.4~r}<extra></extra>"}
    made["layout"]["hovermode"] = "closest"
    return _section("scatter", "Predicted against expected", "A point for each of up to 500 evaluation rows; on the "
                    "dashed line the prediction is right.", {"title": "", "figure": made})


def _table(kind: str, content: Any) -> Value | None:
    """Return a table of {name: {metric: number}}, None for what has another form."""
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Mapping) for v in content.values()):
        return None
    names = list(dict.fromkeys(name for one in content.values() for name in one))
    rows = [(str(name), *(_cell(one.get(column)) for column in names)) for name, one in content.items()]
    title = kind.replace("_", " ").capitalize()
    table = cards.table(["", *(name.replace("_", " ").capitalize() for name in names)], rows, title,
                        numeric=list(range(1, len(names) + 1)))
    return _section(kind, title, "The same metrics, one line each.", {"title": "", "html": table})


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    return count(value) if isinstance(value, int) else metric(value)


KINDS: dict[str, Callable[[Mapping[str, Any]], Value | None]] = {
    "confusion": _confusion, "curves": _curves, "calibration": _calibration, "scatter": _scatter}
