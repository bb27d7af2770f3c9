"""Arrow IPC files and streams, read batch by batch as parquet files are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from engine.data.errors import ArrowBroken

FILE = b"ARROW1"
#: A stream begins with a continuation mark and the length of its schema; older ones with the length alone.
STREAM = b"\xff\xff\xff\xff"


class IpcFile:
    """An Arrow file or stream, with the part of ParquetFile's face that reading needs; raises ArrowBroken."""

    def __init__(self, path: Path, name: str) -> None:
        """Open it to learn its columns; `name` is what errors call it."""
        self.path, self.name = path, name
        with self._source() as source:
            reader = self._reader(source)
            self.schema_arrow: pa.Schema = reader.schema
        #: Share of its bytes read so far.
        self.read = 0.0

    def iter_batches(self, batch_size: int, columns: Sequence[str] | None = None,
                     use_threads: bool = False) -> Iterator[pa.RecordBatch]:
        """Yield checked batches of at most `batch_size` rows, from the start."""
        del use_threads
        with self._source() as source:
            size = max(1, self.path.stat().st_size)
            for batch in self._batches(self._reader(source)):
                self.read = source.tell() / size
                part = batch.select(list(columns)) if columns is not None else batch
                for start in range(0, part.num_rows, batch_size):
                    yield part.slice(start, batch_size)

    def _source(self) -> pa.NativeFile:
        return pa.OSFile(str(self.path), "rb")

    def _reader(self, source: pa.NativeFile) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
        try:
            mark = source.read(len(FILE))
            source.seek(0)
            return pa.ipc.open_file(source) if mark == FILE else pa.ipc.open_stream(source)
        except (pa.ArrowException, OSError) as error:
            raise self._broken(error) from None

    def _batches(self, reader: pa.RecordBatchFileReader | pa.RecordBatchStreamReader) -> Iterator[pa.RecordBatch]:
        try:
            if isinstance(reader, pa.RecordBatchFileReader):
                found = (reader.get_batch(place) for place in range(reader.num_record_batches))
            else:
                found = iter(reader)
            for batch in found:
                batch.validate(full=True)
                yield batch
        except (pa.ArrowException, OSError) as error:
            raise self._broken(error) from None

    def _broken(self, error: Exception) -> ArrowBroken:
        return ArrowBroken(self.name, reason=str(error).split("\n", 1)[0][:200])


def is_stream(head: bytes) -> bool:
    """Tell whether a file of these first bytes is an Arrow stream: it must open as one."""
    if not head.startswith(STREAM) or len(head) < 16 or head[8:12] == b"\0" * 4:
        return False
    return 0 < int.from_bytes(head[4:8], "little") < 1 << 28
