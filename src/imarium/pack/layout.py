"""The binary layout of docs/design/pack-format.md: header, footer, directory, index, attachments."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import google_crc32c
import imagecodecs
import numpy as np
from numpy.typing import NDArray

from imarium.codec.frames import DIGEST_BYTES, PARAMS_BYTES
from imarium.errors import ImariumError, IntegrityError, InvalidRequestError, LevelError
from imarium.model import Series
from imarium.pack.heads import Heads

MAGIC = b"\x89IMP\r\n\x1a\n"
MAJOR, MINOR = 2, 0
READABLE = (1, 2)
"""Major versions that are read. Only `MAJOR` is written."""
HEADER = struct.Struct("<8sHHI")
FOOTER = struct.Struct("<QQIHH16x8s")
INDEX_MAGICS = {b"IMX1": 1, b"IMX2": 2}
_ZSTD_LEVEL = 9
_MOST_INDEX_BYTES = 1 << 28
MOST_BLOCK_FRAMES = 256
"""Frames of a block that are written; a series of so many is one block."""

Span = tuple[int, int]
"""Byte offsets (start, stop) in a pack; stop is exclusive."""


def coalesced(spans: Iterable[Span]) -> list[Span]:
    """Ascending spans with neighbours joined and empty ones left out."""
    joined: list[Span] = []
    for start, stop in spans:
        if start == stop:
            continue
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined


def block_frames_for(frames: int) -> int:
    """Frames a block of a new series: blocks of about the same size, as few as may be."""
    return -(-frames // -(-frames // MOST_BLOCK_FRAMES)) if frames else 1


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of the bytes."""
    value: int = google_crc32c.value(data)
    return value


def compress(data: bytes) -> bytes:
    """One zstd frame."""
    return bytes(imagecodecs.zstd_encode(data, level=_ZSTD_LEVEL))


def decompress(data: bytes) -> bytes:
    """The inverse of `compress`, bounded; raises IntegrityError."""
    size = _zstd_content_size(data)
    if size is None or size > _MOST_INDEX_BYTES:
        raise IntegrityError("a part of the pack's index is damaged, or larger than any valid one")
    try:
        return bytes(imagecodecs.zstd_decode(data, out=size)) if size else b""
    except (ValueError, RuntimeError, MemoryError, imagecodecs.ZstdError) as error:
        raise IntegrityError(f"a part of the pack's index does not decompress: {error}") from error


def _zstd_content_size(data: bytes) -> int | None:
    """Bytes that a zstd frame says it holds (RFC 8878, 3.1.1.1); None if it does not say."""
    if len(data) < 5 or data[:4] != b"\x28\xb5\x2f\xfd":
        return None
    flags = data[4]
    single_segment = flags >> 5 & 1
    width = (1 if single_segment else 0, 2, 4, 8)[flags >> 6]
    start = 5 + (1 - single_segment) + (0, 1, 2, 4)[flags & 3]
    if not width or len(data) < start + width:
        return None
    return int.from_bytes(data[start : start + width], "little") + (256 if width == 2 else 0)


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """Where the pieces of one series lie in a pack."""

    uid: str
    body: Span
    attachments: Span
    index: Span


def header() -> bytes:
    """The first 16 bytes of a pack."""
    return HEADER.pack(MAGIC, MAJOR, MINOR, 0)


def directory_and_footer(entries: Sequence[DirectoryEntry], position: int) -> bytes:
    """The end of a pack whose directory begins at `position`."""
    listing = [
        {"uid": entry.uid, "body": entry.body, "attachments": entry.attachments, "index": entry.index}
        for entry in entries
    ]
    directory = compress(json.dumps(listing, separators=(",", ":")).encode())
    footer = FOOTER.pack(position, position + len(directory), crc32c(directory), MAJOR, MINOR, MAGIC)
    return directory + footer


def pack_version(start: bytes, footer: bytes) -> tuple[int, int]:
    """(major, minor) as the first 16 and the last 48 bytes of a pack say; raises IntegrityError."""
    if len(start) != HEADER.size or len(footer) != FOOTER.size or footer[-len(MAGIC) :] != MAGIC:
        raise IntegrityError("not a pack: the magic number at its end is missing (cut off or another file)")
    magic, major, minor, _ = HEADER.unpack(start)
    _, _, _, *version, _ = FOOTER.unpack(footer)
    if magic != MAGIC or [major, minor] != version:
        raise IntegrityError("the beginning of the pack is damaged: it and the end differ")
    return major, minor


def directory_span(footer: bytes, size: int) -> tuple[Span, int]:
    """Span and checksum of the directory, from the last 48 bytes of a pack of `size` bytes."""
    if len(footer) != FOOTER.size:
        raise IntegrityError("the pack is shorter than its footer")
    start, stop, checksum, major, _minor, magic = FOOTER.unpack(footer)
    if magic != MAGIC:
        raise IntegrityError("not a pack: the magic number at its end is missing (cut off or another file)")
    if major not in READABLE:
        raise ImariumError(f"the pack has format version {major}; this Imarium reads versions 1 to {MAJOR}")
    if not HEADER.size <= start <= stop <= size - FOOTER.size:
        raise IntegrityError("the pack's directory lies outside the pack")
    return (start, stop), checksum


