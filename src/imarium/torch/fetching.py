"""Encoded bytes of windows of samples: few requests a window, the next one on its way while one is used."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from imarium.client.background import run, start
from imarium.client.origin import Origin, together
from imarium.client.reading import checked_index
from imarium.errors import IntegrityError
from imarium.pack import SeriesIndex, Span
from imarium.pack.layout import crc32c
from imarium.torch.items import Items, Place
from imarium.torch.order import Ids

_INDEX_FRAMES = 1 << 20
"""Frames whose indexes a process keeps, which take about a hundred bytes each."""
_INDEX_BASE = 16
"""What an index takes beside its frames, in frames."""
_PACKS_AT_ONCE = 16


class Runs:
    """Ascending ranges of a pack that do not touch, in memory."""

    def __init__(
        self, starts: NDArray[np.int64], stops: NDArray[np.int64], contents: Sequence[bytes]
    ) -> None:
        self._starts = starts
        self.contents = contents
        for begin, end, content in zip(starts.tolist(), stops.tolist(), contents, strict=True):
            if len(content) != end - begin:
                raise IntegrityError(f"{end - begin} bytes were asked for, {len(content)} came")

    def find(self, starts: NDArray[np.int64]) -> tuple[list[list[int]], list[list[int]]]:
        """Of parts that lie within them: number of the range, and where in it."""
        numbers = np.searchsorted(self._starts, starts, side="right") - 1
        return numbers.tolist(), (starts - self._starts[numbers]).tolist()


class Fetched:
    """The frames of a series that a window needs."""

    __slots__ = (
        "_begins",
        "_checksums",
        "_lengths",
        "_numbers",
        "_origin",
        "_pack",
        "_places",
        "_runs",
        "index",
    )

    def __init__(
        self, index: SeriesIndex, level: int, frames: NDArray[np.int64], runs: Runs, origin: Origin, pack: str
    ) -> None:
        self.index, self._origin, self._pack = index, origin, pack
        parts = index.parts_at(level)
        self._places = {frame: place for place, frame in enumerate(frames.tolist())}
        self._runs = runs.contents
        self._numbers, self._begins = runs.find(index.starts[:parts, frames].T)
        self._lengths: list[list[int]] = index.lengths[:parts, frames].T.tolist()
        self._checksums: list[list[int]] = index.checksums[:parts, frames].T.tolist()

    def parts(self, frame: int) -> list[bytes]:
        """The parts of a frame, each checked. One that is damaged is read once more, past all caches.

        Raises IntegrityError if it is damaged where it lies, and what reading raises.
        """
        place = self._places[frame]
        found: list[bytes] = []
        for number, begin, length, checksum in zip(
            self._numbers[place],
            self._begins[place],
            self._lengths[place],
            self._checksums[place],
            strict=True,
        ):
            content = self._runs[number][begin : begin + length] if length else b""
            if crc32c(content) != checksum:
                content = self._again(len(found), frame, checksum)
            found.append(content)
        heads = self.index.heads
        if heads is not None:
            found[0] = heads.of(frame) + found[0]
        return found

    def _again(self, part: int, frame: int, checksum: int) -> bytes:
        (content,) = run(self._origin.reread(self._pack, [self.index.span(part, frame)]))
        if crc32c(content) != checksum:
            raise IntegrityError(f"part {part} of frame {frame} does not match its checksum where it lies")
        return content


class Window:
    """Samples with the bytes that they need."""

    def __init__(self, places: Sequence[Place], series: dict[int, Fetched]) -> None:
        self.places, self.series = places, series


class Fetcher:
    """Reads windows. Keeps the indexes of series, as far as there is room."""

    def __init__(self, items: Items, origin: Origin) -> None:
        self._items, self._origin = items, origin
        self._indexes: OrderedDict[int, SeriesIndex] = OrderedDict()
        self._kept = 0

    def windows(self, walk: Iterable[Ids]) -> Iterator[Window]:
        """What is walked, window by window; the next one is fetched while one is used."""
        coming: deque[Future[Window]] = deque()
        try:
            for ids in walk:
                coming.append(start(self.fetch(ids)))
                if len(coming) > 1:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()
        finally:
            for future in coming:
                future.cancel()

    def read_indexes(self) -> None:
        """Read the indexes of all series, or of as many as are kept."""
        rows = np.arange(len(self._items.frames))
        kept = np.cumsum(self._items.frames.astype(np.int64) + _INDEX_BASE) <= _INDEX_FRAMES
        run(self._read_indexes(rows[kept]))

    async def _read_indexes(self, rows: NDArray[np.int64]) -> None:
        turns = asyncio.Semaphore(_PACKS_AT_ONCE)
        await together(
            self._indexes_of(pack, rows[begin:end].tolist(), turns)
            for pack, begin, end in _by_pack(self._items.pack[rows])
        )

    async def fetch(self, ids: Ids) -> Window:
        """The bytes of samples. Raises what reading raises, and IntegrityError where a pack does not hold
        what the manifest says."""
        places = self._items.places(ids)
        needed: dict[int, list[Place]] = {}
        for place in places:
            needed.setdefault(place.row, []).append(place)
        rows = np.array(sorted(needed))
        turns = asyncio.Semaphore(_PACKS_AT_ONCE)
        found: dict[int, Fetched] = {}

        async def read(pack: int, members: list[int]) -> None:
            indexes = await self._indexes_of(pack, members, turns)
            frames = [_frames(needed[row]) for row in members]
            starts, stops = await asyncio.to_thread(self._ranges, members, indexes, frames)
            key = self._items.packs[pack]
            async with turns:
                contents = await self._origin.read(
                    key, list(zip(starts.tolist(), stops.tolist(), strict=True))
                )
            runs = Runs(starts, stops, contents)
            for row, index, wanted in zip(members, indexes, frames, strict=True):
                level = int(self._items.level[row])
                found[row] = Fetched(index, level, wanted, runs, self._origin, key)

        await together(
            read(pack, rows[begin:end].tolist()) for pack, begin, end in _by_pack(self._items.pack[rows])
        )
        return Window(places, found)

    def _ranges(
        self, rows: list[int], indexes: list[SeriesIndex], frames: list[NDArray[np.int64]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Starts and stops of the ranges that hold frames of some series of a pack."""
        starts, stops = [], []
        for row, index, wanted in zip(rows, indexes, frames, strict=True):
            parts = index.parts_at(int(self._items.level[row]))
            begin = index.starts[:parts, wanted]
            starts.append(begin.ravel())
            stops.append((begin + index.lengths[:parts, wanted]).ravel())
        return _joined(np.concatenate(starts), np.concatenate(stops))

    async def _indexes_of(self, pack: int, rows: list[int], turns: asyncio.Semaphore) -> list[SeriesIndex]:
        held = {row: self._indexes[row] for row in rows if row in self._indexes}
        missing = [row for row in rows if row not in held]
        if missing:
            key, spans = self._items.packs[pack], [self._items.index_span(row) for row in missing]
            async with turns:
                contents = await self._origin.read(key, spans)
            held |= zip(missing, await self._parsed(key, missing, spans, contents), strict=True)
        for row in rows:
            if row not in self._indexes:
                self._kept += held[row].series.frames + _INDEX_BASE
            self._indexes[row] = held[row]
            self._indexes.move_to_end(row)
        while self._kept > _INDEX_FRAMES and len(self._indexes) > 1:
            _, index = self._indexes.popitem(last=False)
            self._kept -= index.series.frames + _INDEX_BASE
        return [held[row] for row in rows]

    async def _parsed(
        self, key: str, rows: list[int], spans: Sequence[Span], contents: Sequence[bytes]
    ) -> list[SeriesIndex]:
        def parse() -> list[SeriesIndex | None]:
            return [_index_or_none(content) for content in contents]

        found = []
        parsed = await asyncio.to_thread(parse)
        for row, span, content, index in zip(rows, spans, contents, parsed, strict=True):
            whole = index or await checked_index(self._origin, key, span, content)
            self._check(row, whole)
            found.append(whole)
        return found

    def _check(self, row: int, index: SeriesIndex) -> None:
        items, level = self._items, int(self._items.level[row])
        series = index.series
        if series.uid != items.uid(row) or series.frames != items.frames[row] or level >= index.levels:
            raise IntegrityError("a pack holds another series than the manifest says; make a new manifest")
        at = series.at_level(level)
        if [at.rows, at.columns] != items.shape[row].tolist() or series.samples != items.channels[row]:
            raise IntegrityError("a pack holds pixels of another shape than the manifest says")


