"""Chunks of bytes as a file, for readers that want one."""

from __future__ import annotations

import io
from collections.abc import Iterator

#: So many bytes fewer than Arrow asks for make no difference to it.
NEARLY = 4 << 10


class ChunkFile(io.RawIOBase):
    """Chunks as a file object for Arrow's readers; keeps the error a chunk raised in `error`."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        """Read from `chunks` until it ends."""
        super().__init__()
        self.chunks = chunks
        self.rest = memoryview(b"")
        self.error: Exception | None = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes: a whole chunk as it is where it is about as long, for that copies nothing."""
        if size > 0 and not len(self.rest):
            data = self._next()
            if not data or size - NEARLY <= len(data) <= size:
                return data
            self.rest = memoryview(data)
        return super().read(size) or b""

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Fill the whole of `buffer`, so that Arrow's blocks are as long as it asks; return the bytes, 0 at the end."""
        done = 0
        while done < len(buffer):
            if not len(self.rest):
                self.rest = memoryview(self._next())
                if not len(self.rest):
                    break
            count = min(len(buffer) - done, len(self.rest))
            buffer[done:done + count] = self.rest[:count]
            self.rest = self.rest[count:]
            done += count
        return done

    def _next(self) -> bytes:
        try:
            return next(self.chunks, b"")
        except Exception as error:
            self.error = error
            raise
