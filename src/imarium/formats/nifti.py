"""NIfTI-1, NIfTI-2 and Analyze 7.5, read a frame at a time from .nii or .hdr with .img, and written as NIfTI.

Data in a NIfTI file lie with the column index i fastest, then the row j, the slice k, time t, and up to
three more. Read in C order that is (w, v, u, t, k, j, i): `Series.dimensions` + (rows, columns),
without a copy or a flip. The header and the extensions are kept as an attachment, so that an export at
full resolution is the (uncompressed) source again, byte for byte; of a pair, as a pair, or as the one file
that it stands for.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Literal

import nibabel as nib
import numpy as np
from blake3 import blake3
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from imarium.codec.color import check_colours, to_rgb
from imarium.errors import (
    CorruptFileError,
    ExportRefusedError,
    ImariumError,
    IntegrityError,
    InvalidRequestError,
    LimitExceededError,
    UnsupportedFileError,
)
from imarium.formats import analyze
from imarium.formats._arrays import Scratch, Span, Spans, StoredArray, frames_of
from imarium.formats._beside import beside
from imarium.formats._shared import checked_frames, opened, replacing, study_uid_of, uid_of_digest
from imarium.formats._unpacking import (
    DEFLATE_RATIO,
    GZIP,
    TRAILER_BYTES,
    inflate,
    scratch_file,
    storage_errors,
)
from imarium.formats.base import ReadContext, Refusal
from imarium.formats.geometry_notes import report_geometry
from imarium.formats.outgoing import OutFile, Outgoing, headed
from imarium.formats.rendering import rescaled
from imarium.headers.nifti import (
    CODES,
    DATATYPES,
    INTENT_LABEL,
    check_datatype,
    check_source,
    is_flipped,
    must_rescale,
    new_header,
)
from imarium.model import Rendition, Series, SourceFile, SourceSeries
from imarium.model.geometry import Affine, as_affine, plausible
from imarium.settings import Limits

HEADER = "nifti/header"
"""Attachment: the source from its first byte to its first voxel (header and extensions); of a pair, the
whole .hdr."""
PREFIX = "nifti/prefix"
"""Attachment: what came before the first voxel in the .img of a pair, if anything."""
TRAILER = "nifti/trailer"
"""Attachment: what followed the last voxel, if anything."""

_PEEK = 540
"""Bytes that hold the longest header."""
_PAIR = re.compile(r"(.+)\.(hdr|HDR)(\.gz|\.GZ)?")

_REFUSED_DATATYPES = {0: "unknown", 1: "binary", 1536: "float128", 2048: "complex256"}

_UNLIMITED = Limits(1 << 62, 1 << 62, 1 << 125, 1 << 62)

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
        """Bytes that the header promises, up to the last voxel."""
        return self.offset + self.frames * self.frame_bytes

    @property
    def array(self) -> StoredArray:
        """The voxels, in the order in which the model has them."""
        shape = tuple(reversed(self.dims)) + ((self.samples,) if self.samples > 1 else ())
        dtype = np.dtype(self.dtype).newbyteorder(self.order)
        return StoredArray(shape, dtype, tuple(range(len(shape))), colour=self.samples > 1)


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
    voxels: Scratch | Spans
    """In a scratch file if they were packed, else where they are."""
    size: int
    """Bytes on disk."""


class NiftiReader:
    """Reads NIfTI-1 and NIfTI-2 files and pairs, and pairs of Analyze 7.5, plain or gzipped, of either byte
    order."""

    name = "nifti"
    batch = False
    several = False

    def recognises(self, path: Path, head: bytes) -> bool:  # noqa: ARG002 - content alone decides
        """Whether the content, or what gzip packs, has a NIfTI header, of a single file or of a pair, or is a
        header of Analyze 7.5.
        """
        return _version(_unpacked(head)) is not None

    def companions(self, path: Path) -> tuple[Path, ...]:
        """The .img (or .img.gz) of a pair's header; nothing for a single file.

        Raises UnsupportedFileError if `path` is not named as a header of a pair, CorruptFileError if the
        file beside it is missing, and RefusedFileError if `path` cannot be read.
        """
        with opened(path, Limits()) as (stream, _):
            return (_image_of(path),) if (_version(_peek(stream)) or 0) < 0 else ()

    def read(self, paths: Iterable[Path], context: ReadContext) -> Iterator[SourceSeries | Refusal]:
        """One series a file or pair. Voxels are read when `read_frames` is iterated, and not before; what
        is gzipped is unpacked to an unnamed file in `context.scratch`, which lives as long as the series.

        Refusals hold CorruptFileError (truncated, inconsistent), LimitExceededError,
        UnsupportedFileError (float128, a pair's header that is not named so), StorageError (no room in the
        scratch folder) or RefusedFileError (cannot be opened).
        """
        for path in paths:
            try:
                found: SourceSeries | Refusal = _read(path, context)
            except ImariumError as error:
                found = Refusal(path, error)
            yield found
            del found  # the scratch file of a .nii.gz goes as soon as the caller lets go of the series


def _version(head: bytes) -> int | None:
    """1 or 2; -1 or -2 for a header whose voxels are in another file (-1 for Analyze 7.5, too); None if it is
    neither."""
    if analyze.recognises(head):
        return -1
    if len(head) >= 348:
        magic = head[344:348]
        if magic in (b"n+1\0", b"ni1\0"):
            return 1 if magic == b"n+1\0" else -1
        # The first three bytes of the magic, and sizeof_hdr in either byte order, tell NIfTI-2.
        if head[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") and head[4:7] in (b"n+2", b"ni2"):
            return 2 if head[4:7] == b"n+2" else -2
    return None


def _peek(stream: BinaryIO) -> bytes:
    """The first bytes of a file, unpacked if it is gzipped; it is at its start again."""
    head = stream.read(2 * _PEEK)
    stream.seek(0)
    return _unpacked(head)


def _unpacked(head: bytes) -> bytes:
    """As many bytes as the longest header has."""
    if head[:2] != GZIP:
        return head[:_PEEK]
    try:
        return zlib.decompressobj(wbits=31).decompress(head, _PEEK)
    except zlib.error:
        return b""


def _image_of(header: Path) -> Path:
    """The file of a pair's voxels: beside its header, of the same stem."""
    match = _PAIR.fullmatch(header.name)
    if match is None:
        raise UnsupportedFileError(
            "a detached header is named .hdr and has its voxels beside it, in .img or .img.gz of that name"
        )
    names = [f"{match[1]}.img", f"{match[1]}.img.gz"]
    if match[2].isupper():
        names = [f"{match[1]}.IMG", f"{match[1]}.IMG.GZ", *names]
    name = next((name for name in names if (header.parent / name).exists()), None)
    if name is None:
        raise CorruptFileError("the .img or .img.gz with the voxels of the detached header is missing")
    return beside(header, [name])[0]


