"""Arrays in files, of any order of axes, as the frames of a series.

Where the axes of a file lie as frames need them, frames are read straight from the file (or from the
scratch file that its data were unpacked to). Where they do not (vectors with their components first,
Fortran order), the array is turned once, in one pass, into a scratch file.
"""

from __future__ import annotations

import itertools
import math
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, Protocol, TypeAlias

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from imarium.errors import CorruptFileError, LimitExceededError
from imarium.formats._shared import CHUNK, opened, unchanged
from imarium.formats._unpacking import (
    DEFLATE_RATIO,
    Read,
    bunzip2,
    inflate,
    numbers,
    scratch_file,
    storage_errors,
    store,
    unhex,
)
from imarium.formats.base import ReadContext
from imarium.model import SourceFile
from imarium.model.series import Frame
from imarium.settings import Limits

_TURNED_AT_ONCE = 16 << 20
"""Bytes that are in memory while an array is turned."""

Encoding: TypeAlias = Literal["raw", "gzip", "zlib", "bzip2", "text", "hex"]


class Payload(Protocol):
    """The bytes of an array, one after the other."""

    def pieces(self, sizes: Iterable[int]) -> Iterator[bytearray]:
        """Consecutive pieces of the given sizes, from the first byte on. Raises CorruptFileError if
        they cannot be read any more."""


@dataclass(frozen=True, slots=True)
class Span:
    """Some bytes of a file."""

    path: Path
    facts: os.stat_result
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Spans:
    """A payload that lies in files as it is; they are opened when it is read."""

    parts: tuple[Span, ...]

    def pieces(self, sizes: Iterable[int]) -> Iterator[bytearray]:
        """See `Payload`; raises CorruptFileError too if a file changed since it was looked at."""
        wanted = iter(sizes)
        size = next(wanted, 0)
        buffer, have = bytearray(size), 0
        for part in self.parts:
            try:
                with part.path.open("rb") as stream:
                    self._check(part, stream, "since it was first read")
                    stream.seek(part.offset)
                    left = part.length
                    while left and size:
                        view = memoryview(buffer)[have : have + min(left, size - have)]
                        count = stream.readinto(view)
                        if not count:
                            raise CorruptFileError("the file was truncated while it was read")
                        left -= count
                        have += count
                        if have == size:
                            del view
                            yield buffer
                            del buffer  # the next one is not made while this one is held here
                            size = next(wanted, 0)
                            buffer, have = bytearray(size), 0
                    self._check(part, stream, "while it was read")
            except OSError as error:
                reason = error.strerror or type(error).__name__
                raise CorruptFileError(f"the file vanished or cannot be read any more: {reason}") from error

    @staticmethod
    def _check(part: Span, stream: IO[bytes], when: str) -> None:
        if not unchanged(part.facts, os.fstat(stream.fileno())):
            raise CorruptFileError(f"the file changed {when}; take it in again")


@dataclass(frozen=True, slots=True)
class Scratch:
    """A payload in an unnamed scratch file, which lives as long as this object."""

    file: IO[bytes]

    def pieces(self, sizes: Iterable[int]) -> Iterator[bytearray]:
        """See `Payload`; several may be drawn at the same time."""
        position = 0
        for size in sizes:
            piece = bytearray(size)
            have = 0
            while have < size:
                count = os.preadv(self.file.fileno(), [memoryview(piece)[have:]], position + have)
                if not count:
                    raise CorruptFileError("the unpacked values in the scratch folder are truncated")
                have += count
            position += size
            yield piece
            del piece  # the next one is not made while this one is held here


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array in a file, and what its axes are."""

    shape: tuple[int, ...]
    """As stored, the slowest axis first."""
    dtype: np.dtype[Any]
    """With the file's byte order."""
    order: tuple[int, ...]
    """The axes of `shape` as the model has them: dimensions, rows, columns and, if `colour`, samples."""
    colour: bool = False

    @property
    def turned(self) -> tuple[int, ...]:
        """The shape in the model's order of axes."""
        return tuple(self.shape[axis] for axis in self.order)

    @property
    def dimensions(self) -> tuple[int, ...]:
        """Axes before rows; at least one."""
        return self.turned[: -3 if self.colour else -2] or (1,)

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """(rows, columns) or (rows, columns, samples)."""
        return self.turned[-3 if self.colour else -2 :]

    @property
    def samples(self) -> int:
        """Values a pixel."""
        return self.turned[-1] if self.colour else 1

    @property
    def frames(self) -> int:
        """Frames in all."""
        return math.prod(self.dimensions)

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return math.prod(self.frame_shape) * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return self.frames * self.frame_bytes

    @property
    def in_order(self) -> bool:
        """Whether the file holds one frame after the other; axes of length 1 may lie anywhere."""
        axes = [axis for axis in self.order if self.shape[axis] > 1]
        return axes == sorted(axes)

    def check(self, limits: Limits) -> None:
        """Raises LimitExceededError if the array is beyond what a series may be."""
        rows, columns = self.frame_shape[:2]
        if rows * columns > limits.frame_pixels:
            raise LimitExceededError(
                f"a slice has {columns} x {rows} pixels; the limit is {limits.frame_pixels} "
                "(limits.frame_pixels)"
            )
        if self.frames > limits.frames:
            raise LimitExceededError(
                f"the file has {self.frames} slices; the limit is {limits.frames} (limits.frames)"
            )
        if self.nbytes > limits.file_bytes:
            raise LimitExceededError(
                f"the header promises {self.nbytes} bytes; the limit is {limits.file_bytes} "
                "(limits.file_bytes)"
            )

    def frame(self, piece: bytearray) -> Frame:
        """One frame in native byte order. Raises CorruptFileError for a truth value other than 0 and 1."""
        stored: NDArray[Any] = np.frombuffer(piece, self.dtype).reshape(self.frame_shape)
        if self.dtype.kind == "b" and stored.view(np.uint8).max() > 1:
            raise CorruptFileError("a truth value is neither 0 nor 1")
        return stored.astype(self.dtype.newbyteorder("="), copy=False)


