"""Having a dataset read anew in another way: with or without a header, or another part of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from db import datasets
from db.blobs import Blobs
from db.tables import Dataset
from db.users import User
from studio.service import bundles
from studio.service.datasets import DatasetNotReady, TrainedOn
from worker import client


def set_header(user: User, id: str, header: bool) -> Dataset:
    """Have a dataset read anew whose first row is, or is not, a header; columns are guessed again.

    Raises NotFound, DatasetNotReady, TrainedOn, DataError.
    """
    row = _changeable(user, id)
    said = str(row.source.get("part") or "") if row.source else ""
    return _read_anew(user, row, bundles.source(Path(Blobs().local(row.original_key or "")), header, said))


def set_part(user: User, id: str, part: str) -> Dataset:
    """Have another sheet of a workbook, or another file or part of an archive, read; "" lets it be found.

    Raises NotFound, DatasetNotReady, TrainedOn, DataError.
    """
    row = _changeable(user, id)
    return _read_anew(user, row, bundles.source(Path(Blobs().local(row.original_key or "")), None, part))


def _changeable(user: User, id: str) -> Dataset:
    row = datasets.get(user, id)
    if row.state != "ready" or row.original_key is None:
        raise DatasetNotReady(id, name=row.name, state=row.state)
    if datasets.used_by(user, id)["runs"]:
        raise TrainedOn(id, name=row.name)
    return row


def _read_anew(user: User, row: Dataset, source: dict[str, Any] | None) -> Dataset:
    id = row.id
    row = datasets.update(user, id, state="uploaded", source=source, parquet_key=None, rows=None, columns={}, task=None,
                          options={}, confirmed=False, guess=None, stats=None, findings=[], edits=[],
                          progress=0.0, error=None)
    client.inspect_dataset(id)
    return row