def _read(path: Path, context: ReadContext) -> SourceSeries:
    with opened(path, context.limits) as (stream, _):
        if (_version(_peek(stream)) or 0) < 0:
            return _read_pair(path, context)
    source = _scan(path, context, None)
    attachments = {HEADER: source.head}
    return _source_series(source, attachments, (SourceFile(path, source.size, source.digest),), context)


def _read_pair(path: Path, context: ReadContext) -> SourceSeries:
    image = _image_of(path)
    with opened(path, context.limits) as (stream, facts):
        content = _small(stream, context.limits)
        header = SourceFile(path, facts.st_size, context.digest_of(path))
    source = _scan(image, context, parse_header(content[:_PEEK], context.limits))
    attachments = {HEADER: content}
    if source.head:
        attachments[PREFIX] = source.head
    source = replace(source, content=blake3(blake3(content).digest() + source.content).digest())
    return _source_series(
        source, attachments, (header, SourceFile(image, source.size, source.digest)), context
    )


def _small(stream: BinaryIO, limits: Limits) -> bytes:
    """The whole of a detached header, unpacked."""
    packed = stream.read(2) == GZIP
    stream.seek(0)
    most = limits.header_bytes + _PEEK
    content = bytearray()
    for piece in inflate(stream.read, []) if packed else iter(lambda: stream.read(64 << 10), b""):
        content += piece
        if len(content) > most:
            raise LimitExceededError(
                f"the detached header has more than {most} bytes; the limit is {limits.header_bytes} besides "
                "the header proper (limits.header_bytes)"
            )
    return bytes(content)


def _scan(path: Path, context: ReadContext, layout: _Layout | None) -> _Unpacked:
    """Check and digest a file; `layout` is that of its header if this is detached."""
    with opened(path, context.limits) as (stream, facts):
        packed = stream.read(2) == GZIP
        stream.seek(0)
        if packed:
            return _unpack_gzip(stream, facts.st_size, context, layout)
        layout = layout or parse_header(stream.read(_PEEK), context.limits)
        head, trailer = _scan_plain(stream, facts.st_size, layout)
        digest = bytes.fromhex(context.digest_of(path))
        span = Span(path, facts, layout.offset, layout.end - layout.offset)
        voxels = Spans((span,))
    return _Unpacked(layout, digest.hex(), digest, head, trailer, (), voxels, facts.st_size)


