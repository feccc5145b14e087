"""What a pack file holds, told from the file alone."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from imarium.codec import lane_reason
from imarium.codec.frames import Lane
from imarium.errors import ImariumError, IntegrityError, InvalidRequestError, LimitExceededError
from imarium.model import Series
from imarium.pack.layout import FOOTER, HEADER, DirectoryEntry, SeriesIndex, pack_version
from imarium.pack.reader import Fetch, read_directory, verify_series

_CHUNK_BYTES = 8 << 20
_MOST_TABLE_BYTES = 256 << 20
"""Stored bytes of an index, or of attachments, that are read at once."""
_MOST_FRAME_BYTES = 1 << 30
"""Decoded bytes of one frame, as the limits of ingest have it."""
_NAME = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class LaneReport:
    """Frames of a series that share a lane."""

    name: str
    frames: int
    reason: str


@dataclass(frozen=True, slots=True)
class LevelReport:
    """What a level costs."""

    level: int
    rows: int
    columns: int
    bytes: int
    """Of all frames."""
    ranges: int
    share: float
    """Of the bytes of level 0."""


@dataclass(frozen=True, slots=True)
class SeriesReport:
    """One series of a pack, or why it cannot be read."""

    uid: str
    series: Series | None = None
    block_frames: int = 0
    lanes: tuple[LaneReport, ...] = ()
    levels: tuple[LevelReport, ...] = ()
    body_bytes: int = 0
    attachment_bytes: int = 0
    index_bytes: int = 0
    error: str | None = None
    """What is damaged, as far as was looked."""


@dataclass(frozen=True, slots=True)
class PackReport:
    """A pack as a whole."""

    version: tuple[int, int]
    size: int
    digest: str
    """BLAKE3 of the file, hex."""
    digest_matches: bool | None
    """Whether the file's name says the same digest; None if it says none."""
    entries: tuple[DirectoryEntry, ...]


class PackFile:
    """A pack in a file of its own, outside of any archive."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor, self._path = descriptor, path
        self.size = os.fstat(descriptor).st_size

    def fetch(self, start: int, stop: int) -> bytes:
        """Bytes start to stop - 1, fewer at the end of the file."""
        pieces = []
        stop = min(stop, self.size)
        while start < stop and (piece := os.pread(self._descriptor, stop - start, start)):
            pieces.append(piece)
            start += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def report(self) -> PackReport:
        """The pack as a whole. Raises IntegrityError if it is no whole pack."""
        footer = self.fetch(max(0, self.size - FOOTER.size), self.size)
        version = pack_version(self.fetch(0, HEADER.size), footer)
        entries = tuple(read_directory(self.fetch, self.size))
        digest = blake3()
        for start in range(0, self.size, _CHUNK_BYTES):
            digest.update(self.fetch(start, start + _CHUNK_BYTES))
        name = _NAME.fullmatch(self._path.stem)
        matches = None if name is None else name[0] == digest.hexdigest()
        return PackReport(version, self.size, digest.hexdigest(), matches, entries)

    def series(self, entry: DirectoryEntry, *, verify: bool, threads: int = 1) -> SeriesReport:
        """One series; with `verify`, every frame is decoded and compared with its digest."""
        spans = (entry.body, entry.attachments, entry.index)
        body, attachments, index = (stop - start for start, stop in spans)
        try:
            if any(start < HEADER.size or stop > self.size - FOOTER.size for start, stop in spans):
                raise IntegrityError("the series lies outside the pack")
            if max(attachments, index) > _MOST_TABLE_BYTES:
                raise IntegrityError("the index or the attachments are larger than any valid ones")
            found = SeriesIndex.from_bytes(self.fetch(*entry.index))
            if (found.series.uid, found.body, found.attachments) != (
                entry.uid,
                entry.body,
                entry.attachments,
            ):
                raise IntegrityError("the directory and the index of the series differ")
            error = _damage(found, self.fetch, threads) if verify else None
            return SeriesReport(
                entry.uid,
                found.series,
                found.block_frames,
                tuple(_lanes(found)),
                tuple(_levels(found)),
                body,
                attachments,
                index,
                error,
            )
        except ImariumError as damage:
            return SeriesReport(
                entry.uid,
                body_bytes=body,
                attachment_bytes=attachments,
                index_bytes=index,
                error=str(damage),
            )


@contextmanager
def open_pack_file(path: Path) -> Iterator[PackFile]:
    """A pack file to look into; raises InvalidRequestError if it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise InvalidRequestError(f"the file cannot be opened: {error.strerror}") from error
    try:
        yield PackFile(descriptor, path)
    except OSError as error:
        raise InvalidRequestError(f"the file cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _damage(index: SeriesIndex, fetch: Fetch, threads: int) -> str | None:
    series = index.series
    try:
        if series.frames and series.pixel_bytes // series.frames > _MOST_FRAME_BYTES:
            raise LimitExceededError(f"a frame is larger than the limit of {_MOST_FRAME_BYTES} bytes")
        verify_series(index, fetch, threads)
    except ImariumError as error:
        return str(error)
    return None


def _lanes(index: SeriesIndex) -> Iterator[LaneReport]:
    known = {int(lane): lane.name.lower() for lane in Lane}
    for number, frames in sorted(Counter(index.lanes.tolist()).items()):
        name = known.get(number, f"unknown ({number})")
        yield LaneReport(name, frames, lane_reason(number))


def _levels(index: SeriesIndex) -> Iterator[LevelReport]:
    whole = max(1, index.level_bytes(0))
    for level in range(index.levels):
        at, size = index.series.at_level(level), index.level_bytes(level)
        yield LevelReport(level, at.rows, at.columns, size, len(index.spans(level)), size / whole)
