"""Levels of a series through an origin: fetched whole, checked, decoded in threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from imarium.client.origin import Origin, pieces_of_index
from imarium.errors import IntegrityError
from imarium.model import Volume
from imarium.model.series import Frame
from imarium.pack import Held, LevelReader, SeriesIndex, Span
from imarium.pack.layout import crc32c

T = TypeVar("T")

_BATCH_BYTES = 32 << 20
"""Encoded bytes that an iteration over frames holds, beside as many that are on their way."""


async def read_index(origin: Origin, pack: str, span: Span) -> SeriesIndex:
    """The index of a series; one that is damaged is fetched once more. Raises IntegrityError."""
    (content,) = await origin.read(pack, [span])
    return await checked_index(origin, pack, span, content)


async def checked_index(origin: Origin, pack: str, span: Span, content: bytes) -> SeriesIndex:
    """An index out of bytes that were read already."""
    try:
        return SeriesIndex.from_bytes(content)
    except IntegrityError:
        (content,) = await origin.reread(pack, [span])
        return SeriesIndex.from_bytes(content)


async def read_volume(
    origin: Origin,
    pack: str,
    index: SeriesIndex,
    level: int,
    threads: int,
    held: Held | None = None,
) -> Volume:
    """All frames of a level; `held` are the level's bytes, if they were read already."""
    spans = pieces_of_index(index, level)

    def decode(held: Held) -> Volume:
        # Bytes in memory are near: threads cut out what they decode.
        return LevelReader(index, held.cut, level, threads, near=True).volume()

    return await _decoded(origin, pack, index, spans, decode, held)


async def read_frames(
    origin: Origin, pack: str, index: SeriesIndex, level: int, start: int, stop: int, threads: int
) -> AsyncIterator[Frame]:
    """Frames start to stop - 1 of a level in order. While some are decoded the next are fetched; bytes held
    at once are bounded."""
    batches = list(_batches(index, level, start, stop))

    def decoder(first: int, last: int) -> Callable[[Held], list[Frame]]:
        return lambda held: list(LevelReader(index, held.cut, level, threads, near=True).frames(first, last))

    async def batch(first: int, last: int) -> list[Frame]:
        spans = pieces_of_index(index, level, first, last)
        return await _decoded(origin, pack, index, spans, decoder(first, last))

    coming = asyncio.ensure_future(batch(*batches[0]))
    try:
        for number in range(len(batches)):
            frames = await coming
            if number + 1 < len(batches):
                coming = asyncio.ensure_future(batch(*batches[number + 1]))
            for frame in frames:
                yield frame
    finally:
        coming.cancel()


async def read_pyramids(
    origin: Origin, pack: str, index: SeriesIndex, numbers: Sequence[int]
) -> AsyncIterator[list[Frame]]:
    """Some frames in the order of their numbers, each at all of its levels, full resolution first. The bytes
    of a frame are fetched once, those of several frames together; bytes held at once are bounded."""

    def decoder(number: int) -> Callable[[Held], list[Frame]]:
        return lambda held: [
            LevelReader(index, held.cut, level, near=True).frame(number) for level in range(index.levels)
        ]

    for batch in _batched(index, numbers):
        pieces = {number: pieces_of_index(index, 0, number, number + 1) for number in batch}
        spans = sorted(span for several in pieces.values() for span in several)
        held = Held(spans, await origin.read(pack, spans))
        for number, own in pieces.items():
            yield await _decoded(origin, pack, index, own, decoder(number), held)


def _batched(index: SeriesIndex, numbers: Sequence[int]) -> Iterator[list[int]]:
    sizes = index.lengths.sum(axis=0, dtype=np.int64)
    batch: list[int] = []
    for number in sorted(numbers):
        if batch and int(sizes[[*batch, number]].sum()) > _BATCH_BYTES:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


async def _decoded(
    origin: Origin,
    pack: str,
    index: SeriesIndex,
    spans: Sequence[Span],
    decode: Callable[[Held], T],
    held: Held | None = None,
) -> T:
    """What `decode` makes of spans; those that do not match their checksums are fetched once more."""
    if held is None:
        held = Held(spans, await origin.read(pack, spans))
    try:
        return await asyncio.to_thread(decode, held)
    except IntegrityError:
        wrong = await asyncio.to_thread(damaged, index, held, spans)
        if not wrong:
            raise
    fresh = dict(zip(wrong, await origin.reread(pack, wrong), strict=True))
    mended = Held(spans, [fresh.get(span) or held.cut(*span) for span in spans])
    return await asyncio.to_thread(decode, mended)


def damaged(index: SeriesIndex, held: Held, spans: Sequence[Span]) -> list[Span]:
    """Those of some pieces that hold a part which does not match its checksum."""
    ends = index.starts + index.lengths
    wrong = []
    for start, stop in spans:
        within = (index.starts >= start) & (ends <= stop) & (index.lengths > 0)
        for part, frame in np.argwhere(within):
            if crc32c(held.cut(*index.span(part, frame))) != index.checksums[part, frame]:
                wrong.append((start, stop))
                break
    return wrong


def _batches(index: SeriesIndex, level: int, start: int, stop: int) -> list[Span]:
    """Runs of frames of about a batch's bytes: whole blocks where they fit, whose pieces a cache has."""
    sizes = index.lengths[: index.parts_at(level)].sum(axis=0, dtype=np.int64)
    runs = []
    while start < stop:
        ends = np.cumsum(sizes[start:stop])
        end = start + max(1, int(np.searchsorted(ends, _BATCH_BYTES, side="right")))
        block = end // index.block_frames * index.block_frames
        if start < block < end < stop:
            end = block
        runs.append((start, end))
        start = end
    return runs
