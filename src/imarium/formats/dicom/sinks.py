"""Where the bytes of instances go while they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from imarium.formats._shared import CHUNK
from imarium.formats.outgoing import OutFile


class Sink(Protocol):
    """A file to write to."""

    def write(self, data: bytes, /) -> int:
        """Write at the present position."""

    def tell(self) -> int:
        """The present position."""

    def seek(self, position: int, /) -> int:
        """Go to a position."""


class Writing(Protocol):
    """One pass over the frames of a series."""

    def steps(self) -> Iterator[int | None]:
        """Takes a frame a step; gives the number of the instance that it completed, if it did."""


class Sinks:
    """Open files by the number of their instance. As a context manager it closes what is left open."""

    def __init__(self, opener: Callable[[int], BinaryIO]) -> None:
        self._opener = opener
        self._open: dict[int, BinaryIO] = {}

    def open(self, number: int) -> BinaryIO:
        """The file of an instance, new and empty."""
        self._open[number] = self._opener(number)
        return self._open[number]

    def close(self, number: int) -> None:
        """Nothing more is done with a file."""
        self._open.pop(number).close()

    def take(self, number: int, name: str) -> OutFile:
        """A complete file on its way out."""
        stream = self._open[number]
        size = stream.seek(0, 2)
        stream.seek(0)
        return OutFile(name, size, iter(lambda: stream.read(CHUNK), b""))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in list(self._open):
            self.close(number)
