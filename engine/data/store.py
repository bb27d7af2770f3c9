"""Rows written to parquet beside their reading: in row groups small enough that any page of them is read at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

#: Bytes of a row group before it is packed. A page of rows that a search or an order brings together reads one group
#: for each of its rows.
GROUP_BYTES = 1 << 20
#: Bytes of a row group for each column at least: every column of a group has an entry in the file's table of contents.
COLUMN_BYTES = 4 << 10
#: Groups that may wait to be written.
WAITING = 8


class Store:
    """Takes batches of one schema and writes them in a thread of its own; see `writing`."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.rows = 0
        self._least = least(schema)
        self._schema = schema
        self._held: list[pa.RecordBatch] = []
        self._weight = 0
        self._full: queue.Queue[pa.Table | None] = queue.Queue(WAITING)
        self._error: BaseException | None = None
        # Texts are seldom the same, and smallest and largest values of them are asked by nobody.
        self._writer = pq.ParquetWriter(path, schema, compression="snappy", use_dictionary=False,
                                        write_statistics=False)
        self._thread = threading.Thread(target=self._work, name="store", daemon=True)
        self._thread.start()

    def add(self, batch: pa.RecordBatch) -> None:
        """Take a batch, cut into groups; raises what went wrong with those before it."""
        self.rows += batch.num_rows
        size = max(1, batch.nbytes)
        if size > 2 * self._least:
            rows = max(1, batch.num_rows * self._least // size)
            for start in range(0, batch.num_rows, rows):
                self._hold(batch.slice(start, rows), size * rows // max(1, batch.num_rows))
        else:
            self._hold(batch, size)

    def _hold(self, batch: pa.RecordBatch, size: int) -> None:
        self._held.append(batch)
        self._weight += size
        if self._weight >= self._least:
            self._hand_over()

    def _hand_over(self) -> None:
        self._put(pa.Table.from_batches(self._held, self._schema))
        self._held, self._weight = [], 0

    def close(self) -> None:
        """Write the rest; raises what went wrong."""
        if self._held or not self.rows:
            self._hand_over()
        self._put(None)
        self._thread.join()
        self._raise()
        self._writer.close()

    def abandon(self) -> None:
        """Stop writing; what is there is no whole file."""
        while self._thread.is_alive():
            with suppress(queue.Full):
                self._full.put_nowait(None)
            self._thread.join(0.05)
        with suppress(OSError, pa.ArrowException):
            self._writer.close()

    def _put(self, table: pa.Table | None) -> None:
        while True:
            self._raise()
            with suppress(queue.Full):
                self._full.put(table, timeout=1.0)
                return

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            while (table := self._full.get()) is not None:
                self._writer.write_table(table)
        except BaseException as error:
            self._error = error


def least(schema: pa.Schema) -> int:
    """Return the bytes of a row group, unpacked."""
    return max(GROUP_BYTES, COLUMN_BYTES * len(schema))


@contextmanager
def writing(path: Path, schema: pa.Schema) -> Generator[Store, None, None]:
    """Open a file to write rows of this schema to; it is whole when the block ends well. Raises OSError."""
    store = Store(path, schema)
    try:
        yield store
        store.close()
    except BaseException:
        store.abandon()
        raise
