"""Reads packs through `fetch(start, stop)`, wherever they lie."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from imarium.codec import decode_frame, pixel_digest
from imarium.codec.frames import EncodedFrame, Lane, known_lane
from imarium.errors import IntegrityError, InvalidRequestError, NotFoundError
from imarium.model import Codestream, Series, Volume
from imarium.model.series import Frame
from imarium.pack.layout import (
    FOOTER,
    DirectoryEntry,
    SeriesIndex,
    Span,
    crc32c,
    directory_span,
    parse_directory,
    unpack_attachments,
)

Fetch = Callable[[int, int], bytes]
"""Bytes start to stop - 1 of a pack. May return fewer at the end; readers check."""

FetchMany = Callable[[Sequence[Span]], Sequence[bytes]]
"""The bytes of several ascending ranges of a pack, in their order."""

T = TypeVar("T")

_SMALL_PIXELS = 128 * 128
"""Frames up to this size decode faster on one thread than several threads can take turns."""

_RUN_FRAMES = 8
"""Frames that one thread fetches and decodes before it takes the next ones, where ranges cost little: they
are decoded while they are still in the processor's cache, and no thread waits for one that fetches all."""

_BATCH_BYTES = 16 << 20
_NEAR_BATCH_BYTES = 4 << 20
"""Encoded bytes that an iteration over frames reads at once: more where each range costs its way."""


def read_directory(fetch: Fetch, size: int) -> list[DirectoryEntry]:
    """The series of a pack of `size` bytes. Raises IntegrityError if it is no whole pack."""
    footer = fetch(max(0, size - FOOTER.size), size)
    (start, stop), checksum = directory_span(footer, size)
    return parse_directory(fetch(start, stop), checksum)


def read_index(fetch: Fetch, size: int, uid: str) -> SeriesIndex:
    """The index of one series of a pack."""
    for entry in read_directory(fetch, size):
        if entry.uid == uid:
            return SeriesIndex.from_bytes(fetch(*entry.index))
    raise NotFoundError("the pack does not hold that series")


def read_attachments(fetch: Fetch, index: SeriesIndex) -> dict[str, bytes]:
    """What the writers of the source's format need, by name."""
    return unpack_attachments(fetch(*index.attachments), index.attachments_crc)


class Held:
    """Bytes of ascending ranges of a pack, in memory. Raises IntegrityError where one is not whole."""

    def __init__(self, spans: Sequence[Span], pieces: Sequence[bytes | memoryview]) -> None:
        for (start, stop), piece in zip(spans, pieces, strict=True):
            if len(piece) != stop - start:
                raise IntegrityError(f"{stop - start} bytes were asked for, {len(piece)} came")
        self._starts = [start for start, _ in spans]
        self._pieces = pieces

    def cut(self, start: int, stop: int) -> bytes:
        """Bytes start to stop - 1 of the pack, which lie within one range or in ranges that touch; fewer
        where they do not. A `Fetch`."""
        if start == stop:
            return b""
        number = bisect_right(self._starts, start) - 1
        found: list[bytes | memoryview] = []
        while 0 <= number < len(self._starts) and start < stop:
            origin = self._starts[number]
            piece = self._pieces[number][start - origin : stop - origin]
            if not piece:
                break
            found.append(piece)
            start += len(piece)
            number += 1
            if number < len(self._starts) and self._starts[number] != start:
                break
        return bytes(found[0]) if len(found) == 1 else b"".join(found)


