"""What every test may use."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# Runs without a data folder of their own would fill the user's.
os.environ.setdefault("STUDIO_TOKEN_CACHE_BYTES", "0")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a file in one process, and all tests of the pages, which share a studio.

    What comes first is begun first: the pages take longest.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "tests/browser" if file.startswith("tests/browser/") else file

    config.option.loadscopereorder = False
    return ByFile(config, log)


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


@pytest.fixture(autouse=True)
def _no_layout() -> Generator[None, None, None]:
    """Forget where the sequences of the last batch lay: tests also call models without a task."""
    _forget_layout()
    yield
    _forget_layout()


def _forget_layout() -> None:
    attention = sys.modules.get("engine.attention")
    if attention is not None:
        attention.set_layout(None)
