"""NIfTI-1 and NIfTI-2 single files (.nii, .nii.gz), read and written a frame at a time.

Data in a NIfTI file lie with the column index i fastest, then the row j, the slice k, time t, and up to
three more. Read in C order that is (w, v, u, t, k, j, i): `Series.dimensions` + (rows, columns),
without a copy or a flip. The header and the extensions are kept as an attachment, so that an export at
full resolution is the (uncompressed) source again, byte for byte.
"""

from __future__ import annotations

import functools
import gzip
import importlib.metadata
import math
import os
import shutil
import struct
import tempfile
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal

import nibabel as nib
import numpy as np
from blake3 import blake3
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from imarium.errors import (
    CorruptFileError,
    ExportRefusedError,
    ImariumError,
    IntegrityError,
    InvalidRequestError,
    LimitExceededError,
    StorageError,
    UnsupportedFileError,
)
from imarium.formats._shared import (
    CHUNK,
    checked_frames,
    opened,
    replacing,
    study_uid_of,
    uid_of_digest,
    unchanged,
)
from imarium.formats.base import ReadContext, Refusal
from imarium.formats.geometry_notes import is_tilted, is_uneven, report_geometry
from imarium.formats.rendering import check_colours, rescaled, to_rgb
from imarium.model import Rendition, Series, SourceFile, SourceSeries
from imarium.model.geometry import Affine, as_affine
from imarium.model.series import Frame
from imarium.settings import Limits

HEADER = "nifti/header"
"""Attachment: the source from its first byte to its first voxel (header and extensions)."""
TRAILER = "nifti/trailer"
"""Attachment: what followed the last voxel, if anything."""

TRAILER_BYTES = 64 << 10
"""Most bytes after the last voxel that are accepted (and kept)."""
_SPARE_BYTES = 64 << 20
"""Bytes that stay free in the scratch folder."""
_DEFLATE_RATIO = 1032
"""Deflate cannot shrink data further than this (RFC 1951: 258 bytes in 2 bits)."""

_INTENT_LABEL = 1002
_GZIP = b"\x1f\x8b"

# Datatype codes of nifti1.h: (NumPy name, samples a voxel).
_DATATYPES: dict[int, tuple[str, int]] = {
    2: ("uint8", 1),
    4: ("int16", 1),
    8: ("int32", 1),
    16: ("float32", 1),
    32: ("complex64", 1),
    64: ("float64", 1),
    128: ("uint8", 3),
    256: ("int8", 1),
    512: ("uint16", 1),
    768: ("uint32", 1),
    1024: ("int64", 1),
    1280: ("uint64", 1),
    1792: ("complex128", 1),
    2304: ("uint8", 4),
}
_CODES = {kind: code for code, kind in _DATATYPES.items()}
_REFUSED_DATATYPES = {0: "unknown", 1: "binary", 1536: "float128", 2048: "complex256"}

_MILLIMETRES = {1: 1000.0, 3: 0.001}
_SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}

