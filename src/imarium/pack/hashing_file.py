"""A file that is hashed while it is written, and that passes by the system's cache where it is large.

Packs are written once and read, if at all, much later: an archive that takes terabytes in must not push
everything else out of memory.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from blake3 import blake3

_MOST_PIECES = 1024
"""Pieces that one call of the system takes (IOV_MAX on Linux and macOS)."""
DIRECT_BYTES = 4 << 20
"""From so many bytes on, a write passes by the cache."""
_CHUNK = 2 << 20
_PAGE = max(4096, mmap.PAGESIZE)
_UNFIT = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)
"""What file systems say that cannot be written without their cache."""


class HashingFile:
    """Appends pieces; their digest is computed on a thread of its own. Raises OSError if the disk is full."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._direct: int | None = None
        self._directly = hasattr(os, "O_DIRECT")
        self._hash = blake3()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pack-digest")
        self._hashing: Future[None] | None = None
        self.position = 0

    def write(self, *pieces: bytes) -> None:
        """Append all pieces; they are not kept."""
        self._wait()
        self._hashing = self._thread.submit(self._update, pieces)
        size = sum(map(len, pieces))
        if size >= DIRECT_BYTES and self._directly:
            self._write_directly(pieces)
        else:
            for group in _groups(pieces):
                _write_all(self._descriptor, group)
        self.position += size

    def _write_directly(self, pieces: Sequence[bytes]) -> None:
        """Whole pages without the cache, and what is left at both ends with it."""
        offset = self.position
        staged = memoryview(mmap.mmap(-1, _CHUNK))  # begins at a page; goes with its last user
        filled, goal = 0, -offset % _PAGE or _CHUNK
        for piece in pieces:
            taken = 0
            while taken < len(piece):
                count = min(goal - filled, len(piece) - taken)
                staged[filled : filled + count] = piece[taken : taken + count]
                filled, taken = filled + count, taken + count
                if filled == goal:
                    self._flush(staged[:filled], offset)
                    offset, filled, goal = offset + filled, 0, _CHUNK
        whole = filled - filled % _PAGE
        self._flush(staged[:whole], offset)
        self._flush(staged[whole:filled], offset + whole)
        os.lseek(self._descriptor, offset + filled, os.SEEK_SET)

    def _flush(self, content: memoryview, offset: int) -> None:
        if not content:
            return
        if self._directly and offset % _PAGE == 0 and len(content) % _PAGE == 0:
            try:
                if self._direct is None:
                    self._direct = os.open(self._path, os.O_WRONLY | os.O_DIRECT)
                if os.pwrite(self._direct, content, offset) == len(content):
                    return
            except OSError as error:
                if error.errno not in _UNFIT:
                    raise
                self._directly = False
        os.lseek(self._descriptor, offset, os.SEEK_SET)
        _write_all(self._descriptor, [content])

    def _update(self, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            self._hash.update(piece)

    def _wait(self) -> None:
        if self._hashing is not None:
            self._hashing.result()

    def mark(self) -> tuple[int, blake3]:
        """What `rollback` needs to come back to here."""
        self._wait()
        return self.position, self._hash.copy()

    def rollback(self, mark: tuple[int, blake3]) -> None:
        """Forget everything written since `mark`, and give its room back."""
        if self._hashing is not None:
            self._hashing.exception()  # waits
            self._hashing = None
        self.position, self._hash = mark
        os.lseek(self._descriptor, self.position, os.SEEK_SET)
        os.ftruncate(self._descriptor, self.position)

    def finish(self) -> str:
        """The digest of the content, BLAKE3 in hex. The store syncs the file when it takes it."""
        self._wait()
        return self._hash.hexdigest()

    def close(self) -> None:
        """Release the file and the thread."""
        self._thread.shutdown()
        if self._direct is not None:
            os.close(self._direct)
            self._direct = None
        os.close(self._descriptor)


def _groups(pieces: Sequence[bytes]) -> Iterator[list[memoryview]]:
    """Pieces as the system takes them: a bounded number at a time, none of them empty."""
    for first in range(0, len(pieces), _MOST_PIECES):
        yield [memoryview(piece) for piece in pieces[first : first + _MOST_PIECES] if piece]


def _write_all(descriptor: int, pieces: list[memoryview]) -> None:
    """Write pieces in order, going on where the system stopped short."""
    while pieces:
        written = os.writev(descriptor, pieces)
        done = 0
        while done < len(pieces) and written >= len(pieces[done]):
            written -= len(pieces[done])
            done += 1
        del pieces[:done]
        if pieces:
            pieces[0] = pieces[0][written:]
