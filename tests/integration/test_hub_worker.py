"""A real worker and its child fetch a dataset from a Hub on this machine."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hub_server import serving
from rig import studio, until

from db import datasets
from studio import service

pytestmark = pytest.mark.shared


def rows(first: int, last: int) -> bytes:
    return gzip.compress("".join(f'{{"text": "note {i} of many", "label": "{"ab"[i % 2]}"}}\n'
                                 for i in range(first, last)).encode())


def test_a_worker_looks_fetches_and_reads(tmp_path: Path, shared: Path) -> None:
    with serving() as hub, studio(tmp_path / "studio", shared) as rig:
        hub.repositories["datasets/people/notes"] = {
            "data/train-00000-of-00002.jsonl.gz": rows(0, 30), "data/train-00001-of-00002.jsonl.gz": rows(30, 50),
            "data/validation-00000-of-00001.jsonl.gz": rows(50, 60)}
        rig.environment |= {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf")}
        rig.work()
        until(lambda: service.hub_data.look(rig.user, "people/notes").state in ("ready", "failed"), 60, rig.tail)
        look = service.hub_data.look(rig.user, "people/notes")
        assert look.found is not None, look.error
        assert look.found["chosen"] == {"config": "default", "split": "train", "eval_split": "validation"}
        assert look.found["rows"][0] == {"text": "note 0 of many", "label": "a"}
        id = service.add_hub_dataset(rig.user, "people/notes").id
        until(lambda: datasets.get(rig.user, id).state in ("ready", "failed"), 60, rig.tail)
        row = datasets.get(rig.user, id)
        assert (row.state, row.rows) == ("ready", 50), row.error
        until(lambda: datasets.find(rig.user, eval_of_id=id, states=["ready", "failed"]), 60, rig.tail)
        (other,) = datasets.find(rig.user, eval_of_id=id)
        assert (other.state, other.rows) == ("ready", 10), other.error
        assert not list((rig.folder / "datasets" / id).glob("fetched-*"))