def frames_of(array: StoredArray, payload: Payload, context: ReadContext) -> Callable[[], Iterator[Frame]]:
    """`SourceSeries.read_frames` of an array; turns it into a scratch file first where it must be.

    Raises StorageError if the scratch folder has no room, CorruptFileError if a file changed meanwhile.
    """
    ready = payload if array.in_order else _turned(array, payload, context)

    def frames() -> Iterator[Frame]:
        for piece in ready.pieces(itertools.repeat(array.frame_bytes, array.frames)):
            yield array.frame(piece)

    return frames


def _turned(array: StoredArray, payload: Payload, context: ReadContext) -> Scratch:
    """The values in the model's order of axes: read once in the file's order, each to its place."""
    file = scratch_file(context.scratch, array.nbytes)
    try:
        with storage_errors(context.scratch):
            # All blocks now: a full disk must not be met while the file is mapped, where it kills.
            os.posix_fallocate(file.fileno(), 0, array.nbytes)
            mapping = mmap.mmap(file.fileno(), array.nbytes)
        _scatter(array, payload, mapping)
        mapping.close()
    except BaseException:
        file.close()
        raise
    return Scratch(file)


def _scatter(array: StoredArray, payload: Payload, mapping: mmap.mmap) -> None:
    back = np.argsort(array.order)
    target = np.frombuffer(mapping, array.dtype).reshape(array.turned).transpose(back)
    # Blocks of some steps along `axis`, with all of the faster axes.
    axis, inner = len(array.shape) - 1, array.dtype.itemsize
    while axis > 0 and inner * array.shape[axis] <= _TURNED_AT_ONCE:
        inner *= array.shape[axis]
        axis -= 1
    steps = max(1, _TURNED_AT_ONCE // inner)
    starts = range(0, array.shape[axis], steps)
    places = [(start, min(steps, array.shape[axis] - start)) for start in starts]
    outer = array.shape[:axis]
    blocks = ((index, start, count) for index in np.ndindex(*outer) for start, count in places)
    sizes = (count * inner for _ in range(math.prod(outer)) for _, count in places)
    pieces = payload.pieces(sizes)
    for index, start, count in blocks:
        piece = next(pieces)
        target[index][start : start + count] = np.frombuffer(piece, array.dtype).reshape(
            count, *array.shape[axis + 1 :]
        )
        del piece  # before the next one is read
        # Written pages belong to the file now and need not count as this process's memory.
        mapping.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True, slots=True)
class Part:
    """Where to look in a file for an equal share of an array."""

    path: Path
    base: int = 0
    """Where the data may start: after an attached header."""
    lines: int = 0
    """Lines to leave out after `base`."""
    skip: int = 0
    """Bytes to leave out then, of the unpacked data if they are packed; -1: the data end the file."""
    packed: int | None = None
    """Bytes that packed data take; None if they reach to the end of the file."""


