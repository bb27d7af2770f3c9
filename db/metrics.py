"""The curves of runs: read by cursor, or downsampled where they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Executable, and_, case, func, or_, select
from sqlalchemy.orm import aliased

from db import rows
from db.session import database
from db.tables import Metric, Run
from db.users import User


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
    steps: list[int] = field(default_factory=list[int])
    epochs: list[float | None] = field(default_factory=list[float | None])
    times: list[float] = field(default_factory=list[float])
    mean: list[float | None] = field(default_factory=list[float | None])
    low: list[float | None] = field(default_factory=list[float | None])
    high: list[float | None] = field(default_factory=list[float | None])
    last: list[float | None] = field(default_factory=list[float | None])


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
        one_each = [and_(Metric.name == name, Metric.step > seen[name]) if seen.get(name) is not None
                    else Metric.name == name for name in wanted]
        query = select(Metric.name, Metric.step, Metric.value, Metric.epoch, Metric.at).where(
            Metric.run_id == run_id, or_(*one_each)).order_by(Metric.name, Metric.step).limit(limit)
        return [Point(*row) for row in session.execute(query)]


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
    if not run_ids:
        return []
    with database().read() as session:
        owned = set(session.scalars(select(Run.id).where(Run.owner_id == user.id, Run.id.in_(run_ids))))
        for id in run_ids:
            if id not in owned:
                raise rows.missing(Run, id)
        found: dict[tuple[str, str], Curve] = {}
        for row in session.execute(_buckets(run_ids, names, max(1, points))):
            run_id, name = row[0], row[1]
            curve = found.get((run_id, name))
            if curve is None:
                curve = found[run_id, name] = Curve(run_id, name)
            curve.steps.append(row[2])
            curve.mean.append(row[3])
            curve.low.append(row[4])
            curve.high.append(row[5])
            curve.last.append(row[6])
            curve.epochs.append(row[7])
            curve.times.append(row[8])
    place = {id: number for number, id in enumerate(run_ids)}
    rank = {name: number for number, name in enumerate(names or [])}
    return sorted(found.values(), key=lambda c: (place[c.run_id], rank.get(c.name, 0), c.name))


def _buckets(run_ids: Sequence[str], names: Sequence[str] | None, points: int) -> Executable:
    """Return the query for (run, name, last step, mean, low, high, last, epoch, at) of every bucket."""
    wanted = [Metric.run_id.in_(run_ids), *([] if names is None else [Metric.name.in_(names)])]
    span = select(Metric.run_id, Metric.name, func.min(Metric.step).label("first"),
                  (func.max(Metric.step) - func.min(Metric.step) + 1).label("width"),
                  func.count().label("number")).where(*wanted).group_by(Metric.run_id, Metric.name).cte("span")
    offset = Metric.step - span.c.first
    bucket = case((span.c.number <= points, offset), else_=offset * points // span.c.width)
    merged = select(
        Metric.run_id, Metric.name, func.max(Metric.step).label("step"), func.avg(Metric.value).label("mean"),
        func.min(Metric.value).label("low"), func.max(Metric.value).label("high")).join(
        span, and_(span.c.run_id == Metric.run_id, span.c.name == Metric.name)).where(*wanted).group_by(
        Metric.run_id, Metric.name, bucket).cte("merged")
    # The last value of a bucket is looked up by key: at most `points` look-ups a curve.
    final = aliased(Metric)
    same = and_(final.run_id == merged.c.run_id, final.name == merged.c.name, final.step == merged.c.step)
    query: Any = select(merged.c.run_id, merged.c.name, merged.c.step, merged.c.mean, merged.c.low, merged.c.high,
                        final.value, final.epoch, final.at).join(final, same).order_by(
        merged.c.run_id, merged.c.name, merged.c.step)
    return query