_Header = Any  # a nibabel Nifti1Header or Nifti2Header; nibabel's own annotations are partial


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the voxels of a file are."""

    header: _Header
    order: Literal["<", ">"]
    """Byte order of the file."""
    dims: tuple[int, ...]
    """(i, j, k, t, u, v, w)."""
    dtype: str
    samples: int
    offset: int
    notes: tuple[str, ...]

    @property
    def frames(self) -> int:
        return math.prod(self.dims[2:])

    @property
    def frame_bytes(self) -> int:
        return self.dims[0] * self.dims[1] * self.samples * np.dtype(self.dtype).itemsize

    @property
    def end(self) -> int:
        """Bytes that the header promises, itself included."""
        return self.offset + self.frames * self.frame_bytes


@dataclass(frozen=True, slots=True)
class _Unpacked:
    """A source whose voxels can be read at leisure."""

    layout: _Layout
    digest: str
    content: bytes
    """Digest of the uncompressed bytes."""
    head: bytes
    trailer: bytes
    notes: tuple[str, ...]
    voxels: IO[bytes] | None
    """The unpacked voxels of a .nii.gz; None for a .nii, which is opened again when read."""


class NiftiReader:
    """Reads NIfTI-1 and NIfTI-2 files, plain or gzipped, of either byte order."""

    name = "nifti"
    batch = False

    def recognises(self, path: Path, head: bytes) -> bool:  # noqa: ARG002 - content alone decides
        """Whether the content, or what gzip packs, has a NIfTI header. Detached headers count: `read`
        refuses them with a reason."""
        if head[:2] == _GZIP:
            try:
                head = zlib.decompressobj(wbits=31).decompress(head, 1024)
            except zlib.error:
                return False
        return _version(head) is not None

    def read(self, paths: Iterable[Path], context: ReadContext) -> Iterator[SourceSeries | Refusal]:
        """One series a file. Voxels are read when `read_frames` is iterated, and not before; a gzipped
        file is unpacked to an unnamed file in `context.scratch`, which lives as long as the series.

        Refusals hold CorruptFileError (truncated, inconsistent), LimitExceededError,
        UnsupportedFileError (detached headers, float128), StorageError (no room in the scratch
        folder) or RefusedFileError (cannot be opened).
        """
        for path in paths:
            try:
                found: SourceSeries | Refusal = _read(path, context)
            except ImariumError as error:
                found = Refusal(path, error)
            yield found
            del found  # the scratch file of a .nii.gz goes as soon as the caller lets go of the series


def _version(head: bytes) -> int | None:
    """1 or 2; -1 or -2 for a header whose voxels are in another file; None if it is not NIfTI."""
    if len(head) >= 348:
        magic = head[344:348]
        if magic in (b"n+1\0", b"ni1\0"):
            return 1 if magic == b"n+1\0" else -1
        # The first three bytes of the magic, and sizeof_hdr in either byte order, tell NIfTI-2.
        if head[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") and head[4:7] in (b"n+2", b"ni2"):
            return 2 if head[4:7] == b"n+2" else -2
    return None


def _read(path: Path, context: ReadContext) -> SourceSeries:
    with opened(path, context.limits) as (stream, facts):
        packed = stream.read(2) == _GZIP
        stream.seek(0)
        if packed:
            source = _unpack_gzip(stream, facts.st_size, context)
        else:
            source = _scan_plain(stream, facts.st_size, context, path)
    series = _series(source)
    if source.voxels is None:
        frames = functools.partial(_frames_of_file, path, facts, source.layout)
    else:
        frames = functools.partial(_frames_of_scratch, source.voxels, threading.Lock(), source.layout)
    attachments = {HEADER: source.head}
    if source.trailer:
        attachments[TRAILER] = source.trailer
    return SourceSeries(
        series=series,
        files=(SourceFile(path, facts.st_size, source.digest),),
        read_frames=frames,
        attachments=attachments,
    )


def parse_header(head: bytes, limits: Limits) -> _Layout:
    """Read a NIfTI header and check it against itself and the limits; takes no memory for voxels.

    `head` holds at least the 348 or 540 bytes of the header. Raises CorruptFileError,
    UnsupportedFileError or LimitExceededError.
    """
    version = _version(head)
    if version is None:
        raise CorruptFileError("the NIfTI header is missing or shorter than 348 bytes")
    if version < 0:
        raise UnsupportedFileError(
            "detached NIfTI headers (.hdr with .img) come later; convert the pair to one .nii file"
        )
    size = 348 if version == 1 else 540
    if len(head) < size:
        raise CorruptFileError(f"the file ends inside the NIfTI-{version} header of {size} bytes")
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    order = next((sign for sign in orders if struct.unpack(f"{sign}i", head[:4])[0] == size), None)
    if order is None:
        raise CorruptFileError(f"the NIfTI-{version} header does not give its size as {size}")
    kind: Any = nib.Nifti1Header if version == 1 else nib.Nifti2Header
    header: _Header = kind(head[:size], endianness=order, check=False)

    given = [int(value) for value in header["dim"]]
    if not 1 <= given[0] <= 7:
        raise CorruptFileError(f"dim[0] is {given[0]}; a NIfTI file has 1 to 7 dimensions")
    dims = [*given[1 : given[0] + 1], *[1] * (7 - given[0])]
    if min(dims) < 1:
        raise CorruptFileError(f"dim holds {min(dims)}; every dimension is at least 1")

    code = int(header["datatype"])
    if code not in _DATATYPES:
        name = _REFUSED_DATATYPES.get(code, "not defined by NIfTI")
        raise UnsupportedFileError(f"datatype {code} ({name}) cannot be kept exactly")
    dtype, samples = _DATATYPES[code]

    offset = float(header["vox_offset"])
    if not math.isfinite(offset) or offset != int(offset) or offset < size:
        raise CorruptFileError(f"vox_offset is {offset:g}; voxels start at a whole number of at least {size}")
    layout = _Layout(header, order, tuple(dims), dtype, samples, int(offset), _header_notes(header, code))
    if layout.offset - size > limits.header_bytes:
        raise LimitExceededError(
            f"{layout.offset - size} bytes lie before the first voxel; the limit is {limits.header_bytes} "
            "(limits.header_bytes)"
        )
    if dims[0] * dims[1] > limits.frame_pixels:
        raise LimitExceededError(
            f"a slice has {dims[0]} x {dims[1]} pixels; the limit is {limits.frame_pixels} "
            "(limits.frame_pixels)"
        )
    if layout.frames > limits.frames:
        raise LimitExceededError(
            f"the file has {layout.frames} slices; the limit is {limits.frames} (limits.frames)"
        )
    if layout.end > limits.file_bytes:
        raise LimitExceededError(
            f"the header promises {layout.end} bytes; the limit is {limits.file_bytes} (limits.file_bytes)"
        )
    return layout


def _header_notes(header: _Header, code: int) -> tuple[str, ...]:
    dtype, samples = _DATATYPES[code]
    bits = np.dtype(dtype).itemsize * 8 * samples
    found = int(header["bitpix"])
    return () if found == bits else (f"bitpix is {found}, not the {bits} of datatype {code}; it is not used",)


def _too_short(layout: _Layout, length: int) -> CorruptFileError:
    return CorruptFileError(
        f"the file is truncated: its header promises {layout.end} bytes uncompressed, it has {length}"
    )


def _too_long(layout: _Layout) -> CorruptFileError:
    return CorruptFileError(
        f"more than {TRAILER_BYTES} bytes follow the {layout.end} bytes that the header promises"
    )


def _scan_plain(stream: BinaryIO, size: int, context: ReadContext, path: Path) -> _Unpacked:
    """Check and digest an uncompressed file."""
    layout = parse_header(stream.read(540), context.limits)
    if size < layout.end:
        raise _too_short(layout, size)
    if size > layout.end + TRAILER_BYTES:
        raise _too_long(layout)
    stream.seek(0)
    head = stream.read(layout.offset)
    stream.seek(layout.end)
    trailer = stream.read(TRAILER_BYTES + 1)
    if len(head) != layout.offset or len(trailer) != size - layout.end:
        raise CorruptFileError("the file changed while it was read")
    digest = bytes.fromhex(context.digest_of(path))
    return _Unpacked(layout, digest.hex(), digest, head, trailer, (), None)


def _unpack_gzip(stream: BinaryIO, size: int, context: ReadContext) -> _Unpacked:
    """Unpack a gzipped file into the scratch folder, no further than its header promises."""
    packed_hasher, hasher = blake3(), blake3()
    notes: list[str] = []
    pieces = _inflate(stream, packed_hasher, notes)
    start = bytearray()
    for piece in pieces:
        start += piece
        if len(start) >= 540:
            break
    layout = parse_header(bytes(start[:540]), context.limits)
    if layout.end > size * _DEFLATE_RATIO:
        raise CorruptFileError(
            f"the header promises {layout.end} bytes; {size} gzipped bytes cannot hold that many"
        )
    with _storage_errors(context.scratch):
        context.scratch.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(context.scratch).free
        if layout.end + _SPARE_BYTES > free:
            raise StorageError(
                f"unpacking needs {layout.end} bytes in the scratch folder; {free} are free there"
            )
        voxels = tempfile.TemporaryFile(dir=context.scratch)  # noqa: SIM115 - lives as long as the series
    try:
        head, trailer, done = bytearray(), bytearray(), 0
        for piece in _chain(bytes(start), pieces):
            hasher.update(piece)
            to_head = max(0, min(len(piece), layout.offset - done))
            to_voxels = max(to_head, min(len(piece), layout.end - done))
            done += len(piece)
            head += piece[:to_head]
            trailer += piece[to_voxels:]
            if len(trailer) > TRAILER_BYTES:
                raise _too_long(layout)
            if to_voxels > to_head:
                with _storage_errors(context.scratch):
                    voxels.write(memoryview(piece)[to_head:to_voxels])
        if done < layout.end:
            raise _too_short(layout, done)
        with _storage_errors(context.scratch):
            voxels.flush()
    except BaseException:
        voxels.close()
        raise
    return _Unpacked(
        layout, packed_hasher.hexdigest(), hasher.digest(), bytes(head), bytes(trailer), tuple(notes), voxels
    )


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _inflate(stream: BinaryIO, hasher: blake3, notes: list[str]) -> Iterator[bytes]:
    """Pieces of at most CHUNK unpacked bytes; every packed byte goes through `hasher` (RFC 1952).

    Members may follow one another. What follows them and is no member is left out, with a note
    unless it is zeros. Raises CorruptFileError if a member is damaged or cut.
    """
    engine = zlib.decompressobj(wbits=31)
    members, after, data = 0, False, b""
    while True:
        if not data:
            data = stream.read(CHUNK)
            hasher.update(data)
            if not data:
                break
        if engine.eof and not after:
            members += 1
            data = data.lstrip(b"\0")
            if not data:
                continue
            # The two bytes of the magic can be split between reads; one more byte settles it.
            if len(data) == 1:
                more = stream.read(1)
                hasher.update(more)
                data += more
            after = data[:2] != _GZIP
            if not after:
                engine = zlib.decompressobj(wbits=31)
        if after:
            data = b""
            continue
        try:
            piece = engine.decompress(data, CHUNK)
        except zlib.error as error:
            raise CorruptFileError("the gzip data are damaged: they cannot be unpacked") from error
        data = engine.unused_data if engine.eof else engine.unconsumed_tail
        if piece:
            yield piece
    while not engine.eof and (piece := engine.decompress(b"", CHUNK)):
        yield piece
    if not engine.eof:
        raise CorruptFileError("the gzip data are truncated: the stream ends before its end marker")
    if after:
        notes.append("bytes after the end of the gzip data are left out")


@contextmanager
def _storage_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StorageError(f"the scratch folder {folder.name!r} cannot be written: {reason}") from error


def _series(source: _Unpacked) -> Series:
    layout, header = source.layout, source.layout.header
    notes = [*layout.notes, *source.notes]
    if source.trailer:
        notes.append(f"{len(source.trailer)} bytes follow the last voxel; they are kept but not interpreted")
    columns, rows, slices, times, *others = layout.dims
    slower = [size for size in (*reversed(others), times) if size > 1]
    uid = uid_of_digest(source.content)
    slope, intercept = _scaling(header, layout.samples, notes)
    label_map = int(header["intent_code"]) == _INTENT_LABEL
    return Series(
        uid=uid,
        study_uid=study_uid_of(uid),
        format="nifti",
        frames=layout.frames,
        rows=rows,
        columns=columns,
        dtype=layout.dtype,
        samples=layout.samples,
        photometric="RGB" if layout.samples > 1 else "MONOCHROME2",
        dimensions=(*slower, slices),
        affine=_affine(header, layout.dims, notes),
        time_step=_time_step(header, times, notes),
        rescale_slope=slope,
        rescale_intercept=intercept,
        label_map=label_map,
        notes=tuple(notes),
    )


def _scaling(header: _Header, samples: int, notes: list[str]) -> tuple[float, float]:
    """scl_slope and scl_inter; 1 and 0 where the slope is 0 or no number, or the voxels are colours."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if samples > 1 or slope == 0 or not math.isfinite(slope):
        return 1.0, 0.0
    if not math.isfinite(intercept):
        notes.append("scl_inter is not a number; 0 is used")
        intercept = 0.0
    return slope, intercept


