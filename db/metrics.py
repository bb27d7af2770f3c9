"""The curves of runs: read by cursor, or downsampled where they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import select, text, union_all
from sqlalchemy.orm import Session

from db import rows
from db.session import database
from db.tables import Metric, Run
from db.users import User

#: SQLite takes 500 terms in a UNION at most, and 32,766 parameters.
SERIES_A_QUERY = 200


class Point(NamedTuple):
    """One value of one metric; `value` is None where it was not finite, `at` is Unix time."""

    name: str
    step: int
    value: float | None
    epoch: float | None
    at: float


@dataclass
class Curve:
    """One metric of one run in at most `points` buckets of steps; all lists have the same length.

    `steps`, `epochs`, `times` and `last` belong to the last point of each bucket; `mean`, `low` and `high` cover it.
    """

    run_id: str
    name: str
    steps: list[int]
    epochs: list[float | None]
    times: list[float]
    mean: list[float | None]
    low: list[float | None]
    high: list[float | None]
    last: list[float | None]


def points(user: User, run_id: str, names: Sequence[str] | None = None,
           after: int | Mapping[str, int] | None = None, limit: int = 10_000) -> list[Point]:
    """Return a run's points in order of name and step.

    `after` is a step, or the last step seen of each metric (as `cursor` makes it): metrics are not written in step
    with each other, so only the mapping never misses a point.
    """
    with database().read() as session:
        run = rows.one(session, Run, user, run_id)
        wanted = list(names) if names is not None else sorted(run.latest)
        seen = after if isinstance(after, Mapping) else dict.fromkeys(wanted, after) if after is not None else {}
        if not wanted:
            return []
        every = select(Metric.name, Metric.step, Metric.value, Metric.epoch, Metric.at).where(Metric.run_id == run_id)
        # One look into the key for each metric: with OR, SQLite reads the whole run.
        fresh = [every.where(Metric.name == name, Metric.step > seen.get(name, -1)) for name in dict.fromkeys(wanted)]
        found: list[Point] = []
        for start in range(0, len(fresh), SERIES_A_QUERY):
            query = union_all(*fresh[start : start + SERIES_A_QUERY]).order_by("name", "step").limit(limit - len(found))
            found += [Point(*row) for row in session.execute(query)]
        return found


def cursor(read: Sequence[Point], before: Mapping[str, int] | None = None) -> dict[str, int]:
    """Return what to pass as `after` next time: the last step of each metric in `read`, and those read before."""
    seen = dict(before or {})
    for point in read:
        seen[point.name] = max(seen.get(point.name, point.step), point.step)
    return seen


def curves(user: User, run_ids: Sequence[str], names: Sequence[str] | None = None, points: int = 500) -> list[Curve]:
    """Return one curve for each run and metric there is, in the order of `run_ids` and `names` (else by name).

    A metric of at most `points` values comes as it is; a longer one is cut into `points` equal ranges of steps by the
    database. Raises NotFound for a run that is not the user's.
    """
    found: list[Curve] = []
    with database().read() as session:
        query = select(Run.id, Run.latest).where(Run.owner_id == user.id, Run.id.in_(run_ids))
        owned = dict(session.execute(query).all())
        for id in run_ids:
            if id not in owned:
                raise rows.missing(Run, id)
        wanted = [(id, name) for id in dict.fromkeys(run_ids)
                  for name in (sorted(owned[id]) if names is None else dict.fromkeys(names)) if name in owned[id]]
        for start in range(0, len(wanted), SERIES_A_QUERY):
            found += _read(session, wanted[start : start + SERIES_A_QUERY], max(1, points))
    return found


def _read(session: Session, series: Sequence[tuple[str, str]], points: int) -> list[Curve]:
    """Return the curves of some (run, metric), those without values left out."""
    values: dict[str, Any] = {"points": points}
    terms: list[str] = []
    for number, first, width, long in _spans(session, series, points):
        values |= {f"run{number}": series[number][0], f"name{number}": series[number][1]}
        if long:
            values |= {f"first{number}": first, f"width{number}": width}
        terms.append((_BUCKETS if long else _WHOLE).format(n=number))
    if not terms:
        return []
    groups: dict[int, list[tuple[Any, ...]]] = {}
    for row in session.execute(text(" UNION ALL ".join(terms)), values):
        groups.setdefault(row[0], []).append(tuple(row[1:]))
    # By step: a database may answer a GROUP BY in any order.
    return [Curve(*series[number], *map(list, zip(*sorted(groups[number]), strict=True))) for number in sorted(groups)]


def _spans(session: Session, series: Sequence[tuple[str, str]], points: int) -> list[tuple[int, int, int, bool]]:
    """Return (number, first step, width in steps, whether it is too long) of each series that has values."""
    marks = ", ".join(f"({number}, :run{number}, :name{number})" for number in range(len(series)))
    values: dict[str, Any] = {"points": points}
    for number, (run_id, name) in enumerate(series):
        values |= {f"run{number}": run_id, f"name{number}": name}
    return [(number, first, last - first + 1, beyond is not None)
            for number, first, last, beyond in session.execute(text(_SPANS.format(marks=marks)), values)
            if first is not None]


#: Each answer is one look into the key, however long the series is (the third reads `points` entries).
_SPANS = """
WITH series (number, run_id, name) AS (VALUES {marks})
SELECT number,
       (SELECT min(step) FROM metrics m WHERE m.run_id = series.run_id AND m.name = series.name),
       (SELECT max(step) FROM metrics m WHERE m.run_id = series.run_id AND m.name = series.name),
       (SELECT step FROM metrics m WHERE m.run_id = series.run_id AND m.name = series.name
        ORDER BY step LIMIT 1 OFFSET :points)
FROM series"""

#: One series, cut. Epoch and time grow with the step; only the last value must be looked up.
#: A series a term is several times faster on SQLite than one GROUP BY over all: its sort compares plain numbers.
_BUCKETS = """
SELECT {n} AS number, step, epoch, at, mean, low, high,
       (SELECT value FROM metrics f WHERE f.run_id = :run{n} AND f.name = :name{n} AND f.step = b{n}.step) AS last
FROM (SELECT max(step) AS step, max(epoch) AS epoch, max(at) AS at, avg(value) AS mean, min(value) AS low,
             max(value) AS high
      FROM metrics WHERE run_id = :run{n} AND name = :name{n}
      GROUP BY (step - :first{n}) * :points / :width{n}) AS b{n}"""

#: One series that is short enough.
_WHOLE = """
SELECT {n} AS number, step, epoch, at, value AS mean, value AS low, value AS high, value AS last
FROM metrics WHERE run_id = :run{n} AND name = :name{n}"""
