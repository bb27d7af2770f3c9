"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# Runs without a data folder of their own would fill the user's.
os.environ.setdefault("STUDIO_TOKEN_CACHE_BYTES", "0")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Name each test's group, before anybody shares the tests out."""
    item.add_marker(pytest.mark.xdist_group(_group(item)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that ask for the shared models and data, and skip them where those are not there."""
    present = (SHARED / "models").is_dir()
    if os.environ.get("STUDIO_REQUIRE_SHARED") and not present:
        raise pytest.UsageError(f"STUDIO_REQUIRE_SHARED is set, but {SHARED} is not there.")
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker("shared")
        if item.get_closest_marker("shared") and not present:
            item.add_marker(pytest.mark.skip(reason=f"needs the models and data in {SHARED}"))


def _group(item: pytest.Item) -> str:
    """Return what a test is run together with, in one process: its file, or all tests of the pages."""
    return "browser" if "browser" in item.path.parts else str(item.path)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of development models and data beside the checkout."""
    return SHARED


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the studio's own for one test."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("STUDIO_DATA_DIR", str(folder))
    return folder
