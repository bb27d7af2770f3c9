"""All files of a split brought into the client's cache, and joined where there are several."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine import hub
from engine.data import read
from engine.errors import Cancelled, NotEnough
from engine.findings import Finding
from engine.hub_data import client
from engine.hub_data.errors import FilesDiffer
from engine.hub_data.listing import Listing

Progress = Callable[[float], None]
#: Bytes of disk that stay free.
SPARE = 64 << 20
_ROWS = 4096


@dataclass(frozen=True)
class Fetched:
    """The rows of a split as one file, and the sha256 of each file they came in; `findings` are those of joining."""

    path: Path
    files: dict[str, str]
    bytes: int
    findings: list[Finding] = field(default_factory=list[Finding])


def fetch(listing: Listing, config: str, split: str, folder: Path, progress: Progress | None = None,
          cancelled: Callable[[], bool] | None = None) -> Fetched:
    """Bring the files of a split from the cache or the Hub; several are joined into one parquet file in `folder`.

    Raises DatasetUnreachable, DatasetGated, DatasetMissing, NoSuchSplit, FilesDiffer, NotEnough, DataError, Cancelled.
    """
    stop = cancelled or (lambda: False)
    sizes = listing.split(config, split).files
    total, done = max(1, sum(sizes.values())), 0
    _room(listing, sizes, folder)
    paths: dict[str, Path] = {}
    for name, size in sizes.items():
        def report(part: float, before: int = done, share: int = size) -> None:
            if progress is not None:
                progress((before + part * share) / total)
        paths[name] = _file(listing, name, size, report, stop)
        done += size
        report(0.0, done)
        if stop():
            raise Cancelled("hub")
    hashes = {name: read.digest(path)[0] for name, path in paths.items()}
    if len(paths) == 1:
        return Fetched(next(iter(paths.values())), hashes, done)
    path, findings = join(paths, folder, stop)
    return Fetched(path, hashes, done, findings)


def _file(listing: Listing, name: str, size: int, progress: Progress, cancelled: Callable[[], bool]) -> Path:
    there = client.cached(listing.id, name, listing.revision)
    if there is not None:
        return there
    from huggingface_hub import hf_hub_download

    with client.calls(listing.id, listing.revision):
        return Path(hf_hub_download(listing.id, name, revision=listing.revision, repo_type="dataset",
                                    tqdm_class=hub.bar(size, progress, cancelled, "hub"), **client.settings()))


def _room(listing: Listing, sizes: Mapping[str, int], folder: Path) -> None:
    """Raise NotEnough where a disk cannot take what is missing in the cache, and what is made of it beside `folder`."""
    missing = sum(size for name, size in sizes.items() if client.cached(listing.id, name, listing.revision) is None)
    made = sum(sizes.values()) * (2 if len(sizes) > 1 else 1)
    for place, needed in ((hub.cache_folder(), missing), (folder, made)):
        there = next(one for one in (place.absolute(), *place.absolute().parents) if one.exists())
        free = shutil.disk_usage(there).free
        if needed and free < needed + SPARE:
            raise NotEnough(listing.id, resource=f"disk space at {there}", needed=f"{needed + SPARE} bytes",
                            available=f"{free} bytes")


def join(paths: Mapping[str, Path], folder: Path, cancelled: Callable[[], bool]) -> tuple[Path, list[Finding]]:
    """Write the rows of several files under each other into one parquet file; raises FilesDiffer, DataError.

    Files of other kinds are read first; columns that are whole numbers in one and fractions in another become the
    wider of the two, and one that is missing in a file is empty there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plain, findings = dict(paths), list[Finding]()
    if any(path.open("rb").read(4) != b"PAR1" for path in paths.values()):
        for number, (name, path) in enumerate(paths.items()):
            plain[name] = folder / f"part-{number}.parquet"
            made = read.ingest(path, plain[name], cancelled=cancelled)
            findings += [one.model_copy(update={"where": f"{name}: {one.where}".rstrip(": ")}) for one in made.findings]
    schema, target = _schema(plain), folder / "joined.parquet"
    with pq.ParquetWriter(target, schema) as out:
        for batch in _batches(plain, schema):
            if cancelled():
                raise Cancelled("hub")
            out.write_batch(batch)
    return target, findings


def _schema(paths: Mapping[str, Path]) -> pa.Schema:
    """Return the columns of all files, with what the first one tells of them, such as the names of classes."""
    (first, path), *others = paths.items()
    schema = _read_schema(path)
    metadata = schema.metadata
    for name, other in others:
        try:
            schema = pa.unify_schemas([schema, _read_schema(other)], promote_options="permissive")
        except pa.ArrowException as error:
            raise FilesDiffer(name, first=first, second=name, reason=str(error).split("\n", 1)[0][:200]) from None
    return schema.with_metadata(metadata)


def _read_schema(path: Path) -> pa.Schema:
    from engine.data.errors import ParquetBroken

    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise ParquetBroken(path.name, reason=str(error).split("\n", 1)[0][:200]) from None


def _batches(paths: Mapping[str, Path], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    from engine.data.errors import ParquetBroken

    for name, path in paths.items():
        try:
            with pq.ParquetFile(path, memory_map=False) as file:
                for batch in file.iter_batches(batch_size=_ROWS, use_threads=False):
                    arrays: list[Any] = [
                        batch.column(field.name).cast(field.type) if field.name in batch.schema.names
                        else pa.nulls(batch.num_rows, field.type) for field in schema]
                    yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        except (pa.ArrowException, OSError) as error:
            raise ParquetBroken(name, reason=str(error).split("\n", 1)[0][:200]) from None