def parse_directory(data: bytes, checksum: int) -> list[DirectoryEntry]:
    """Entries of a directory as stored; raises IntegrityError."""
    if crc32c(data) != checksum:
        raise IntegrityError("the pack's directory does not match its checksum")
    try:
        return [
            DirectoryEntry(
                str(item["uid"]), _span(item["body"]), _span(item["attachments"]), _span(item["index"])
            )
            for item in json.loads(decompress(data))
        ]
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise IntegrityError(f"the pack's directory makes no sense ({type(error).__name__})") from error


def _span(value: Any) -> Span:
    """Two offsets out of JSON; raises ValueError or TypeError."""
    start, stop = (int(offset) for offset in value)
    if not 0 <= start <= stop:
        raise ValueError
    return start, stop


def pack_attachments(attachments: Mapping[str, bytes]) -> bytes:
    """Named contents as one zstd frame."""
    names = json.dumps([[name, len(content)] for name, content in attachments.items()]).encode()
    return compress(b"".join([struct.pack("<I", len(names)), names, *attachments.values()]))


def unpack_attachments(data: bytes, checksum: int) -> dict[str, bytes]:
    """The inverse of `pack_attachments`; raises IntegrityError."""
    if crc32c(data) != checksum:
        raise IntegrityError("the attachments of a series do not match their checksum")
    raw = decompress(data)
    (length,) = struct.unpack_from("<I", raw)
    position = 4 + length
    attachments = {}
    for name, size in json.loads(raw[4:position]):
        attachments[name] = raw[position : position + size]
        position += size
    return attachments