def _time_step(header: _Header, times: int, notes: list[str]) -> float | None:
    step = abs(float(header["pixdim"][4]))
    if times < 2 or step == 0 or not math.isfinite(step):
        return None
    unit = int(header["xyzt_units"]) & 0x38
    if unit not in _SECONDS:
        notes.append(f"the step of the fourth axis, {step:g}, is not given in a unit of time")
        return None
    return step * _SECONDS[unit]


def _affine(header: _Header, dims: tuple[int, ...], notes: list[str]) -> Affine | None:
    """nibabel's best affine (sform, else qform, else voxel sizes), in mm."""
    if int(header["sform_code"]) <= 0 and int(header["qform_code"]) <= 0:
        notes.append(
            "neither sform nor qform is set: position and orientation are assumed, centred on the volume"
        )
    try:
        with np.errstate(all="ignore"):
            matrix = _best_affine(header, dims)
            scale = _MILLIMETRES.get(int(header["xyzt_units"]) & 0x07)
            if scale is not None:
                matrix[:3] *= scale
                notes.append("the affine was given in metres or micrometres and is kept in mm")
            usable = bool(np.isfinite(matrix).all()) and np.linalg.det(matrix[:3, :3]) != 0
    except (HeaderDataError, ValueError, ArithmeticError, np.linalg.LinAlgError):
        usable = False
    if not usable:
        notes.append("the affine is not a finite, invertible matrix: the volume's position is unknown")
        return None
    return as_affine(matrix)


