"""NumPy's own format (numpy.lib.format): .npy of versions 1 to 3, and .npz, which is a zip of them.

Nothing is ever unpickled: headers are read as literals, and arrays of objects are refused.
"""

from __future__ import annotations

import ast
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from blake3 import blake3

from imarium.codec.color import to_rgb
from imarium.errors import (
    CorruptFileError,
    ExportRefusedError,
    ImariumError,
    InvalidRequestError,
    LimitExceededError,
    RefusedFileError,
    UnsupportedFileError,
)
from imarium.formats._arrays import Part, Payload, Scratch, Span, Spans, StoredArray, frames_of, payload_of
from imarium.formats._shared import (
    CHUNK,
    checked_frames,
    opened,
    parts_of,
    replacing,
    study_uid_of,
    uid_of_digest,
)
from imarium.formats._unpacking import DEFLATE_RATIO, Read, scratch_file, storage_errors, store
from imarium.formats.base import OneFile, ReadContext, Refusal
from imarium.formats.outgoing import OutFile, Outgoing, headed
from imarium.headers.npy import npy_header
from imarium.model import Rendition, Series, SourceFile, SourceSeries
from imarium.settings import Limits

HEADER = "npy/header"
"""Attachment: the source from its first byte to its first value."""

_MAGIC = b"\x93NUMPY"
_ZIP_MAGIC = b"PK\3\4"
_HEADER_BYTES = 10_000
"""Most bytes of a header (numpy.lib.format's own limit)."""
_AXES = 6
_DESCR = re.compile(r"([<>|=]?)(b1|[iu][1248]|f[248]|c8|c16)")
_PYTHON2_LONG = re.compile(r"(\d)L\b")
_DIRECTORY_BYTES = 1 << 20
"""Most bytes of a zip's directory."""
_MEMBERS = 4096
"""Most arrays of an .npz."""
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    RuntimeError,
    NotImplementedError,
)
"""What zipfile raises for damaged zips."""


class NumpyReader(OneFile):
    """Reads .npy and .npz: booleans, integers, floats and complex numbers, of either byte and axis order.

    The last two axes are rows and columns, all before them `Series.dimensions`. uint8 with a last axis of
    3 or 4 behind two that are neither is RGB or RGBA. Booleans are label maps.
    """

    name = "npy"
    batch = False
    several = True

    def recognises(self, path: Path, head: bytes) -> bool:  # noqa: ARG002 - content alone decides
        """Whether the content starts as .npy, or as a zip whose first member is named .npy."""
        if head.startswith(_MAGIC):
            return True
        if not head.startswith(_ZIP_MAGIC) or len(head) < 30:
            return False
        return head[30 : 30 + int.from_bytes(head[26:28], "little")].endswith(b".npy")

    def read(self, paths: Iterable[Path], context: ReadContext) -> Iterator[SourceSeries | Refusal]:
        """One series an array. Values are read when `read_frames` is iterated, and not before; those that
        are packed, or in Fortran order, go to an unnamed file in `context.scratch` first, which lives as
        long as the series.

        Refusals, one an array, hold CorruptFileError (truncated, inconsistent), LimitExceededError,
        UnsupportedFileError (objects, text, records, fewer than two axes), StorageError (no room in the
        scratch folder) or RefusedFileError (cannot be opened).
        """
        for path in paths:
            try:
                with opened(path, context.limits) as (stream, _):
                    packed = stream.read(4) == _ZIP_MAGIC
                if packed:
                    yield from _read_archive(path, context)
                    continue
                found: SourceSeries | Refusal = _read(path, context)
            except ImariumError as error:
                found = Refusal(path, error)
            yield found
            del found  # a scratch file goes as soon as the caller lets go of the series


@dataclass(frozen=True, slots=True)
class _Header:
    content: bytes
    array: StoredArray

    @property
    def end(self) -> int:
        """Bytes of a file with this header."""
        return len(self.content) + self.array.nbytes


def _read(path: Path, context: ReadContext) -> SourceSeries:
    with opened(path, context.limits) as (stream, facts):
        header = _parse(stream.read, context.limits)
        _check_end(header, facts.st_size)
    payload, (file,) = payload_of([Part(path, len(header.content))], "raw", header.array, context, [])
    return _source(header, payload, bytes.fromhex(file.digest), file, None, context)


def _source(
    header: _Header,
    payload: Payload,
    digest: bytes,
    file: SourceFile,
    description: str | None,
    context: ReadContext,
) -> SourceSeries:
    array, uid = header.array, uid_of_digest(digest)
    series = Series(
        uid=uid,
        study_uid=study_uid_of(uid),
        format="npy",
        frames=array.frames,
        rows=array.frame_shape[0],
        columns=array.frame_shape[1],
        dtype=array.dtype.name,
        samples=array.samples,
        photometric="RGB" if array.colour else "MONOCHROME2",
        dimensions=array.dimensions,
        description=description,
        label_map=array.dtype.kind == "b",
    )
    frames = frames_of(array, payload, context)
    return SourceSeries(series, (file,), frames, {HEADER: header.content})


