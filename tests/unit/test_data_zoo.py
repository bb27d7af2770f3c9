"""Every broken file is met with a named error or finding, quickly and in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
from beast import COLUMNS, GOOD, ROWS, Beast, data, lines, parquet, workbook, zipped
from zoo import BEASTS
from zoo_answers import asked
from zoo_chat import chats
from zoo_images import SOUND, mnist
from zoo_tags import conll

from engine import tasks
from engine.data import columns, read, stats, validate
from engine.data.errors import FoundFault
from engine.errors import DataError, StudioError
from engine.findings import Finding

LARGEST = 32 << 20
#: Bytes of memory that reading a broken file may take, libraries and all.
MEMORY = 512 << 20
SOUND_FILES = [
    Beast("good.csv", data(GOOD), ""), Beast("good.jsonl", lines(*({"text": a, "label": b} for a, b in ROWS)), ""),
    Beast("good.parquet", parquet(COLUMNS), ""), Beast("good.xlsx", workbook([("text", "label"), *ROWS]), ""),
    Beast("good.zip", zipped({"data.csv": GOOD}), ""), Beast("good.conll", conll(), ""), Beast("images.zip", zipped(
        SOUND), ""), Beast("mnist.zip", zipped(mnist()), ""), Beast("chats.jsonl", chats(), ""),
    Beast("questions.jsonl", asked(), "")]


def stored(path: Path, parquet: Path) -> tuple[pa.Table, list[Finding]]:
    """Return the rows of a file, kept at `parquet`, and what was found reading them."""
    ingested = read.ingest(path, parquet, largest=LARGEST)
    return read.read(parquet), ingested.findings


def met(beast: Beast, folder: Path) -> list[Finding] | StudioError:
    """Return what a person is told about the file: the error, or all findings of reading, checking and counting."""
    path, parquet = folder / beast.name, folder / "out.parquet"
    beast.write(path)
    try:
        rows, found = stored(path, parquet)
    except StudioError as error:
        assert not parquet.exists(), "a failed step leaves nothing behind"
        return error
    guess = columns.guess(rows)
    task, chosen = beast.task or guess.task, beast.columns or guess.columns
    if not rows.num_rows or not task or not chosen:
        return [*found, *validate.unrecognised(rows)]
    held = None
    if beast.eval is not None:
        beast.eval(folder / f"eval_{beast.name}")
        held = stored(folder / f"eval_{beast.name}", folder / "eval.parquet")[0]
    made = tasks.get(task)(**dict(beast.options) or (guess.options if task == guess.task else {}))
    found = [*found, *made.check(rows, chosen, held)]
    if all(name in rows.column_names for name in chosen.values()):
        found += stats.summarise(rows, made, chosen, eval_table=held).findings
    return found


@pytest.mark.parametrize("beast", BEASTS, ids=lambda beast: beast.name)
def test_a_broken_file_is_named_within_seconds(beast: Beast, tmp_path: Path) -> None:
    # Of the processor: what else it does meanwhile says nothing of the file.
    before = time.process_time()
    found = met(beast, tmp_path)
    assert time.process_time() - before < 5
    if isinstance(found, StudioError):
        assert (found.kind, "refused") == (beast.kind, beast.level), found.what
        assert isinstance(found, DataError)
        described = found.as_dict()
        assert described["try_this"]
        assert beast.name in described["where"]
        assert "{" not in described["what"] + described["try_this"]
    else:
        named = {(item.kind, item.level) for item in found}
        assert (beast.kind, beast.level) in named, found
        finding = next(item for item in found if (item.kind, item.level) == (beast.kind, beast.level))
        assert finding.what and finding.try_this
        assert not beast.rows or tuple(finding.rows) == beast.rows
        if beast.level == "error":
            with pytest.raises(FoundFault) as raised:
                validate.raise_first_error([finding])
            assert raised.value.kind == beast.kind
        json.dumps(finding.model_dump())


@pytest.mark.parametrize("beast", SOUND_FILES, ids=lambda beast: beast.name)
def test_a_sound_file_is_passed_without_a_word(beast: Beast, tmp_path: Path) -> None:
    found = met(beast, tmp_path)
    assert isinstance(found, list)
    assert not [item for item in found if item.level != "note"]


def test_there_are_many_broken_files_of_different_names() -> None:
    assert len({beast.name for beast in BEASTS}) == len(BEASTS) >= 120


#: Reads each file in a process of its own and prints the most memory one took, in kilobytes.
CHILD = """
import os, sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from zoo import BEASTS
from engine.data import read
from engine.errors import DataError
for beast in BEASTS:
    if beast.name in sys.argv[2:]:
        child = os.fork()
        if not child:
            path = Path(sys.argv[1]) / beast.name
            try:
                read.ingest(path, path.with_suffix(".stored"), largest={largest})
            except DataError:
                pass
            peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
            print(beast.name, peak, flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is asked of Linux")
def test_files_made_to_fill_the_memory_do_not(tmp_path: Path) -> None:
    heavy = [beast for beast in BEASTS if beast.heavy]
    assert len(heavy) > 8
    for beast in heavy:
        beast.write(tmp_path / beast.name)
    tests = str(Path(__file__).resolve().parents[1])
    done = subprocess.run([sys.executable, "-c", CHILD.format(tests=tests, largest=LARGEST), str(tmp_path),
                           *(beast.name for beast in heavy)], capture_output=True, text=True, timeout=120,
                          cwd=Path(tests).parent)
    assert done.returncode == 0, done.stderr
    peaks = {name: int(peak) << 10 for name, peak in (line.split() for line in done.stdout.splitlines())}
    assert peaks.keys() == {beast.name for beast in heavy}
    assert max(peaks.values()) < MEMORY, peaks
