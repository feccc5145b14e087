"""The binary layout of docs/design/pack-format.md: header, footer, directory, index, attachments."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
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

MAGIC = b"\x89IMP\r\n\x1a\n"
MAJOR, MINOR = 1, 0
HEADER = struct.Struct("<8sHHI")
FOOTER = struct.Struct("<QQIHH16x8s")
INDEX_MAGIC = b"IMX1"
_ZSTD_LEVEL = 9
_MOST_INDEX_BYTES = 1 << 28

Span = tuple[int, int]
"""Byte offsets (start, stop) in a pack; stop is exclusive."""


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


def directory_span(footer: bytes, size: int) -> tuple[Span, int]:
    """Span and checksum of the directory, from the last 48 bytes of a pack of `size` bytes."""
    if len(footer) != FOOTER.size:
        raise IntegrityError("the pack is shorter than its footer")
    start, stop, checksum, major, _minor, magic = FOOTER.unpack(footer)
    if magic != MAGIC:
        raise IntegrityError("not a pack: the magic number at its end is missing (cut off or another file)")
    if major != MAJOR:
        raise ImariumError(f"the pack has format version {major}; this Imarium reads version {MAJOR}")
    if not HEADER.size <= start <= stop <= size - FOOTER.size:
        raise IntegrityError("the pack's directory lies outside the pack")
    return (start, stop), checksum


def parse_directory(data: bytes, checksum: int) -> list[DirectoryEntry]:
    """Entries of a directory as stored; raises IntegrityError."""
    if crc32c(data) != checksum:
        raise IntegrityError("the pack's directory does not match its checksum")
    return [
        DirectoryEntry(item["uid"], tuple(item["body"]), tuple(item["attachments"]), tuple(item["index"]))
        for item in json.loads(decompress(data))
    ]


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

    @property
    def levels(self) -> int:
        """Number of levels; valid levels are 0 (full) to levels - 1 (smallest)."""
        return self.decompositions + 1

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """(parts * frames + 1,) offsets in the pack of the parts in the order of the body, and the end."""
        ends = np.cumsum(self.lengths.reshape(-1), dtype=np.int64)
        return np.concatenate([[0], ends]) + self.body[0]

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

    def span(self, level: int) -> Span:
        """The one range that holds a level of all frames."""
        stop = self.offsets[self.parts_at(level) * self.series.frames]
        return self.body[0], int(stop)

    def spans(self, level: int, start: int, stop: int) -> list[Span]:
        """One range a part for a level of the frames start to stop - 1."""
        frames = self.series.frames
        if not 0 <= start < stop <= frames:
            raise InvalidRequestError(f"frames {start} to {stop} do not exist: the series has {frames}")
        return [
            (int(self.offsets[part * frames + start]), int(self.offsets[part * frames + stop]))
            for part in range(self.parts_at(level))
        ]

    def level_bytes(self, level: int) -> int:
        """Bytes that a level of all frames takes."""
        start, stop = self.span(level)
        return stop - start

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
                "body": self.body,
                "attachments": self.attachments,
                "attachments_crc": self.attachments_crc,
            },
            separators=(",", ":"),
        ).encode()
        start = INDEX_MAGIC + struct.pack("<I", len(facts)) + facts
        start += bytes(-len(start) % 8)
        arrays = [
            self.params.tobytes(),
            self.digests.tobytes(),
            self.lengths.astype("<u4").tobytes(),
            self.checksums.astype("<u4").tobytes(),
            self.lanes.tobytes(),
        ]
        raw = b"".join([start, *arrays])
        return compress(raw + struct.pack("<I", crc32c(raw)))

    @classmethod
    def from_bytes(cls, data: bytes) -> SeriesIndex:
        """The inverse of `to_bytes`; raises IntegrityError if anything does not fit."""
        raw = decompress(data)
        if len(raw) < 12 or raw[:4] != INDEX_MAGIC or crc32c(raw[:-4]) != struct.unpack("<I", raw[-4:])[0]:
            raise IntegrityError("the index of a series does not match its checksum")
        (length,) = struct.unpack_from("<I", raw, 4)
        facts: dict[str, Any] = json.loads(raw[8 : 8 + length])
        series = Series.from_json(facts["series"])
        decompositions, frames = int(facts["decompositions"]), series.frames
        parts = decompositions + 1
        position = -(-(8 + length) // 8) * 8
        sizes = (PARAMS_BYTES * frames, DIGEST_BYTES * frames, 4 * parts * frames, 4 * parts * frames, frames)
        if position + sum(sizes) + 4 != len(raw):
            raise IntegrityError("the index of a series has the wrong length")
        slices = []
        for size in sizes:
            slices.append(raw[position : position + size])
            position += size
        return cls(
            series=series,
            decompositions=decompositions,
            body=tuple(facts["body"]),
            attachments=tuple(facts["attachments"]),
            attachments_crc=int(facts["attachments_crc"]),
            params=np.frombuffer(slices[0], np.uint8).reshape(frames, PARAMS_BYTES),
            digests=np.frombuffer(slices[1], np.uint8).reshape(frames, DIGEST_BYTES),
            lengths=np.frombuffer(slices[2], "<u4").astype(np.uint32).reshape(parts, frames),
            checksums=np.frombuffer(slices[3], "<u4").astype(np.uint32).reshape(parts, frames),
            lanes=np.frombuffer(slices[4], np.uint8),
        )
