"""Encoded bytes of windows of samples: few requests a window, the next one on its way while one is used."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import pairwise
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from imarium.client.background import run, start
from imarium.client.origin import Origin, together
from imarium.client.reading import checked_index
from imarium.errors import IntegrityError
from imarium.pack import SeriesIndex, Span
from imarium.pack.layout import crc32c
from imarium.torch.items import Items
from imarium.torch.order import Ids
from imarium.torch.tables import Plan, Table

_TABLE_FRAMES = 1 << 20
"""Frames of which a process keeps where they lie, in about 200 bytes each."""
_BASE = 16
"""What a series takes beside its frames, in frames."""
_PACKS_AT_ONCE = 16
_FIRST_SAMPLES = 64
"""Samples that are fetched first."""


class Bulk:
    """Parts of frames of one pack, in memory. Lists hold a value a part."""

    __slots__ = ("begins", "checksums", "contents", "key", "offsets", "origin", "runs", "stops")

    def __init__(
        self,
        origin: Origin,
        key: str,
        offsets: NDArray[np.int64],
        lengths: NDArray[np.int64],
        checksums: NDArray[np.int64],
        ranges: tuple[NDArray[np.int64], NDArray[np.int64]],
        contents: list[bytes],
    ) -> None:
        self.origin, self.key, self.contents = origin, key, contents
        starts, stops = ranges
        for size, content in zip((stops - starts).tolist(), contents, strict=True):
            if len(content) != size:
                raise IntegrityError(f"{size} bytes were asked for, {len(content)} came")
        runs = np.searchsorted(starts, offsets, side="right") - 1
        begins = offsets - starts[runs] if len(starts) else offsets
        self.runs: list[int] = runs.tolist()
        self.begins: list[int] = begins.tolist()
        self.stops: list[int] = (begins + lengths).tolist()
        self.checksums: list[int] = checksums.tolist()
        self.offsets = offsets


class Encoded:
    """A frame as it is stored, in memory."""

    __slots__ = ("_bulk", "_first", "_last", "decoded", "frame", "high", "low", "plain", "plan")

    def __init__(
        self, plan: Plan, frame: int, plain: bool, low: int, high: int, bulk: Bulk, first: int, last: int
    ) -> None:
        self.plan, self.frame = plan, frame
        self.plain, self.low, self.high = plain, low, high
        self._bulk, self._first, self._last = bulk, first, last
        self.decoded: NDArray[Any] | None = None
        """What a GPU made of it, not clipped yet."""

    def parts(self) -> list[bytes]:
        """Its parts, each checked. One that is damaged is read once more, past all caches.

        Raises IntegrityError if it is damaged where it lies, and what reading raises.
        """
        bulk = self._bulk
        contents, runs, begins, stops, checksums = (
            bulk.contents,
            bulk.runs,
            bulk.begins,
            bulk.stops,
            bulk.checksums,
        )
        checksum_of = google_crc32c.value
        found = []
        for number in range(self._first, self._last):
            begin, stop = begins[number], stops[number]
            content = contents[runs[number]][begin:stop] if begin < stop else b""
            if checksum_of(content) != checksums[number]:
                content = self._again(number)
            found.append(content)
        if self.plan.heads is not None:
            found[0] = self.plan.heads.of(self.frame) + found[0]
        return found

    def _again(self, number: int) -> bytes:
        bulk = self._bulk
        begin = int(bulk.offsets[number])
        span = (begin, begin + bulk.stops[number] - bulk.begins[number])
        (content,) = run(bulk.origin.reread(bulk.key, [span]))
        if crc32c(content) != bulk.checksums[number]:
            raise IntegrityError(
                f"part {number - self._first} of frame {self.frame} does not match its checksum where it lies"
            )
        return content


class Sample:
    """A sample in memory: its frames, and which series of the manifest they are of."""

    __slots__ = ("first", "frames", "row")

    def __init__(self, row: int, first: int, frames: Sequence[Encoded]) -> None:
        self.row, self.first, self.frames = row, first, frames


class Fetcher:
    """Reads windows. Keeps where frames lie, as far as there is room."""

    def __init__(self, items: Items, origin: Origin) -> None:
        self._items, self._origin = items, origin
        self._bounds = np.searchsorted(items.pack, np.arange(len(items.packs) + 1))
        sizes = np.concatenate([[0], np.cumsum(items.frames.astype(np.int64) + _BASE)])
        self._sizes: NDArray[np.int64] = np.diff(sizes[self._bounds])
        self._tables: OrderedDict[int, Table] = OrderedDict()
        self._kept = 0

    def windows(self, walk: Iterable[Ids]) -> Iterator[list[Sample]]:
        """What is walked, window by window; the next one is fetched while one is used. The first one comes in
        two pieces, so that the first samples need not wait for all of it."""
        coming: deque[Future[list[Sample]]] = deque()
        try:
            for ids in _early(walk):
                coming.append(start(self.fetch(ids)))
                if len(coming) > 1:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()
        finally:
            for future in coming:
                future.cancel()

    def read_tables(self) -> None:
        """Read where the frames of all series lie, or of as many as are kept."""
        turns = asyncio.Semaphore(_PACKS_AT_ONCE)
        packs = np.flatnonzero(np.cumsum(self._sizes) <= _TABLE_FRAMES).tolist()

        async def read() -> None:
            await together(self._table(pack, turns) for pack in packs)

        run(read())

    async def fetch(self, ids: Ids) -> list[Sample]:
        """Samples with the bytes that they need. Raises what reading raises, and IntegrityError where a pack
        does not hold what the manifest says."""
        rows, first, depth = self._items.places(ids)
        frame_rows = np.repeat(rows, depth)
        within = np.arange(len(frame_rows)) - np.repeat(np.cumsum(depth) - depth, depth)
        frames = np.repeat(first, depth) + within
        packs = self._items.pack[frame_rows]
        order = np.argsort(packs, kind="stable")
        found: list[Encoded | None] = [None] * len(order)
        turns = asyncio.Semaphore(_PACKS_AT_ONCE)

        async def read(pack: int, places: NDArray[np.intp]) -> None:
            table = await self._table(pack, turns)
            key, own = self._items.packs[pack], frame_rows[places] - self._bounds[pack]
            at, counts = table.places(own, frames[places])
            offsets, lengths = table.starts[at], table.lengths[at]
            ranges = _joined(offsets, offsets + lengths)
            spans = list(zip(ranges[0].tolist(), ranges[1].tolist(), strict=True))
            async with turns:
                contents = await self._origin.read(key, spans)
            bulk = Bulk(self._origin, key, offsets, lengths, table.checksums[at], ranges, contents)
            ends = np.cumsum(counts)
            number = table.first_frame[own] + frames[places]
            for place, row, frame, plain, (low, high), begin, end in zip(
                places.tolist(),
                own.tolist(),
                frames[places].tolist(),
                table.plain[number].tolist(),
                table.bounds[number].tolist(),
                (ends - counts).tolist(),
                ends.tolist(),
                strict=True,
            ):
                found[place] = Encoded(table.plans[row], frame, plain, low, high, bulk, begin, end)

        await together(read(int(packs[run_[0]]), run_) for run_ in _runs(packs, order))
        return _samples(rows, first, depth, [one for one in found if one is not None])

    async def _table(self, pack: int, turns: asyncio.Semaphore) -> Table:
        if pack in self._tables:
            self._tables.move_to_end(pack)
            return self._tables[pack]
        rows = range(self._bounds[pack], self._bounds[pack + 1])
        key, spans = self._items.packs[pack], [self._items.index_span(row) for row in rows]
        async with turns:
            contents = await self._origin.read(key, spans)
        levels = self._items.level[rows.start : rows.stop].tolist()
        table = Table.of(await self._parsed(key, rows, spans, contents), levels)
        if pack not in self._tables:
            self._kept += int(self._sizes[pack])
        self._tables[pack] = table
        while self._kept > _TABLE_FRAMES and len(self._tables) > 1:
            gone, _ = self._tables.popitem(last=False)
            self._kept -= int(self._sizes[gone])
        return table

    async def _parsed(
        self, key: str, rows: range, spans: Sequence[Span], contents: Sequence[bytes]
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


def _early(walk: Iterable[Ids]) -> Iterator[Ids]:
    first = True
    for ids in walk:
        if first and len(ids) > 2 * _FIRST_SAMPLES:
            yield ids[:_FIRST_SAMPLES]
            ids = ids[_FIRST_SAMPLES:]
        first = False
        yield ids


def _index_or_none(content: bytes) -> SeriesIndex | None:
    try:
        return SeriesIndex.from_bytes(content)
    except IntegrityError:
        return None


def _samples(
    rows: NDArray[np.int64], first: NDArray[np.int64], depth: NDArray[np.int64], frames: Sequence[Encoded]
) -> list[Sample]:
    """Frames one after another as samples of so many each."""
    ends = np.cumsum(depth)
    return [
        Sample(row, begin, frames[start_:stop])
        for row, begin, start_, stop in zip(
            rows.tolist(), first.tolist(), (ends - depth).tolist(), ends.tolist(), strict=True
        )
    ]


def _runs(packs: NDArray[np.int32], order: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """The places of each pack, given what puts packs in order."""
    cuts = [0, *(np.flatnonzero(np.diff(packs[order])) + 1).tolist(), len(order)]
    for begin, end in pairwise(cuts):
        yield order[begin:end]


def _joined(
    starts: NDArray[np.int64], stops: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ranges that cover the same bytes and do not touch, ascending; empty ones are left out."""
    filled = starts < stops
    order = np.argsort(starts[filled], kind="stable")
    starts, stops = starts[filled][order], stops[filled][order]
    if not len(starts):
        return starts, stops
    reach = np.maximum.accumulate(stops)
    first = np.flatnonzero(np.concatenate([[True], starts[1:] > reach[:-1]]))
    last = np.concatenate([first[1:], [len(starts)]]) - 1
    return starts[first], reach[last]
