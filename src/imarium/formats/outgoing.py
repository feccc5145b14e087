"""Exports that leave as they are made: files in turn, or a zip of them, with no copy of their own."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

_BATCH_BYTES = 1 << 18
"""Smaller pieces are sent together: each costs a turn of a thread."""
_MOST_COMMENT = 65535
"""Bytes of a zip's comment (APPNOTE 4.4.12)."""


@dataclass(frozen=True, slots=True)
class OutFile:
    """One file of an export."""

    name: str
    """Tells nothing of the patient; with folders where the export is one."""
    size: int | None
    """Bytes, where they are known before the first is made."""
    chunks: Iterable[bytes]
    """The content, to be taken once."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The files of an export, made while they are taken: each to its end, then the next."""

    bundle: str | None
    """Name of the zip that they need; None where there is but one file."""
    files: Iterator[OutFile]


def headed(head: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """`head` and then `chunks`; nothing comes before the first chunk is made, so that it can still fail."""
    for chunk in chunks:
        if head:
            yield head
            head = b""
        yield chunk


def batched(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of some size."""
    waiting: list[bytes] = []
    size = 0
    for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= _BATCH_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def zipped(files: Iterable[OutFile], comment: Callable[[], bytes]) -> Iterator[bytes]:
    """A zip of the files, stored and not compressed, as a stream.

    Sizes and checksums follow each file's bytes (APPNOTE 4.3.9), since they are not known before. `comment`
    is asked last and becomes the zip's own, unless it is too long for one.
    """
    sink = Pipe()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            now = datetime.now()
            facts = zipfile.ZipInfo(
                file.name, (now.year, now.month, now.day, now.hour, now.minute, now.second)
            )
            facts.external_attr = 0o644 << 16
            facts.file_size = file.size or 0
            with archive.open(facts, "w", force_zip64=file.size is None) as member:
                for chunk in file.chunks:
                    member.write(chunk)
                    yield from sink.drain()
        said = comment()
        archive.comment = said if len(said) <= _MOST_COMMENT else b""
    yield from sink.drain()


class Pipe:
    """A file that can only be written, and forgets what it has passed on."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._position = 0

    def write(self, data: bytes, /) -> int:
        """Hold bytes until they are taken."""
        self._held.append(bytes(data))
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        """Bytes written so far."""
        return self._position

    def seek(self, position: int, /) -> int:
        """Not here: raises io.UnsupportedOperation, by which zipfile knows it too."""
        raise io.UnsupportedOperation(f"bytes {self._position} come next, and not {position}")

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is open."""

    def drain(self) -> Iterator[bytes]:
        """What was written since it was last asked for."""
        held, self._held = self._held, []
        return iter(held)
