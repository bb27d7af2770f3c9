"""What came of combining adapters, as HTML: progress, the comparison with the parts, and the lineage of an adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from db.tables import Adapter, Composition
from engine.recipe import WAYS
from studio import cards, measures, plots
from studio.text import ago, esc, metric, short, size

#: Scores that stand first in a comparison.
FIRST_METRICS = ("accuracy", "loss")


def status(row: Composition) -> str:
    """Return how far a combination is, why there is none, or what came of it."""
    if row.state == "ready" and row.result:
        return _result(row)
    if row.state == "cancelled" or (row.state == "failed" and (row.error or {}).get("kind") == "cancelled"):
        return cards.note("Combining was stopped. Nothing was made.", "muted")
    if row.state == "failed":
        return cards.error(row.error or {})
    live = row.live
    found = ""
    if live.get("weights"):
        found = cards.facts([("Tries", f"{live.get('tried')} of {live.get('of')}"),
                             ("Best loss with penalty so far", metric(live.get("best"))),
                             *((name, f"{weight:.3f}")
                               for name, weight in zip(told_apart(row.parents), live["weights"], strict=False))])
    words = live.get("text") or ("Waiting for a worker" if row.state == "queued" else "Starting")
    return cards.card(row.name, cards.progress(row.progress or None, words), found)


def curve(row: Composition) -> plots.Figure | None:
    """Return what LoraHub tried; None where nothing was searched."""
    label = "Loss with penalty"
    if row.result is not None and row.result.get("tries"):
        tries = row.result["tries"]
        numbers = [one["number"] for one in tries]
        best: list[float | None] = []
        for one in tries:
            known = [value for value in (*best[-1:], one["objective"]) if value is not None]
            best.append(min(known, default=None))
        series = {"best so far": (numbers, best), "tried": (numbers, [one["objective"] for one in tries])}
        return plots.lines(series, label=label, x_title="try", y_title=label, dashed=["tried"])
    points = row.live.get("points") or []
    if not points:
        return None
    return plots.lines({"best so far": ([x for x, _ in points], [y for _, y in points])}, label=label, x_title="try",
                       y_title=label)


def _result(row: Composition) -> str:
    result = row.result or {}
    notes = "".join(f"<p>{esc(note)}</p>" for note in result["notes"])
    actions = [("Try it in the playground", f"/playground?adapter={row.adapter_id}"),
               ("Look at the adapter", f"/adapters?adapter={row.adapter_id}")] if row.adapter_id else []
    gone = "" if row.adapter_id else cards.note("The adapter was deleted since.", "muted")
    rank = [("Rank", result["rank"])] if result["rank"] else []
    facts = cards.facts([("Way", WAYS[row.recipe["how"]].title), *rank])
    return cards.card(row.name, facts, notes, comparison(result, row.parents), gone, actions=actions)


def comparison(result: Mapping[str, Any], parents: Sequence[Mapping[str, Any]]) -> str:
    """Return weights, and scores where there are any, of the parts, their mean and the composed adapter."""
    lines, links = result.get("comparison") or [], _links(parents)
    if not lines:
        pairs = zip(parents, result.get("weights") or [parent.get("weight") for parent in parents], strict=True)
        rows = [(link, _weight(weight)) for link, (_, weight) in zip(links, pairs, strict=True)]
        return cards.table(["Adapter", "Weight"], rows, "Adapters and their weights", numeric=[1], html_columns=[0])
    names = sorted(lines[0]["metrics"], key=lambda name: (FIRST_METRICS.index(name) if name in FIRST_METRICS else 9))
    names = [name for name in names if name != "f1_micro" or "accuracy" not in names]
    rows = []
    for place, line in enumerate(lines):
        name = links[place] if line["kind"] == "part" else f"<b>{esc(line['name'])}</b>" \
            if line["kind"] == "composed" else esc(line["name"])
        rows.append((name, _weight(line["weight"]), *(measures.score(one, line["metrics"][one]) for one in names)))
    titles = [measures.title(name) for name in names]
    return cards.table(["Adapter", "Weight", *titles], rows, "Comparison on the same rows",
                       numeric=range(1, len(names) + 2), html_columns=[0])


def earlier(found: Sequence[Composition]) -> str:
    """Return a table of combinations made before."""
    if not found:
        return ""
    rows = [(f'<a href="/combine?composition={esc(row.id)}">{esc(row.name)}</a>', WAYS[row.recipe["how"]].title,
             cards.badge(row.state), ago(row.created_at)) for row in found]
    return cards.card("Earlier combinations", cards.table(["Name", "Way", "State", "Begun"], rows,
                                                          "Earlier combinations", html_columns=[0, 2]))


def told_apart(parents: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of {id, name}; of those that share one, with the end of their ids."""
    every = [parent["name"] for parent in parents]
    return [name if every.count(name) == 1 else f"{name} · {parent['id'][-4:]}"
            for name, parent in zip(every, parents, strict=True)]


def _links(parents: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f'<a href="/adapters?adapter={esc(parent["id"])}">{esc(name)}</a>'
            for name, parent in zip(told_apart(parents), parents, strict=True)]


def _weight(weight: float | None) -> str:
    return "" if weight is None else f"{weight:.3g}"


# -- on the page of a composed adapter --------------------------------------------------------------------------------


def numbers(row: Adapter, score: tuple[str, float | None]) -> str:
    """Return the figures of a composed adapter; `score` is the name and value of what decides."""
    name, value = score
    rank = (row.composed or {}).get("rank")
    remark = "on rows of its dataset" if name else "not measured"
    return cards.stats([
        (measures.title(name) or "Score", measures.score(name, value), remark),
        ("Combined of", str(len(row.parents)), "adapters; nothing was trained"),
        ("Stored parameters", short(row.parameters.get("stored")), f"of rank {rank}" if rank else ""),
        ("Weights", size(row.bytes), "in the adapter's weight file")])


def lineage(row: Adapter) -> str:
    """Return what an adapter was made of, with weights and how each part scored; nothing for a trained one."""
    if not row.composed:
        return ""
    notes = "".join(f"<p>{esc(note)}</p>" for note in row.composed.get("notes", []))
    return cards.card("Combined of", notes, comparison(row.composed, row.parents))


def origin(row: Adapter) -> str:
    """Return a link to the combination that made an adapter."""
    facts = row.composed or {}
    return f'<a href="/combine?composition={esc(facts.get("composition"))}">{esc(facts.get("way"))}</a>'