def _check_end(header: _Header, size: int) -> None:
    if size < header.end:
        raise CorruptFileError(
            f"the array is truncated: its header promises {header.end} bytes, it has {size}"
        )
    if size > header.end:
        raise UnsupportedFileError(f"{size - header.end} bytes follow the array; one array a file is read")


def _parse(read: Read, limits: Limits) -> _Header:
    """Read a header and check it against the limits; takes no memory for values."""
    start = read(10)
    if len(start) < 10 or not start.startswith(_MAGIC):
        raise CorruptFileError("the NumPy header is missing or cut")
    version = start[6]
    if version not in (1, 2, 3):
        raise UnsupportedFileError(f"version {version} of NumPy's format is not known; 1 to 3 are")
    if version > 1:
        start += read(2)
    length = int.from_bytes(start[8:], "little")
    if length > _HEADER_BYTES:
        raise LimitExceededError(f"the NumPy header has {length} bytes; the limit is {_HEADER_BYTES}")
    text = read(length)
    if len(text) < length:
        raise CorruptFileError("the file ends inside its NumPy header")
    shape, descr, fortran = _literal(text.decode("utf-8" if version == 3 else "latin-1", "replace"))
    match = _DESCR.fullmatch(descr)
    if match is None:
        raise UnsupportedFileError("the array holds objects, text, dates, records or numbers of unusual size")
    dtype = np.dtype(match[2])
    if dtype.itemsize > 1:
        if match[1] not in ("<", ">"):
            raise CorruptFileError("the NumPy header does not give the byte order of the values")
        dtype = dtype.newbyteorder("<" if match[1] == "<" else ">")
    if not 2 <= len(shape) <= _AXES:
        raise UnsupportedFileError(f"the array has {len(shape)} axes; images of 2 to {_AXES} are read")
    if min(shape) < 1:
        raise UnsupportedFileError("the array holds no values: one of its axes is 0 long")
    colour = len(shape) > 2 and shape[-1] in (3, 4) and dtype == np.uint8
    colour = colour and shape[-2] not in (3, 4) and shape[-3] not in (3, 4)
    order = tuple(range(len(shape)))
    if fortran:
        shape, order = shape[::-1], order[::-1]
    array = StoredArray(shape, dtype, order, colour=colour)
    array.check(limits)
    return _Header(start + text, array)


def _literal(text: str) -> tuple[tuple[int, ...], str, bool]:
    """(shape, descr, fortran_order). Whole numbers of Python 2 may end in L."""
    try:
        found = ast.literal_eval(_PYTHON2_LONG.sub(r"\1", text).strip())
        known = isinstance(found, dict) and found.keys() == {"descr", "fortran_order", "shape"}
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise CorruptFileError("the NumPy header is no literal") from error
    if not known:
        raise CorruptFileError("the NumPy header does not hold descr, fortran_order and shape")
    shape, descr, fortran = found["shape"], found["descr"], found["fortran_order"]
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise CorruptFileError("the shape in the NumPy header is no tuple of sizes")
    if not isinstance(fortran, bool):
        raise CorruptFileError("fortran_order in the NumPy header is neither True nor False")
    return shape, descr if isinstance(descr, str) else "", fortran