def _index_or_none(content: bytes) -> SeriesIndex | None:
    try:
        return SeriesIndex.from_bytes(content)
    except IntegrityError:
        return None


def _by_pack(packs: NDArray[np.int32]) -> Iterator[tuple[int, int, int]]:
    """(pack, start, stop) of the runs of equal numbers."""
    if not len(packs):
        return
    cuts = [0, *(np.flatnonzero(np.diff(packs)) + 1).tolist(), len(packs)]
    for begin, end in pairwise(cuts):
        yield int(packs[begin]), begin, end


def _frames(places: Sequence[Place]) -> NDArray[np.int64]:
    """Frames of samples of one series, ascending, each once."""
    if len(places) == 1:
        return np.arange(places[0].first, places[0].first + places[0].count)
    return np.unique(np.concatenate([np.arange(item.first, item.first + item.count) for item in places]))


def _joined(
    starts: NDArray[np.int64], stops: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ranges that cover the same bytes and do not touch, ascending; empty ones are left out."""
    filled = starts < stops
    starts, stops = starts[filled], stops[filled]
    order = np.argsort(starts, kind="stable")
    starts, stops = starts[order], stops[order]
    reach = np.maximum.accumulate(stops)
    first = np.flatnonzero(np.concatenate([[True], starts[1:] > reach[:-1]])) if len(starts) else starts
    last = np.concatenate([first[1:], [len(starts)]])[: len(first)] - 1
    return starts[first], reach[last]