def _best_affine(header: _Header, dims: tuple[int, ...]) -> NDArray[np.float64]:
    header = header.copy()
    # nibabel's fallback looks at the shape; one of three axes makes it look at all of them.
    header["dim"][:4] = [3, *(min(size, np.iinfo(header["dim"].dtype).max) for size in dims[:3])]
    return np.array(header.get_best_affine(), dtype=np.float64)


def _frames_of_file(path: Path, facts: os.stat_result, layout: _Layout) -> Iterator[Frame]:
    try:
        with path.open("rb") as stream:
            if not unchanged(facts, os.fstat(stream.fileno())):
                raise CorruptFileError("the file changed since it was first read; take it in again")
            stream.seek(layout.offset)
            for _ in range(layout.frames):
                buffer = bytearray(layout.frame_bytes)
                if stream.readinto(buffer) != len(buffer):
                    raise CorruptFileError("the file was truncated while it was read")
                yield _frame(buffer, layout)
            if not unchanged(facts, os.fstat(stream.fileno())):
                raise CorruptFileError("the file changed while it was read; take it in again")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CorruptFileError(f"the file vanished or cannot be read any more: {reason}") from error


def _frames_of_scratch(voxels: IO[bytes], lock: threading.Lock, layout: _Layout) -> Iterator[Frame]:
    for index in range(layout.frames):
        with lock:
            voxels.seek(index * layout.frame_bytes)
            buffer = bytearray(voxels.read(layout.frame_bytes))
        if len(buffer) != layout.frame_bytes:
            raise CorruptFileError("the unpacked voxels in the scratch folder are truncated")
        yield _frame(buffer, layout)


