"""A copy of a file made of pieces of the source and of new bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imarium.errors import CorruptFileError, LimitExceededError
from imarium.settings import Limits

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of the source, from `start` to `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A rewritten file: `parts` in order, or `stream` where the source has to be decompressed."""

    path: Path
    parts: Sequence[Part | bytes]
    removed: Counter[str]
    """What was taken out, to how often."""
    suffix: str
    """Ending of the copy's name."""
    stream: Callable[[], Iterator[bytes]] | None = None

    def pieces(self) -> Iterator[bytes]:
        """The bytes of the copy."""
        if self.stream is not None:
            yield from self.stream()
            return
        with self.path.open("rb") as source:
            for part in self.parts:
                if isinstance(part, bytes):
                    yield part
                    continue
                source.seek(part.start)
                left = part.end - part.start
                while left:
                    piece = source.read(min(left, _CHUNK))
                    if not piece:
                        raise CorruptFileError("the file is cut off, or changed while it was read")
                    left -= len(piece)
                    yield piece


def whole(path: Path, limits: Limits) -> bytes:
    """All bytes of a file that may be taken into memory. Raises LimitExceededError."""
    size = path.stat().st_size
    if size > limits.frame_bytes:
        raise LimitExceededError(f"the file has {size} bytes; the limit is {limits.frame_bytes}")
    return path.read_bytes()