@dataclass(frozen=True)
class SeriesIndex:
    """Where every part of every frame of a series lies, and how to check it."""

    series: Series
    decompositions: int
    block_frames: int
    """Frames a block; the last may have fewer."""
    body: Span
    attachments: Span
    attachments_crc: int
    params: NDArray[np.uint8] = field(repr=False)
    """(frames, 16)"""
    digests: NDArray[np.uint8] = field(repr=False)
    """(frames, 32)"""
    lengths: NDArray[np.uint32] = field(repr=False)
    """(parts, frames)"""
    checksums: NDArray[np.uint32] = field(repr=False)
    """(parts, frames)"""
    lanes: NDArray[np.uint8] = field(repr=False)
    """(frames,)"""
    heads: Heads | None = field(repr=False, default=None)
    """Headers that belong before part 0 of frames."""

    @property
    def levels(self) -> int:
        """Number of levels; valid levels are 0 (full) to levels - 1 (smallest)."""
        return self.decompositions + 1

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """(parts, frames) offsets of the parts in the pack."""
        starts = np.empty(self.lengths.shape, np.int64)
        position = self.body[0]
        for first, stop in self._blocks(0, self.series.frames):
            lengths = self.lengths[:, first:stop]
            ends = position + np.cumsum(lengths.reshape(-1), dtype=np.int64).reshape(lengths.shape)
            starts[:, first:stop] = ends - lengths
            position = int(ends[-1, -1])
        return starts

    def _blocks(self, start: int, stop: int) -> Iterable[Span]:
        """The frames from start to stop - 1, cut where blocks end."""
        while start < stop:
            end = min(stop, (start // self.block_frames + 1) * self.block_frames)
            yield start, end
            start = end

    def check_level(self, level: int) -> None:
        """Raises LevelError if the series has no such level."""
        if not 0 <= level < self.levels:
            raise LevelError(
                f"level {level} does not exist: this series has levels 0 (full) to {self.levels - 1}"
            )

    def parts_at(self, level: int) -> int:
        """Number of parts that a frame needs for a level."""
        self.check_level(level)
        return self.levels - level

    def span(self, part: int, frame: int) -> Span:
        """The range of one part."""
        start = int(self.starts[part, frame])
        return start, start + int(self.lengths[part, frame])

    def spans(self, level: int, start: int = 0, stop: int | None = None) -> list[Span]:
        """The ranges that hold a level of the frames start to stop - 1, ascending, neighbours joined.

        A level of a whole block is one range; a part of a block needs one range a part.
        """
        return coalesced(self.pieces(level, start, stop))

    def pieces(self, level: int, start: int = 0, stop: int | None = None) -> list[Span]:
        """The same ranges, not joined: one a block and part, ascending. None is empty.

        What a cache holds: those of a level are among those of every finer one.
        """
        frames = self.series.frames
        stop = frames if stop is None else stop
        if not 0 <= start < stop <= frames:
            raise InvalidRequestError(f"frames {start} to {stop} do not exist: the series has {frames}")
        parts = range(self.parts_at(level))
        found = (
            (int(self.starts[part, first]), self.span(part, last - 1)[1])
            for first, last in self._blocks(start, stop)
            for part in parts
        )
        return [span for span in found if span[0] < span[1]]

    def level_bytes(self, level: int) -> int:
        """Bytes that a level of all frames takes."""
        return int(self.lengths[: self.parts_at(level)].sum(dtype=np.int64))

    def level_for_size(self, rows: int, columns: int) -> int:
        """The smallest stored level that is not smaller than rows x columns.

        Raises LevelError if even the full resolution is smaller.
        """
        for level in range(self.decompositions, -1, -1):
            at = self.series.at_level(level)
            if at.rows >= rows and at.columns >= columns:
                return level
        raise LevelError(
            f"{rows}x{columns} is larger than the full resolution, {self.series.rows}x{self.series.columns}; "
            "ask for at most that"
        )

    def to_bytes(self) -> bytes:
        """The index as it lies in a pack."""
        facts = json.dumps(
            {
                "series": self.series.to_json(),
                "decompositions": self.decompositions,
                "block_frames": self.block_frames,
                "head_bytes": 0 if self.heads is None else len(self.heads.template),
                "body": self.body,
                "attachments": self.attachments,
                "attachments_crc": self.attachments_crc,
            },
            separators=(",", ":"),
        ).encode()
        start = b"IMX2" + struct.pack("<I", len(facts)) + facts
        start += bytes(-len(start) % 8)
        arrays = [
            self.params.tobytes(),
            self.digests.tobytes(),
            _pack_lengths(self.lengths),
            self.checksums.astype("<u4").tobytes(),
            self.lanes.tobytes(),
            b"" if self.heads is None else self.heads.to_bytes(),
        ]
        raw = b"".join([start, *arrays])
        return compress(raw + struct.pack("<I", crc32c(raw)))

    @classmethod
    def from_bytes(cls, data: bytes) -> SeriesIndex:
        """The inverse of `to_bytes`, also for version 1; raises IntegrityError if anything does not fit."""
        raw = decompress(data)
        try:
            return cls._parsed(raw)
        except (LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise IntegrityError(f"the index of a series makes no sense ({type(error).__name__})") from error

    @classmethod
    def _parsed(cls, raw: bytes) -> SeriesIndex:
        version = INDEX_MAGICS.get(raw[:4])
        if len(raw) < 12 or version is None or crc32c(raw[:-4]) != struct.unpack("<I", raw[-4:])[0]:
            raise IntegrityError("the index of a series does not match its checksum")
        (length,) = struct.unpack_from("<I", raw, 4)
        facts: dict[str, Any] = json.loads(raw[8 : 8 + length])
        series = Series.from_json(facts["series"])
        decompositions, frames = int(facts["decompositions"]), series.frames
        block_frames = int(facts.get("block_frames", frames))
        parts = decompositions + 1
        position = -(-(8 + length) // 8) * 8
        sizes = (PARAMS_BYTES * frames, DIGEST_BYTES * frames, 4 * parts * frames, 4 * parts * frames, frames)
        head_bytes = int(facts.get("head_bytes", 0))
        rest = len(raw) - 4 - position - sum(sizes)
        if rest < 0 or (rest > 0 and not head_bytes) or block_frames < 1:
            raise IntegrityError("the index of a series has the wrong length")
        slices = []
        for size in sizes:
            slices.append(raw[position : position + size])
            position += size
        if version == 1:
            lengths = np.frombuffer(slices[2], "<u4").astype(np.uint32).reshape(parts, frames)
        else:
            lengths = _unpack_lengths(slices[2], parts, frames)
        body = _span(facts["body"])
        if body[0] + int(lengths.sum(dtype=np.int64)) != body[1]:
            raise IntegrityError("the parts of a series do not fill its body")
        return cls(
            series=series,
            decompositions=decompositions,
            block_frames=block_frames,
            body=body,
            attachments=_span(facts["attachments"]),
            attachments_crc=int(facts["attachments_crc"]),
            params=np.frombuffer(slices[0], np.uint8).reshape(frames, PARAMS_BYTES),
            digests=np.frombuffer(slices[1], np.uint8).reshape(frames, DIGEST_BYTES),
            lengths=lengths,
            checksums=np.frombuffer(slices[3], "<u4").astype(np.uint32).reshape(parts, frames),
            lanes=np.frombuffer(slices[4], np.uint8),
            heads=Heads.from_bytes(raw[position:-4], head_bytes, frames) if head_bytes else None,
        )


def _pack_lengths(lengths: NDArray[np.uint32]) -> bytes:
    """Zigzag differences from frame to frame, lowest bytes first: neighbours are alike, which zstd uses."""
    steps = np.diff(lengths, axis=1, prepend=np.uint32(0)).view(np.int32)  # modulo 2**32
    zigzag = (steps << 1) ^ (steps >> 31)
    return zigzag.astype("<i4").view(np.uint8).reshape(-1, 4).T.tobytes()


def _unpack_lengths(data: bytes, parts: int, frames: int) -> NDArray[np.uint32]:
    planes = np.frombuffer(data, np.uint8).reshape(4, parts * frames)
    zigzag = np.ascontiguousarray(planes.T).view("<u4").astype(np.uint32).reshape(parts, frames)
    steps = (zigzag >> 1) ^ -(zigzag & 1)
    return np.cumsum(steps, axis=1, dtype=np.uint32)
