"""Tokens that an earlier run made change nothing but the time it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import toys

from engine.events import Logged
from engine.train import Sources, run

pytestmark = [pytest.mark.shared, pytest.mark.usefixtures("one_thread")]


def saved(out: Path) -> dict[str, bytes]:
    """Return every file of the adapter by name."""
    return {path.name: path.read_bytes() for path in (out / "adapter").iterdir()}


@pytest.mark.parametrize("data", [toys.texts, toys.talks])
def test_a_run_ends_with_the_same_bytes_with_new_kept_or_no_tokens(
        data: Any, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = toys.spec(shared, data(tmp_path), epochs=1)
    sources = Sources(data_dir=tmp_path)
    told: dict[str, list[str]] = {}
    for name, room in (("none", 0), ("new", 1 << 24), ("kept", 1 << 24)):
        monkeypatch.setenv("STUDIO_TOKEN_CACHE_BYTES", str(room))
        result = run(spec, tmp_path / name, sources=sources)
        assert result["state"] == "succeeded"
        told[name] = [event.text for event in toys.events(tmp_path / name)
                      if isinstance(event, Logged) and event.text.startswith("Tokens reused")]
        assert result["metrics"] == toys.result(tmp_path / "none")["metrics"]
        assert saved(tmp_path / name) == saved(tmp_path / "none")
    assert (told["none"], told["new"], len(told["kept"])) == ([], [], 1)
    count = len(Path(spec.data.train).read_text().splitlines()) - (data is toys.texts)
    assert f" {count} rows " in told["kept"][0]
    assert len(list((tmp_path / "cache" / "tokens").glob("*.arrow"))) == 2