def _frame(buffer: bytearray, layout: _Layout) -> Frame:
    columns, rows = layout.dims[:2]
    shape = (rows, columns) if layout.samples == 1 else (rows, columns, layout.samples)
    stored = np.frombuffer(buffer, dtype=np.dtype(layout.dtype).newbyteorder(layout.order)).reshape(shape)
    return stored.astype(np.dtype(layout.dtype), copy=False)


class NiftiWriter:
    """Writes .nii or .nii.gz files, by the suffix of the destination.

    A NIfTI source keeps its header, extensions and byte order; at full resolution the uncompressed
    file is the source's own, byte for byte, and at lower resolutions sizes, voxel sizes and positions
    are those of the coarser grid. A DICOM source gets rows from bottom to top, as converters usually
    do, with an affine that says so, and its slope and intercept as scl_slope and scl_inter. Slices that
    are tilted or unevenly spaced are reported, and named in the header's description. Where slopes
    differ between frames, NIfTI has no room for them: values are then written rescaled, as float32.
    """

    name = "nifti"

    def __init__(self, compression: int = 4) -> None:
        """`compression`: zlib's level, 1 to 9, for .nii.gz."""
        if not 1 <= compression <= 9:
            raise InvalidRequestError(f"gzip levels are 1 to 9, not {compression}")
        self._compression = compression

    def write(self, rendition: Rendition, destination: Path) -> list[Path]:
        """Write one file, a frame at a time.

        Raises ExportRefusedError for sources that are plain pictures and for values that NIfTI cannot
        hold, and InvalidRequestError for a destination that is neither .nii nor .nii.gz.
        """
        name = destination.name.lower()
        if not name.endswith((".nii", ".nii.gz")):
            raise InvalidRequestError(f"a NIfTI file ends in .nii or .nii.gz, not {destination.suffix!r}")
        series = rendition.series
        if series.format not in ("nifti", "dicom"):
            raise ExportRefusedError(
                f"a {series.format} source cannot become NIfTI: it does not say how large or where its "
                "pixels are; ask for png or npy"
            )
        head, order, trailer = _prepare(rendition)
        report_geometry(rendition)
        flip = series.format == "dicom"
        rescale = _must_rescale(series)
        dtype = np.dtype("float32" if rescale else series.dtype).newbyteorder(order)
        with replacing(destination) as file:
            packed = name.endswith(".gz")
            sink = (
                gzip.GzipFile("", "wb", compresslevel=self._compression, fileobj=file, mtime=0)
                if packed
                else file
            )
            try:
                sink.write(head)
                for index, frame in enumerate(checked_frames(rendition)):
                    stored = rescaled(frame, series, index) if rescale else to_rgb(frame, series)
                    stored = stored[::-1] if flip else stored
                    sink.write(np.ascontiguousarray(stored, dtype=dtype).data)
                sink.write(trailer)
            finally:
                if packed:
                    sink.close()
        return [destination]