class LevelReader:
    """Decodes one level of a series. Shapes are those of `series`, its facts at that level."""

    def __init__(
        self,
        index: SeriesIndex,
        fetch: Fetch,
        level: int,
        threads: int = 1,
        fetch_many: FetchMany | None = None,
        *,
        near: bool = False,
    ) -> None:
        """`fetch_many` is used for several ranges at once; without it they are fetched one by one.

        `near` says that a range costs next to nothing, as on a local disk: threads then fetch what they
        decode.
        """
        index.check_level(level)
        self._fetch_many: FetchMany = fetch_many or (lambda spans: [fetch(*span) for span in spans])
        self._index, self._fetch, self._level, self._threads = index, fetch, level, threads
        self._near = near
        self.series: Series = index.series.at_level(level)
        if self.series.rows * self.series.columns <= _SMALL_PIXELS:
            self._threads = 1

    def volume(self) -> Volume:
        """All frames, decoded on all threads into one array of `volume_shape`.

        Read with one fetch if the series is one block, else with one fetch of several ranges; from near by
        with one a few frames.
        """
        frames = self.series.frames
        whole = None if self._near else self._held(self._index.spans(self._level))
        array = np.empty((frames, *self.series.frame_shape), np.dtype(self.series.dtype))

        def decode(start: int, stop: int) -> None:
            held = whole or self._held(self._index.spans(self._level, start, stop))
            for number in range(start, stop):
                self._decode(number, self._parts(number, held), array[number])

        step = _RUN_FRAMES if self._near else 1
        for _ in self._map(lambda first: decode(first, min(first + step, frames)), range(0, frames, step)):
            pass
        return Volume.wrap(array.reshape(self.series.volume_shape), self.series)

    def check_frames(self, start: int, stop: int) -> None:
        """Raises InvalidRequestError if frames start to stop - 1 do not all exist."""
        self._index.spans(self._level, start, stop)

    def frame(self, number: int) -> Frame:
        """One frame."""
        return next(self.frames(number, number + 1))

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Frames start to stop - 1 in order; encoded and decoded bytes held at once are bounded."""
        stop = self.series.frames if stop is None else stop
        while start < stop:
            end = self._batch_end(start, stop)
            yield from self._batch(start, end)
            start = end

    def _batch(self, start: int, end: int) -> Iterator[Frame]:
        """Frames that are fetched at once; a generator of its own, so that they go before the next come."""
        held = self._held(self._index.spans(self._level, start, end))

        def decode(number: int) -> Frame:
            return self._decode(number, self._parts(number, held), None)

        for first in range(start, end, 2 * self._threads):
            yield from self._map(decode, range(first, min(end, first + 2 * self._threads)))

    def encoded(self, numbers: Sequence[int]) -> Iterator[EncodedFrame]:
        """Full resolution only: frames as they are stored, in the order of `numbers`, not decoded.

        Every part is compared with its checksum; raises IntegrityError. Bytes held at once are bounded as in
        `frames`.
        """
        if self._level:
            raise InvalidRequestError("only the full resolution has all parts of a frame")
        index = self._index
        for start, end in self._runs(numbers):
            held = self._held(index.spans(0, start, end))
            for number in range(start, end):
                yield EncodedFrame(
                    known_lane(int(index.lanes[number])),
                    index.params[number].tobytes(),
                    index.digests[number].tobytes(),
                    tuple(self._parts(number, held)),
                )

    def _runs(self, numbers: Sequence[int]) -> Iterator[Span]:
        """The numbers as ranges (start, stop), each of no more bytes than are read at once."""
        first = 0
        while first < len(numbers):
            start, length = numbers[first], 1
            while first + length < len(numbers) and numbers[first + length] == start + length:
                length += 1
            end = self._batch_end(start, start + length)
            yield start, end
            first += end - start

    def _map(self, task: Callable[[int], T], numbers: range) -> Iterator[T]:
        if self._threads == 1 or len(numbers) == 1:
            yield from map(task, numbers)
        else:
            with ThreadPoolExecutor(self._threads, thread_name_prefix="decode") as pool:
                yield from pool.map(task, numbers)

    def _batch_end(self, start: int, stop: int) -> int:
        parts = self._index.parts_at(self._level)
        sizes = self._index.lengths[:parts, start:stop].sum(axis=0, dtype=np.int64)
        most = _NEAR_BATCH_BYTES if self._near else _BATCH_BYTES
        return start + max(1, int(np.searchsorted(np.cumsum(sizes), most, side="right")))

    def _held(self, spans: list[Span]) -> Held:
        if len(spans) == 1:
            return Held(spans, [self._fetch(*spans[0])])
        return Held(spans, self._fetch_many(spans) if spans else [])

    def _parts(self, number: int, held: Held) -> list[bytes]:
        """The parts of a frame out of fetched ranges, the header of its codestream in place."""
        index = self._index
        parts = []
        for part in range(index.parts_at(self._level)):
            content = held.cut(*index.span(part, number))
            if crc32c(content) != index.checksums[part, number]:
                raise IntegrityError(f"part {part} of frame {number} does not match its checksum")
            if part == 0 and index.heads is not None:
                content = index.heads.of(number) + content
            parts.append(content)
        return parts

    def _decode(self, number: int, parts: list[bytes], out: NDArray[Any] | None) -> Frame:
        index = self._index
        return decode_frame(
            int(index.lanes[number]),
            index.params[number].tobytes(),
            parts,
            index.series,
            index.decompositions,
            self._level,
            out,
        )

    def codestreams(self) -> Iterator[Codestream | Frame]:
        """Full resolution only: every frame's codestream as it is stored, or its values where the frame is of
        another lane; bytes held at once are bounded as in `frames`."""
        start, frames = 0, self.series.frames
        while start < frames:
            end = self._batch_end(start, frames)
            yield from self._stored_batch(start, end)
            start = end

    def _stored_batch(self, start: int, end: int) -> Iterator[Codestream | Frame]:
        held = self._held(self._index.spans(self._level, start, end))
        for number in range(start, end):
            parts = self._parts(number, held)
            if self._level or self._index.lanes[number] != Lane.HTJ2K:
                yield self._decode(number, parts, None)
            else:
                low, high = struct.unpack("<qq", self._index.params[number].tobytes())
                yield Codestream(b"".join(parts), low, high)


def verify_series(index: SeriesIndex, fetch: Fetch, threads: int = 1) -> None:
    """Re-read and decode every frame and check its digest; raises IntegrityError on the first damage."""
    read_attachments(fetch, index)
    for number, frame in enumerate(LevelReader(index, fetch, 0, threads).frames()):
        if pixel_digest(frame) != index.digests[number].tobytes():
            raise IntegrityError(f"frame {number} does not match its digest")