class _Careful(io.RawIOBase):
    """A file of which nobody reads more at once than a zip's directory may have."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _DIRECTORY_BYTES:
            raise LimitExceededError(f"the zip's directory has {size} bytes; the limit is {_DIRECTORY_BYTES}")
        return self._stream.read(_DIRECTORY_BYTES if size is None or size < 0 else size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        try:
            return self._stream.seek(offset, whence)
        except OSError as error:  # a place that no file has, not a failure of this one
            raise zipfile.BadZipFile("a place outside the file") from error

    def tell(self) -> int:
        return self._stream.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def _read_archive(path: Path, context: ReadContext) -> Iterator[SourceSeries | Refusal]:
    """The arrays of an .npz, one after the other; the last of them carries the file's digest (`parts_of`).

    Raises what `NumpyReader.read` turns into a refusal of the whole file.
    """
    with opened(path, context.limits) as (stream, facts):
        file = SourceFile(path, facts.st_size, context.digest_of(path))
        span = Span(path, facts, 0, facts.st_size)
        try:
            archive = zipfile.ZipFile(_Careful(stream))
        except (*_ZIP_ERRORS, OSError) as error:
            raise CorruptFileError("the zip with the arrays is damaged or truncated") from error
        members = archive.infolist()
        if not 1 <= len(members) <= _MEMBERS:
            raise LimitExceededError(f"the zip has {len(members)} members; 1 to {_MEMBERS} are read")
        # Members that overlap would let few bytes be unpacked over and over.
        if sum(member.compress_size for member in members) > facts.st_size:
            raise CorruptFileError("the members of the zip are together larger than the file")
        promising = [number for number, member in enumerate(members) if _promises(archive, member, context)]
        parts = dict(zip(promising, parts_of(file, len(promising)), strict=True)) if promising else {}
        for number, member in enumerate(members):
            name = f"array {number + 1} of {len(members)}" if len(members) > 1 else None
            try:
                unpacked = _unpack(archive, member, stream, span, context)
                found: SourceSeries | Refusal = _source(*unpacked, parts[number], name, context)
                del unpacked  # a scratch file goes as soon as the caller lets go of the series
            except RefusedFileError as error:
                found = Refusal(path, type(error)(f"{name}: {error}") if name else error)
            yield found
            del found


def _promises(archive: zipfile.ZipFile, member: zipfile.ZipInfo, context: ReadContext) -> bool:
    """Whether an array is one that is read, as far as its header tells."""
    try:
        _check_member(member)
        with archive.open(member) as source:
            _check_end(_parse(source.read, context.limits), member.file_size)
    except (RefusedFileError, *_ZIP_ERRORS):
        return False
    return True


def _check_member(member: zipfile.ZipInfo) -> None:
    if not member.filename.endswith(".npy"):
        raise UnsupportedFileError("a member of the zip that is no NumPy array")
    if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnsupportedFileError("the array is encrypted, or packed by another method than deflate")
    stored = member.compress_type == zipfile.ZIP_STORED
    if member.file_size > member.compress_size * (1 if stored else DEFLATE_RATIO):
        raise CorruptFileError(
            f"the zip promises {member.file_size} bytes; {member.compress_size} packed ones cannot hold them"
        )


def _unpack(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, stream: BinaryIO, span: Span, context: ReadContext
) -> tuple[_Header, Payload, bytes]:
    """An array of a zip, and the digest of its bytes; deflated ones are unpacked to a scratch file."""
    _check_member(member)
    stored = member.compress_type == zipfile.ZIP_STORED
    hasher = blake3()
    try:
        with archive.open(member) as source:
            header = _parse(source.read, context.limits)
            _check_end(header, member.file_size)
            hasher.update(header.content)

            def pieces() -> Iterator[bytes]:
                while piece := source.read(CHUNK):
                    hasher.update(piece)
                    yield piece

            if stored:
                # The checksum is looked at after the last byte.
                if sum(map(len, pieces())) != header.array.nbytes:
                    raise CorruptFileError("the array in the zip is truncated")
                start = _data_start(stream, member) + len(header.content)
                payload: Payload = Spans((Span(span.path, span.facts, start, header.array.nbytes),))
            else:
                file = scratch_file(context.scratch, header.array.nbytes)
                try:
                    store(pieces(), file, header.array.nbytes, context.scratch)
                    with storage_errors(context.scratch):
                        file.flush()
                except BaseException:
                    file.close()
                    raise
                payload = Scratch(file)
    except _ZIP_ERRORS as error:
        raise CorruptFileError("the zip with the arrays is damaged or truncated") from error
    return header, payload, hasher.digest()


def _data_start(stream: BinaryIO, member: zipfile.ZipInfo) -> int:
    """Where a member's bytes start, after its local header (APPNOTE 4.3.7), which zipfile has checked."""
    stream.seek(member.header_offset)
    local = stream.read(30)
    name, extra = (int.from_bytes(local[at : at + 2], "little") for at in (26, 28))
    return member.header_offset + 30 + name + extra


class NpyWriter:
    """Writes stored values as one array of `Series.volume_shape`, little-endian, in C order.

    A single frame is (1, rows, columns). YBR_FULL and YBR_FULL_422 become RGB; palette indices and
    values before rescaling stay what they are.
    """

    name = "npy"

    def write(self, rendition: Rendition, destination: Path) -> list[Path]:
        """Write one file, a frame at a time.

        Raises InvalidRequestError if `destination` does not end in .npy, and ExportRefusedError for
        colours that have no RGB.
        """
        head, frames = self._parts(rendition, destination.name)
        with replacing(destination) as file:
            file.write(head)
            for frame in frames:
                file.write(frame)
        return [destination]

    def outgoing(self, rendition: Rendition, name: str, scratch: Path) -> Outgoing:  # noqa: ARG002
        """The same file; see `imarium.formats.base.Writer`."""
        head, frames = self._parts(rendition, name)
        size = len(head) + rendition.series.pixel_bytes
        return Outgoing(None, iter([OutFile(name, size, headed(head, frames))]))

    def _parts(self, rendition: Rendition, name: str) -> tuple[bytes, Iterator[bytes]]:
        """Header and frames."""
        suffix = Path(name).suffix
        if suffix.lower() != ".npy":
            raise InvalidRequestError(f"a NumPy file ends in .npy, not {suffix!r}")
        series = rendition.series
        dtype = np.dtype(series.dtype).newbyteorder("<")
        if dtype.kind not in "biufc":
            raise ExportRefusedError(f"an array of type {series.dtype} cannot be written as .npy")
        frames = (
            to_rgb(frame, series).astype(dtype, copy=False).tobytes() for frame in checked_frames(rendition)
        )
        return npy_header(series), frames