def _must_rescale(series: Series) -> bool:
    """Whether frames differ in slope or intercept, of which a NIfTI file has one each."""
    return series.frame_rescale is not None and series.format != "nifti" and series.samples == 1


def _prepare(rendition: Rendition) -> tuple[bytes, Literal["<", ">"], bytes]:
    """Header with extensions, byte order and trailer of the file to write."""
    series = rendition.series
    if (series.dtype, series.samples) not in _CODES:
        kind = series.dtype if series.samples == 1 else f"{series.samples} x {series.dtype}"
        raise ExportRefusedError(f"NIfTI has no data type for {kind} pixels; ask for npy")
    check_colours(series)
    original = rendition.attachments.get(HEADER)
    if series.format == "nifti" and original is not None:
        head, order = _adapted_header(original, rendition)
        return head, order, rendition.attachments.get(TRAILER, b"")
    return _new_header(series, flip=series.format == "dicom"), "<", b""


def _adapted_header(original: bytes, rendition: Rendition) -> tuple[bytes, Literal["<", ">"]]:
    """The source's header; sizes and positions changed if the resolution is not the source's."""
    series, source = rendition.series, rendition.source
    unlimited = Limits(1 << 62, 1 << 62, 1 << 125, 1 << 62)
    layout = parse_header(original[:540], unlimited)
    if rendition.is_full_resolution:
        kept = (layout.dims[0], layout.dims[1], layout.frames, layout.dtype, layout.samples)
        if kept != (series.columns, series.rows, series.frames, series.dtype, series.samples):
            raise IntegrityError("the NIfTI header that is kept does not fit the frames")
        return original, layout.order
    header = layout.header.copy()
    header["datatype"] = _CODES[series.dtype, series.samples]
    header["bitpix"] = np.dtype(series.dtype).itemsize * 8 * series.samples
    if max(series.columns, series.rows) > np.iinfo(header["dim"].dtype).max:
        raise ExportRefusedError("NIfTI-1 holds at most 32767 pixels a side")
    across, down = _factors(series, source)
    step = np.eye(4)
    step[0, 0], step[0, 3] = across, (across - 1) / 2
    step[1, 1], step[1, 3] = down, (down - 1) / 2
    header["dim"][1], header["dim"][2] = series.columns, series.rows
    sform = np.array([header["srow_x"], header["srow_y"], header["srow_z"]], dtype=np.float64) @ step
    header["srow_x"], header["srow_y"], header["srow_z"] = sform
    try:
        position = (np.array(header.get_qform(), dtype=np.float64) @ step)[:3, 3]
    except (HeaderDataError, ValueError, ArithmeticError):
        header["qform_code"] = 0
    else:
        header["qoffset_x"], header["qoffset_y"], header["qoffset_z"] = position
    header["pixdim"][1] *= across
    header["pixdim"][2] *= down
    size = len(header.binaryblock)
    return bytes(header.binaryblock) + original[size:], layout.order


