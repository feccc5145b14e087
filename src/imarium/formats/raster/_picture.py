"""What readers of plain pictures share: a picture's header, its bounds, and the series of one frame it is."""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from imarium.errors import CorruptFileError, ImariumError, LimitExceededError
from imarium.formats._shared import CHUNK, opened, reopened, study_uid_of, uid_of_digest
from imarium.formats.base import ReadContext, Refusal
from imarium.model import Series, SourceCodestream, SourceFile, SourceSeries
from imarium.model.series import Frame
from imarium.settings import Limits

MOST_PARTS = 1 << 20
"""Most chunks or segments of one file."""
_KEPT_BYTES = 4 << 20
"""Most bytes of the chunks or segments of one file that are kept."""
_PHOTOMETRIC = {1: "MONOCHROME2", 2: "MONOCHROME2", 3: "RGB", 4: "RGB"}
_ORIENTATION_TAG = 0x0112


@dataclass(frozen=True, slots=True)
class Picture:
    """What a picture's header says."""

    rows: int
    columns: int
    dtype: str
    samples: int
    bits: int
    """Bits a sample in the file."""
    label_map: bool = False
    palette: tuple[tuple[int, int, int], ...] | None = None
    kept: tuple[str, bytes] | None = None
    """Name and content of the attachment."""
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)


Inspect: TypeAlias = Callable[[BinaryIO, int, Limits], Picture]
"""Reads a header from a file of so many bytes; raises RefusedFileError."""
Decode: TypeAlias = Callable[[bytes], NDArray[Any]]
"""The frame of a whole file."""


def read_all(
    name: str, paths: Iterable[Path], context: ReadContext, inspect: Inspect, decode: Decode
) -> Iterator[SourceSeries | Refusal]:
    """One series of one frame a file, of the format `name`; a refusal for what `inspect` refuses."""
    for path in paths:
        try:
            yield _read(name, path, context.limits, inspect, decode)
        except ImariumError as error:
            yield Refusal(path, error)


def _read(name: str, path: Path, limits: Limits, inspect: Inspect, decode: Decode) -> SourceSeries:
    with opened(path, limits) as (stream, facts):
        picture = inspect(stream, facts.st_size, limits)
        stream.seek(0)
        hasher = blake3()
        while chunk := stream.read(CHUNK):
            hasher.update(chunk)
    uid = uid_of_digest(hasher.digest())
    series = Series(
        uid=uid,
        study_uid=study_uid_of(uid),
        format=name,
        frames=1,
        rows=picture.rows,
        columns=picture.columns,
        dtype=picture.dtype,
        samples=picture.samples,
        photometric="PALETTE COLOR" if picture.palette else _PHOTOMETRIC[picture.samples],
        label_map=picture.label_map,
        palette=picture.palette,
        bits_stored=picture.bits,
        notes=picture.notes,
    )
    return SourceSeries(
        series=series,
        files=(SourceFile(path, facts.st_size, hasher.hexdigest()),),
        read_frames=functools.partial(_frames, name, path, facts, picture, decode),
        attachments=dict([picture.kept]) if picture.kept else {},
        codestream=lambda _: SourceCodestream(name, _content(path, facts)),
    )


def _content(path: Path, facts: os.stat_result) -> bytes:
    with reopened(path, facts) as stream:
        content = stream.read(facts.st_size + 1)
    if len(content) != facts.st_size:
        raise CorruptFileError("the file changed while it was read; take it in again")
    return content


def _frames(
    name: str, path: Path, facts: os.stat_result, picture: Picture, decode: Decode
) -> Iterator[Frame]:
    content = _content(path, facts)
    try:
        frame = decode(content)
    except (ValueError, RuntimeError, MemoryError, OSError, OverflowError) as error:
        raise CorruptFileError(
            f"the {name.upper()} data cannot be decoded; the file is damaged or of an unknown variant"
        ) from error
    if frame.shape != picture.shape or frame.dtype != np.dtype(picture.dtype):
        raise CorruptFileError(
            f"the {name.upper()} data decode to {frame.dtype} {frame.shape}; "
            f"the header says {picture.dtype} {picture.shape}"
        )
    yield frame


def check_size(rows: int, columns: int, limits: Limits) -> None:
    """Raise CorruptFileError for a picture of no pixels, LimitExceededError for one of too many."""
    if rows < 1 or columns < 1:
        raise CorruptFileError(f"the header gives a size of {columns} x {rows} pixels")
    if rows * columns > limits.frame_pixels:
        raise LimitExceededError(
            f"the picture has {columns} x {rows} pixels; the limit is {limits.frame_pixels} "
            "(limits.frame_pixels)"
        )


def check_file_size(size: int, raw_bytes: int, limits: Limits) -> None:
    """Raise LimitExceededError for a file that is larger than its pixels by more than a header's worth.

    It is read whole to be decoded.
    """
    if size > raw_bytes + raw_bytes // 8 + limits.header_bytes:
        raise LimitExceededError(
            f"the file has {size} bytes for {raw_bytes} bytes of pixels; at most {limits.header_bytes} bytes "
            "besides pixels are read (limits.header_bytes)"
        )


class Kept:
    """Parts of a file that are kept as they are, while there is room."""

    def __init__(self, what: str) -> None:
        self.content = bytearray()
        self.notes: list[str] = []
        self._what = what

    def add(self, *pieces: bytes | None) -> None:
        """Keep a part, all pieces of it; one that was too long to be read is None."""
        whole = [piece for piece in pieces if piece is not None]
        if len(whole) == len(pieces) and len(self.content) + sum(map(len, whole)) <= _KEPT_BYTES:
            self.content += b"".join(whole)
        elif not self.notes:
            self.notes.append(f"{self._what} that are too long are left out")


def orientation_of(exif: bytes) -> int | None:
    """Orientation (tag 274) of the first directory of a TIFF structure; None if there is none."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        return None
    (start,) = struct.unpack(f"{order}I", exif[4:8])
    count_bytes = exif[start : start + 2]
    if len(count_bytes) < 2:
        return None
    (count,) = struct.unpack(f"{order}H", count_bytes)
    for index in range(count):
        entry = exif[start + 2 + 12 * index : start + 14 + 12 * index]
        if len(entry) < 12:
            return None
        tag, kind, items, value = struct.unpack(f"{order}HHIH", entry[:10])
        if (tag, kind, items) == (_ORIENTATION_TAG, 3, 1):
            return int(value)
    return None
