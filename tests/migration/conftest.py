"""Empty databases of each kind, nothing migrated yet."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from postgres_server import new_database

_number = itertools.count()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'studio.db'}"
    return new_database(f"migration_{next(_number)}")