def _factors(series: Series, source: Series) -> tuple[float, float]:
    """Source pixels that a pixel covers, across columns and down rows."""
    if series.spacing is None or source.spacing is None:
        return source.columns / series.columns, source.rows / series.rows
    (_, row, column), (_, source_row, source_column) = series.spacing, source.spacing
    return _tidy(column / source_column), _tidy(row / source_row)


def _tidy(factor: float) -> float:
    """A factor of 2.0000000001 is 2."""
    return float(round(factor)) if abs(factor - round(factor)) < 1e-9 * factor else factor


def _new_header(series: Series, *, flip: bool) -> bytes:
    """A header for a series that did not come from NIfTI, with the four bytes that follow it."""
    *slower, slices = series.dimensions
    dims = [series.columns, series.rows, slices, *reversed(slower)]
    if len(dims) > 7:
        raise ExportRefusedError(f"NIfTI has at most 7 dimensions, the series has {len(dims)}")
    kind: Any = nib.Nifti1Header if max(dims) <= 32767 else nib.Nifti2Header
    header: _Header = kind()
    header["dim"] = [len(dims), *dims, *[1] * (7 - len(dims))]
    rescale = _must_rescale(series)
    dtype = "float32" if rescale else series.dtype
    header["datatype"] = _CODES[dtype, series.samples]
    header["bitpix"] = np.dtype(dtype).itemsize * 8 * series.samples
    header["pixdim"] = 1
    description = f"Imarium {importlib.metadata.version('imarium')}"
    if is_uneven(series):
        description += "; UNEVEN slices (mean step)"
    if is_tilted(series):
        description += "; TILTED (see sform)"
    if rescale:
        header["scl_slope"], header["scl_inter"] = 1.0, 0.0
        description += "; rescaled frame by frame"
    else:
        header["scl_slope"], header["scl_inter"] = series.rescale_slope, series.rescale_intercept
    if series.affine is None:
        description += "; position and size unknown"
        header["srow_x"], header["srow_y"], header["srow_z"] = np.eye(4)[:3]
    else:
        affine = np.asarray(series.affine, dtype=np.float64)
        if flip:
            turn = np.diag([1.0, -1.0, 1.0, 1.0])
            turn[1, 3] = series.rows - 1
            affine = affine @ turn
        _place(header, affine)
    header["pixdim"][4] = (series.time_step or 0.0) if len(dims) > 3 else 1.0
    header["xyzt_units"] = 2 | 8
    if series.label_map and series.samples == 1:
        header["intent_code"] = _INTENT_LABEL
    header["descrip"] = description.encode("ascii")[:79]
    header["magic"] = header.single_magic
    header["vox_offset"] = header.single_vox_offset
    return bytes(header.binaryblock) + bytes(4)


def _place(header: _Header, affine: NDArray[np.float64]) -> None:
    """sform always; qform where axes are at right angles, since a quaternion holds no shear."""
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    header["pixdim"][1:4] = sizes
    header["srow_x"], header["srow_y"], header["srow_z"] = affine[:3]
    header["sform_code"] = 1
    axes = affine[:3, :3] / np.where(sizes == 0, 1, sizes)
    if np.abs(axes.T @ axes - np.eye(3)).max() < 1e-4:
        header.set_qform(affine, code=1, strip_shears=True)