def _source_series(
    source: _Unpacked, attachments: dict[str, bytes], files: tuple[SourceFile, ...], context: ReadContext
) -> SourceSeries:
    if source.trailer:
        attachments[TRAILER] = source.trailer
    return SourceSeries(
        series=_series(source),
        files=files,
        read_frames=frames_of(source.layout.array, source.voxels, context),
        attachments=attachments,
    )


def parse_header(head: bytes, limits: Limits) -> _Layout:
    """Read a NIfTI or Analyze header and check it against itself and the limits; takes no memory for voxels.

    The layout of a detached header is that of its .img.

    `head` holds at least the 348 or 540 bytes of the header, and no more of an Analyze file. Raises
    CorruptFileError, UnsupportedFileError or LimitExceededError.
    """
    version = _version(head)
    notes: tuple[str, ...] = ()
    if analyze.recognises(head):
        head, notes = analyze.converted(head), (analyze.NOTE,)
    if version is None:
        raise CorruptFileError("the NIfTI header is missing or shorter than 348 bytes")
    detached = version < 0
    version = abs(version)
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
        raise CorruptFileError(f"dim[0] is {given[0]}; a file has 1 to 7 dimensions")
    dims = [*given[1 : given[0] + 1], *[1] * (7 - given[0])]
    if min(dims) < 1:
        raise CorruptFileError(f"dim holds {min(dims)}; every dimension is at least 1")

    code = int(header["datatype"])
    if code not in DATATYPES:
        name = _REFUSED_DATATYPES.get(code, "not defined by NIfTI")
        raise UnsupportedFileError(f"datatype {code} ({name}) cannot be kept exactly")
    if notes and code == analyze.COLOURS:
        raise UnsupportedFileError("Analyze 7.5 does not say in which order the samples of colours lie")
    dtype, samples = DATATYPES[code]

    offset = float(header["vox_offset"])
    before = 0 if detached else size
    if not math.isfinite(offset) or offset != int(offset) or offset < before:
        raise CorruptFileError(
            f"vox_offset is {offset:g}; voxels start at a whole number of at least {before}"
        )
    notes += _header_notes(header, code)
    layout = _Layout(header, order, tuple(dims), dtype, samples, int(offset), notes)
    if layout.offset - before > limits.header_bytes:
        raise LimitExceededError(
            f"{layout.offset - before} bytes lie before the first voxel; the limit is {limits.header_bytes} "
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
    dtype, samples = DATATYPES[code]
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


def _scan_plain(stream: BinaryIO, size: int, layout: _Layout) -> tuple[bytes, bytes]:
    """What comes before and after the voxels of an uncompressed file."""
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
    return head, trailer


def _unpack_gzip(stream: BinaryIO, size: int, context: ReadContext, layout: _Layout | None) -> _Unpacked:
    """Unpack a gzipped file into the scratch folder, no further than its header promises."""
    packed_hasher, hasher = blake3(), blake3()
    notes: list[str] = []

    def read(count: int) -> bytes:
        data = stream.read(count)
        packed_hasher.update(data)
        return data

    pieces = inflate(read, notes)
    start = bytearray()
    if layout is None:
        for piece in pieces:
            start += piece
            if len(start) >= _PEEK:
                break
        layout = parse_header(bytes(start[:_PEEK]), context.limits)
    if layout.end > size * DEFLATE_RATIO:
        raise CorruptFileError(
            f"the header promises {layout.end} bytes; {size} gzipped bytes cannot hold that many"
        )
    voxels = scratch_file(context.scratch, layout.end)
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
                with storage_errors(context.scratch):
                    voxels.write(memoryview(piece)[to_head:to_voxels])
        if done < layout.end:
            raise _too_short(layout, done)
        with storage_errors(context.scratch):
            voxels.flush()
    except BaseException:
        voxels.close()
        raise
    return _Unpacked(
        layout,
        packed_hasher.hexdigest(),
        hasher.digest(),
        bytes(head),
        bytes(trailer),
        tuple(notes),
        Scratch(voxels),
        size,
    )


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _series(source: _Unpacked) -> Series:
    layout, header = source.layout, source.layout.header
    notes = [*layout.notes, *source.notes]
    if source.trailer:
        notes.append(f"{len(source.trailer)} bytes follow the last voxel; they are kept but not interpreted")
    columns, rows, slices, times, *others = layout.dims
    slower = [size for size in (*reversed(others), times) if size > 1]
    uid = uid_of_digest(source.content)
    slope, intercept = _scaling(header, layout.samples, notes)
    if analyze.NOTE in notes and slope != 1:
        notes.append(analyze.SCALE_NOTE)
    label_map = int(header["intent_code"]) == INTENT_LABEL
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
            usable = plausible(matrix) and np.linalg.det(matrix[:3, :3]) != 0
    except (HeaderDataError, ValueError, ArithmeticError, np.linalg.LinAlgError):
        usable = False
    if not usable:
        notes.append(
            "the affine is no finite, invertible matrix of a plausible size: the volume's position is unknown"
        )
        return None
    return as_affine(matrix)


def _best_affine(header: _Header, dims: tuple[int, ...]) -> NDArray[np.float64]:
    header = header.copy()
    # nibabel's fallback looks at the shape; one of three axes makes it look at all of them.
    header["dim"][:4] = [3, *(min(size, np.iinfo(header["dim"].dtype).max) for size in dims[:3])]
    return np.array(header.get_best_affine(), dtype=np.float64)


class NiftiWriter:
    """Writes .nii or .nii.gz files, or .hdr with .img, by the suffix of the destination.

    A NIfTI source keeps its header, extensions and byte order; at full resolution the uncompressed
    file is the source's own, byte for byte, and at lower resolutions sizes, voxel sizes and positions
    are those of the coarser grid. What came as a pair can leave as that pair, at full resolution. An Analyze
    source gets a NIfTI header in a single file. A DICOM source gets rows from bottom to top, as converters
    usually do, with an affine that says so, and its slope and intercept as scl_slope and scl_inter. Slices
    that are tilted or unevenly spaced are reported, and named in the header's description. Where slopes
    differ between frames, NIfTI has no room for them: values are then written rescaled, as float32.
    """

    name = "nifti"

    def __init__(self, compression: int = 4) -> None:
        """`compression`: zlib's level, 1 to 9, for .nii.gz."""
        if not 1 <= compression <= 9:
            raise InvalidRequestError(f"gzip levels are 1 to 9, not {compression}")
        self._compression = compression

    def write(self, rendition: Rendition, destination: Path) -> list[Path]:
        """Write one file, a frame at a time; or .hdr and .img, of which it returns both.

        Raises ExportRefusedError for sources that are plain pictures or arrays, for values that NIfTI
        cannot hold and for a pair of what did not come as one, and InvalidRequestError for a destination that
        is none of .nii, .nii.gz and .hdr.
        """
        name = destination.name.lower()
        if name.endswith(".hdr"):
            return _write_pair(rendition, destination)
        _, chunks = self._content(rendition, destination.name)
        with replacing(destination) as file:
            for chunk in chunks:
                file.write(chunk)
        return [destination]

    def outgoing(self, rendition: Rendition, name: str, scratch: Path) -> Outgoing:  # noqa: ARG002
        """The same file; see `imarium.formats.base.Writer`. Packed ones are packed on the way."""
        return Outgoing(None, iter([OutFile(name, *self._content(rendition, name))]))

    def _content(self, rendition: Rendition, name: str) -> tuple[int | None, Iterator[bytes]]:
        """Size, unless it is packed, and bytes of the file."""
        if not name.lower().endswith((".nii", ".nii.gz")):
            raise InvalidRequestError(
                f"a NIfTI file ends in .nii or .nii.gz, or .hdr for a pair, not {Path(name).suffix!r}"
            )
        series = rendition.series
        check_source(series)
        head, order, trailer = _prepare(rendition)
        report_geometry(rendition)
        if analyze.NOTE in series.notes:
            rendition.report(analyze.NOTE)
        dtype = np.dtype("float32" if must_rescale(series) else series.dtype).newbyteorder(order)
        content = headed(head, chain(_voxels(rendition, dtype), [trailer]))
        if name.lower().endswith(".gz"):
            return None, _packed(content, self._compression)
        values = series.frames * series.rows * series.columns * series.samples
        return len(head) + values * dtype.itemsize + len(trailer), content


def _voxels(rendition: Rendition, dtype: np.dtype[Any]) -> Iterator[bytes]:
    """The frames as they stand in the file."""
    series = rendition.series
    flip, rescale = is_flipped(series), must_rescale(series)
    for index, frame in enumerate(checked_frames(rendition)):
        stored = rescaled(frame, series, index) if rescale else to_rgb(frame, series)
        yield (stored[::-1] if flip else stored).astype(dtype, copy=False).tobytes()


def _packed(content: Iterator[bytes], level: int) -> Iterator[bytes]:
    """Gzip (RFC 1952), with no name and no time in its header."""
    packer = zlib.compressobj(level, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    for chunk in content:
        if packed := packer.compress(chunk):
            yield packed
    yield packer.flush()


def _write_pair(rendition: Rendition, destination: Path) -> list[Path]:
    """The source's own header and voxels; byte for byte what they were, unpacked."""
    header = rendition.attachments.get(HEADER, b"")
    detached = (_version(header) or 0) < 0
    if rendition.series.format != "nifti" or not detached or not rendition.is_full_resolution:
        raise ExportRefusedError(
            "only what came as a pair of .hdr and .img leaves as one, at full resolution; ask for .nii"
        )
    layout = _kept_layout(header, rendition.series)
    image = destination.with_suffix(".IMG" if destination.suffix.isupper() else ".img")
    with replacing(destination) as header_file, replacing(image) as file:
        header_file.write(header)
        file.write(rendition.attachments.get(PREFIX, b""))
        for frame in checked_frames(rendition):
            file.write(np.ascontiguousarray(frame, frame.dtype.newbyteorder(layout.order)).data)
        file.write(rendition.attachments.get(TRAILER, b""))
    return [destination, image]


def _prepare(rendition: Rendition) -> tuple[bytes, Literal["<", ">"], bytes]:
    """Header with extensions, byte order and trailer of the file to write."""
    series = rendition.series
    check_datatype(series)
    check_colours(series)
    original = rendition.attachments.get(HEADER)
    if series.format == "nifti" and original is not None:
        head, order = _adapted_header(original, rendition)
        return head, order, rendition.attachments.get(TRAILER, b"")
    return new_header(series), "<", b""


def _adapted_header(original: bytes, rendition: Rendition) -> tuple[bytes, Literal["<", ">"]]:
    """The source's header; sizes and positions changed if the resolution is not the source's."""
    series, source = rendition.series, rendition.source
    original = _as_single(original)
    if rendition.is_full_resolution:
        return original, _kept_layout(original, series).order
    layout = parse_header(original[:_PEEK], _UNLIMITED)
    header = layout.header.copy()
    header["datatype"] = CODES[series.dtype, series.samples]
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


def _kept_layout(original: bytes, series: Series) -> _Layout:
    """The layout that a kept header describes. Raises IntegrityError if it is not that of the frames."""
    layout = parse_header(original[:_PEEK], _UNLIMITED)
    kept = (layout.dims[0], layout.dims[1], layout.frames, layout.dtype, layout.samples)
    if kept != (series.columns, series.rows, series.frames, series.dtype, series.samples):
        raise IntegrityError("the NIfTI header that is kept does not fit the frames")
    return layout


def _as_single(original: bytes) -> bytes:
    """The header and extensions of a pair as those of a single file; of a single file, as they are.

    Voxels start at a multiple of 16 (nifti1.h), which float32 holds exactly.
    """
    if analyze.recognises(original):
        original = analyze.converted(original)
    version = _version(original)
    if version is None or version > 0:
        return original
    little = original[:4] in (b"\x5c\1\0\0", b"\x1c\2\0\0")
    size = 348 if version == -1 else 540
    content = bytearray(original.ljust(size + 4, b"\0"))
    content += bytes(-len(content) % 16)
    if version == -1:
        content[344:348] = b"n+1\0"
        struct.pack_into("<f" if little else ">f", content, 108, len(content))
    else:
        content[4:7] = b"n+2"
        struct.pack_into("<q" if little else ">q", content, 168, len(content))
    return bytes(content)


def _factors(series: Series, source: Series) -> tuple[float, float]:
    """Source pixels that a pixel covers, across columns and down rows."""
    if series.spacing is None or source.spacing is None:
        return source.columns / series.columns, source.rows / series.rows
    (_, row, column), (_, source_row, source_column) = series.spacing, source.spacing
    return _tidy(column / source_column), _tidy(row / source_row)


def _tidy(factor: float) -> float:
    """A factor of 2.0000000001 is 2."""
    return float(round(factor)) if abs(factor - round(factor)) < 1e-9 * factor else factor
