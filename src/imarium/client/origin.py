"""Where packs lie: what the client reads them through, whatever is behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from imarium.pack import Held, SeriesIndex, Span

if TYPE_CHECKING:
    from imarium.manifest import ManifestRow

T = TypeVar("T")


class Origin(Protocol):
    """A place that holds packs."""

    near: bool
    """Whether a further range costs next to nothing, as on a disk of this machine."""

    async def read(self, pack: str, spans: Sequence[Span]) -> list[bytes]:
        """Bytes of each span of a pack, whole and in the order asked; spans may touch, overlap or be empty.

        `pack` is its key. Raises NotFoundError if the pack is gone, IntegrityError if it has no such bytes,
        and TransportError or StorageError if it cannot be read.
        """

    async def reread(self, pack: str, spans: Sequence[Span]) -> list[bytes]:
        """The same past whatever keeps bytes on the way, for spans that turned out to be damaged."""

    def know(self, pack: str, address: str) -> None:
        """Where a manifest says that a pack can be read as well; of no use to a store's own origins."""

    async def close(self) -> None:
        """Release connections and files."""


def joined(spans: Iterable[Span]) -> list[Span]:
    """Ascending spans that cover the same bytes; those that touch or overlap are one."""
    found: list[Span] = []
    for start, stop in sorted(spans):
        if start >= stop:
            continue
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(stop, found[-1][1]))
        else:
            found.append((start, stop))
    return found


def cut(held: Held, spans: Sequence[Span]) -> list[bytes]:
    """Each span out of what was read."""
    return [held.cut(start, stop) for start, stop in spans]


def pieces_of_index(index: SeriesIndex, level: int, start: int = 0, stop: int | None = None) -> list[Span]:
    """What a level of frames start to stop - 1 takes, as an origin is best asked for it: one span a block and
    part, which a cache keeps and a finer level shares. Raises LevelError, InvalidRequestError."""
    return index.pieces(level, start, stop)


def pieces_of_levels(levels: Sequence[Sequence[Span]], level: int) -> list[Span]:
    """The same for all frames from the joined ranges of every level, full resolution first, as a manifest or
    the server's description of a series has them: before the index is there.

    What a level adds to the next smaller one is a piece. Blocks begin where the smallest level's ranges do.
    """
    blocks = [start for start, _ in levels[-1]]
    ends = [*blocks[1:], levels[0][-1][1] if levels[0] else 0]
    done, pieces = list(blocks), []
    for ranges in reversed(levels[level:]):
        place = 0
        for number, (begin, end) in enumerate(zip(blocks, ends, strict=True)):
            while ranges[place][1] <= begin:
                place += 1
            stop = min(ranges[place][1], end)
            if done[number] < stop:
                pieces.append((done[number], stop))
                done[number] = stop
    return sorted(pieces)


def pieces_of_row(row: ManifestRow, level: int) -> list[Span]:
    """The same for a row of a manifest. Raises LevelError."""
    row.level(level)
    return pieces_of_levels([item.spans for item in row.levels], level)


async def together(tasks: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Results of coroutines that run at the same time; the first error ends the others."""
    running = [asyncio.ensure_future(task) for task in tasks]
    try:
        return list(await asyncio.gather(*running))
    except BaseException:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        raise
