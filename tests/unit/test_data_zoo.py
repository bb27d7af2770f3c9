"""Every broken file is met with a named error or finding, quickly."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path

import pytest

from engine.data import columns, read, validate
from engine.data.errors import FoundFault
from engine.errors import DataError, StudioError
from engine.findings import Finding
from tests.zoo import BEASTS, Beast

LARGEST = 32 << 20


def met(beast: Beast, folder: Path) -> list[Finding] | StudioError:
    """Return what a person is told about the file: the error, or all findings of reading and checking."""
    path, parquet = folder / beast.name, folder / "out.parquet"
    beast.write(path)
    try:
        ingested = read.ingest(path, parquet, largest=LARGEST)
    except StudioError as error:
        assert not parquet.exists(), "a failed step leaves nothing behind"
        return error
    rows = read.read(parquet)
    guess = columns.guess(rows)
    chosen = beast.columns or guess.columns
    held = None
    if beast.eval is not None:
        beast.eval(folder / "eval.csv")
        held = read.read(folder / "eval.csv")
    if "label" in chosen:
        return [*ingested.findings, *validate.classification(rows, chosen, beast.problem, eval_table=held)]
    return [*ingested.findings, *validate.language(rows, chosen, eval_table=held)]


@pytest.mark.parametrize("beast", BEASTS, ids=lambda beast: beast.name)
def test_a_broken_file_is_named_within_seconds(beast: Beast, tmp_path: Path) -> None:
    before = time.perf_counter()
    found = met(beast, tmp_path)
    assert time.perf_counter() - before < 5
    if isinstance(found, StudioError):
        assert (found.kind, "refused") == (beast.kind, beast.level), found.what
        assert isinstance(found, DataError)
        described = found.as_dict()
        assert described["try_this"]
        assert beast.name in described["where"]
        assert "{" not in described["what"] + described["try_this"]
    else:
        named = {(item.kind, item.level) for item in found}
        assert (beast.kind, beast.level) in named, named
        finding = next(item for item in found if (item.kind, item.level) == (beast.kind, beast.level))
        assert finding.what and finding.try_this
        json.dumps(finding.model_dump())


@pytest.mark.parametrize("beast", [beast for beast in BEASTS if beast.level == "error"], ids=lambda beast: beast.name)
def test_an_error_found_in_rows_can_be_raised(beast: Beast, tmp_path: Path) -> None:
    found = met(beast, tmp_path)
    assert isinstance(found, list)
    with pytest.raises(FoundFault) as raised:
        validate.raise_first_error([item for item in found if item.kind == beast.kind])
    assert raised.value.kind == beast.kind


def test_a_line_of_500_megabytes_is_refused_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "endless.csv"
    next(beast for beast in BEASTS if beast.name == "endless.csv").write(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError) as raised:
        read.read(path)
    assert raised.value.kind == "line_too_long"
    assert "12" in raised.value.where
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10
