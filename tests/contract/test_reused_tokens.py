"""Tokens that an earlier run made change nothing but the time it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import test_tasks
import toys

from engine import models, tasks, tiny
from engine.events import Logged
from engine.token_cache import TokenCache
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


def _exactly(value: Any) -> Any:
    """Return a value so that equal ones are of one type too."""
    return (value.dtype.str, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else (type(value), value)


@pytest.mark.parametrize("case", test_tasks.CASES)
def test_every_task_finds_its_examples_as_it_made_them(case: str, shared: Path, tmp_path: Path) -> None:
    name, options, data, roles, _ = test_tasks.CASES[case]
    task, table = tasks.get(name)(**options), pa.table(data)
    folder = shared / "models" / test_tasks.MODELS[name] if name in test_tasks.MODELS else tiny.folder("mt5", tmp_path)
    tokenizer, labels = models.tokenizer_of(folder), task.label_names(table, roles)
    task.prepare_tokenizer(tokenizer, roles)
    cache = TokenCache(tmp_path / "tokens", room=1 << 24)
    wanted = task.encode(table, roles, tokenizer, 24, labels)
    for times in range(2):
        found, known = cache.encode(task, table, roles, tokenizer, 24, labels)
        assert known == (times > 0)
        assert (found.truncated, found.labels, found.tokenizer) == (wanted.truncated, wanted.labels, wanted.tokenizer)
        assert [{key: _exactly(value) for key, value in row.items()} for row in found.rows] == \
            [{key: _exactly(value) for key, value in row.items()} for row in wanted.rows]