def payload_of(
    parts: Sequence[Part],
    encoding: Encoding,
    array: StoredArray,
    context: ReadContext,
    notes: list[str],
) -> tuple[Payload, tuple[SourceFile, ...]]:
    """The bytes of an array out of one file or several, and these files.

    Everything but raw data is unpacked to a scratch file, no further than the array's size. Raises
    CorruptFileError, LimitExceededError, StorageError or RefusedFileError (cannot be opened).
    """
    share, rest = divmod(array.nbytes, len(parts))
    if rest:
        raise CorruptFileError(f"{array.nbytes} bytes of values are not an equal share of {len(parts)} files")
    spans: list[Span] = []
    files: list[SourceFile] = []
    file: IO[bytes] | None = None
    try:
        for part in parts:
            with opened(part.path, context.limits) as (stream, facts):
                start = _start(stream, facts.st_size, part)
                if encoding == "raw":
                    start, after = _raw(start, facts.st_size, part.skip, share)
                    spans.append(Span(part.path, facts, start, share))
                else:
                    end = facts.st_size if part.packed is None else start + part.packed
                    _check_packed(encoding, start, min(end, facts.st_size), share, array.dtype)
                    file = file or scratch_file(context.scratch, array.nbytes)
                    stream.seek(start)
                    read = _bounded(stream, end - start)
                    unpacked = _unpacked(read, encoding, array.dtype, notes)
                    after = store(unpacked, file, share, context.scratch, part.skip)
                if after:
                    notes.append(f"{after} bytes after the last value are left out")
                files.append(SourceFile(part.path, facts.st_size, context.digest_of(part.path)))
                if not unchanged(facts, os.fstat(stream.fileno())):
                    raise CorruptFileError("the file changed while it was read; take it in again")
        if file is not None:
            with storage_errors(context.scratch):
                file.flush()
    except BaseException:
        if file is not None:
            file.close()
        raise
    return (Spans(tuple(spans)) if file is None else Scratch(file)), tuple(files)


def combined_digest(files: Sequence[SourceFile]) -> bytes:
    """What names a series that lies in several files: their digests, in turn; of one file, its own."""
    digests = [bytes.fromhex(file.digest) for file in files]
    return digests[0] if len(digests) == 1 else blake3(b"".join(digests)).digest()


def _start(stream: IO[bytes], size: int, part: Part) -> int:
    """Where the data start, after the lines to leave out."""
    if part.base > size:
        raise CorruptFileError(f"the data start at byte {part.base}; the file has {size}")
    position, left = part.base, part.lines
    stream.seek(position)
    while left:
        data = stream.read(CHUNK)
        if not data:
            raise CorruptFileError(f"the file ends before the {part.lines} lines that its header leaves out")
        count = data.count(b"\n")
        if count < left:
            left -= count
            position += len(data)
            continue
        place = -1
        for _ in range(left):
            place = data.index(b"\n", place + 1)
        return position + place + 1
    return position


def _raw(start: int, size: int, skip: int, share: int) -> tuple[int, int]:
    """(Offset of the first value, bytes after the last one)."""
    first = start + skip if skip >= 0 else size - share
    if first < start or first + share > size:
        raise CorruptFileError(
            f"the file is truncated: its header promises {share} bytes of values from byte "
            f"{max(first, start)} on, it has {size} bytes"
        )
    return first, size - first - share


def _check_packed(encoding: Encoding, start: int, end: int, share: int, dtype: np.dtype[Any]) -> None:
    """Refuse promises that so few packed bytes cannot keep, before anything is made of them."""
    packed = max(0, end - start)
    match encoding:
        case "gzip" | "zlib":
            most = packed * DEFLATE_RATIO
        case "hex":
            most = packed // 2
        case "text":
            most = (packed + 1) // 2 * dtype.itemsize
        case _:
            most = share
    if share > most:
        raise CorruptFileError(
            f"the header promises {share} bytes of values; {packed} bytes of {encoding} cannot hold that many"
        )


def _bounded(stream: IO[bytes], length: int) -> Read:
    left = [length]

    def read(count: int) -> bytes:
        data = stream.read(min(count, left[0]))
        left[0] -= len(data)
        return data

    return read


def _unpacked(read: Read, encoding: Encoding, dtype: np.dtype[Any], notes: list[str]) -> Iterator[bytes]:
    match encoding:
        case "gzip":
            return inflate(read, notes)
        case "zlib":
            return inflate(read, notes, 47)
        case "bzip2":
            return bunzip2(read, notes)
        case "hex":
            return unhex(read)
        case _:
            return numbers(read, dtype)
