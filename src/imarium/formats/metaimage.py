"""MetaImage (.mha, .mhd; itk.org/Wiki/ITK/MetaIO/Documentation), attached and detached.

A header of `Key = Value` lines, the last of which says where the values are. Axes are columns, rows, slices
and then `Series.dimensions`, the fastest first; several channels of a voxel lie together. Positions are in
LPS, as ITK has them. The header is kept whole as an attachment.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from imarium.errors import CorruptFileError, UnsupportedFileError
from imarium.formats._arrays import Encoding, Part, StoredArray
from imarium.formats._beside import beside, numbered
from imarium.formats._placing import affine_of
from imarium.formats._shared import opened, study_uid_of
from imarium.formats._text_header import header_lines, read_each, sizes_of, source_of, whole
from imarium.formats.base import ReadContext, Refusal
from imarium.model import Series, SourceFile, SourceSeries
from imarium.model.geometry import LPS_TO_RAS, Affine
from imarium.settings import Limits

HEADER = "metaimage/header"
"""Attachment: the header as it was, to the end of its last line."""

_LONGEST = 4096
"""Most characters of a data file's name or pattern."""
_AXES = 10
"""Most axes of an array (METAIO's limit)."""

# Sizes are those that files have on every machine: METAIO's long has 4 bytes.
_TYPES = {
    "MET_CHAR": "int8",
    "MET_UCHAR": "uint8",
    "MET_SHORT": "int16",
    "MET_USHORT": "uint16",
    "MET_INT": "int32",
    "MET_UINT": "uint32",
    "MET_LONG": "int32",
    "MET_ULONG": "uint32",
    "MET_LONG_LONG": "int64",
    "MET_ULONG_LONG": "uint64",
    "MET_FLOAT": "float32",
    "MET_DOUBLE": "float64",
}
_SYNONYMS = {
    "Origin": "Offset",
    "Position": "Offset",
    "Rotation": "TransformMatrix",
    "Orientation": "TransformMatrix",
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}
_MODALITIES = {"MET_MOD_CT": "CT", "MET_MOD_MR": "MR", "MET_MOD_NM": "NM", "MET_MOD_US": "US"}
_MILLIMETRES = {"um": 1e-3, "cm": 10.0}

_RECOGNISED = re.compile(rb"^(?:NDims|ObjectType)[ \t]*[=:]", re.MULTILINE)
_PARTICULAR = re.compile(rb"^(?:DimSize|ElementType|ElementDataFile)[ \t]*[=:]", re.MULTILINE)
_SEPARATOR = re.compile(r"[=:]")
_LIST = re.compile(r"LIST(?:[ \t]+(\d{1,2})D?)?")
_NUMBERED = re.compile(
    r"(\S.*?)(?:[ \t]+(-?\d{1,9}))?(?:[ \t]+(-?\d{1,9}))?(?:[ \t]+(-?\d{1,9}))?", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class _Text:
    """A header, taken apart but not understood."""

    content: bytes
    fields: dict[str, str]
    names: tuple[str, ...]
    """Data files of a LIST."""

    @property
    def data_file(self) -> str:
        return self.fields["ElementDataFile"]

    @property
    def detached(self) -> bool:
        return self.data_file.upper() != "LOCAL"


@dataclass(frozen=True, slots=True)
class _Layout:
    array: StoredArray
    sizes: tuple[int, ...]
    encoding: Encoding
    skip: int
    """HeaderSize."""
    packed: int | None
    """CompressedDataSize."""


class MetaImageReader:
    """Reads MetaImage of every type of number, binary or text, plain or compressed."""

    name = "metaimage"
    batch = False
    several = False

    def recognises(self, path: Path, head: bytes) -> bool:  # noqa: ARG002 - content alone decides
        """Whether the content starts with text lines that name the fields of a MetaImage."""
        match = _RECOGNISED.search(head)
        if match is None or _PARTICULAR.search(head) is None:
            return False
        return all(byte in b"\t\r\n" or byte >= 32 for byte in head[: match.start()])

    def companions(self, path: Path) -> tuple[Path, ...]:
        """The files that a detached header names, in their order; nothing for an attached one.

        Raises CorruptFileError, UnsupportedFileError (a name that leads out of the header's folder),
        LimitExceededError or RefusedFileError (cannot be read).
        """
        with opened(path, Limits()) as (stream, _):
            text = _parse(stream, Limits())
        return _data_files(path, text, _sizes(text), Limits()) if text.detached else ()

    def read(self, paths: Iterable[Path], context: ReadContext) -> Iterator[SourceSeries | Refusal]:
        """One series a header. Raw values are read when `read_frames` is iterated, and not before; others
        are unpacked to an unnamed file in `context.scratch`, which lives as long as the series.

        Refusals hold CorruptFileError (truncated, inconsistent), LimitExceededError,
        UnsupportedFileError (no image, data elsewhere), StorageError (no room in the scratch folder) or
        RefusedFileError (cannot be opened).
        """
        return read_each(paths, context, _read)


def _read(path: Path, context: ReadContext) -> SourceSeries:
    with opened(path, context.limits) as (stream, facts):
        text = _parse(stream, context.limits)
        layout = _layout(text, context.limits)
        own = SourceFile(path, facts.st_size, context.digest_of(path)) if text.detached else None
    start, skip = layout.skip, 0
    if start == -1:
        start, skip = 0, -1
    if own is None:
        # HeaderSize counts from the file's first byte, which is in the header here.
        if 0 < start < len(text.content):
            raise CorruptFileError(f"HeaderSize is {start}; the header itself has {len(text.content)} bytes")
        parts = [Part(path, start or len(text.content), skip=skip, packed=layout.packed)]
    else:
        data = _data_files(path, text, layout.sizes, context.limits)
        packed = layout.packed if len(data) == 1 else None
        parts = [Part(name, start, skip=skip, packed=packed) for name in data]
    return source_of(
        own,
        parts,
        layout.encoding,
        layout.array,
        context,
        {HEADER: text.content},
        lambda uid, notes: _series(text, layout, uid, notes),
    )


def _parse(stream: BinaryIO, limits: Limits) -> _Text:
    """Lines up to ElementDataFile, and after it the names of a LIST."""
    content: list[bytes] = []
    fields: dict[str, str] = {}
    names: list[str] = []
    for raw in header_lines(stream, limits, "MetaImage"):
        content.append(raw)
        line = raw.decode("utf-8", "surrogateescape").strip()
        if "ElementDataFile" in fields:
            if line:
                names.append(line)
            continue
        if not line or line.startswith("#"):
            continue
        name, *value = (part.strip() for part in _SEPARATOR.split(line, maxsplit=1))
        if not value:
            raise CorruptFileError("a line of the MetaImage header is no 'Key = Value'")
        name = _SYNONYMS.get(name, name)
        fields[name] = value[0]
        if name == "ElementDataFile" and len(value[0]) > _LONGEST:
            raise CorruptFileError(f"ElementDataFile has more than {_LONGEST} characters")
        if name == "ElementDataFile" and not _LIST.fullmatch(fields[name]):
            break
    if "ElementDataFile" not in fields:
        raise CorruptFileError("the file ends inside its MetaImage header: ElementDataFile is missing")
    return _Text(b"".join(content), fields, tuple(names))


def _sizes(text: _Text) -> tuple[int, ...]:
    axes = _whole(text, "NDims", 0)
    if not 1 <= axes <= _AXES:
        raise CorruptFileError(f"a MetaImage has 1 to {_AXES} dimensions; NDims is {axes or 'missing'}")
    return sizes_of(text.fields.get("DimSize", ""), axes, "DimSize")


def _layout(text: _Text, limits: Limits) -> _Layout:
    """What the header says of the array; takes no memory for values."""
    if text.fields.get("ObjectType", "Image").lower() != "image":
        raise UnsupportedFileError("the MetaIO object is no image")
    sizes = _sizes(text)
    if len(sizes) < 2:
        raise UnsupportedFileError("an array of one dimension is no image")
    kind = text.fields.get("ElementType", "").removesuffix("_ARRAY")
    if kind not in _TYPES:
        raise UnsupportedFileError("ElementType is none of MetaImage's types of numbers")
    text_values = not _truth(text, "BinaryData", default=True)
    packed = _truth(text, "CompressedData", default=False)
    if text_values and packed:
        raise UnsupportedFileError("compressed text is no encoding of MetaImage")
    big = _truth(text, "BinaryDataByteOrderMSB", default=False) and not text_values
    dtype = np.dtype(_TYPES[kind]).newbyteorder(">" if big else "<")
    channels = _whole(text, "ElementNumberOfChannels", 1)
    if channels < 1:
        raise CorruptFileError(f"ElementNumberOfChannels is {channels}")
    shape = tuple(reversed(sizes))
    colour = channels in (3, 4) and kind == "MET_UCHAR"
    order = tuple(range(len(sizes)))
    if channels > 1:
        # Channels that are no colours become the slowest dimension.
        order = (*order, len(sizes)) if colour else (len(sizes), *order)
        shape = (*shape, channels)
    array = StoredArray(shape, dtype, order, colour=colour)
    array.check(limits)
    skip = _whole(text, "HeaderSize", 0)
    if skip < -1 or (skip == -1 and (packed or text_values)):
        raise CorruptFileError(f"HeaderSize is {skip}; -1 goes with raw data only")
    size = _whole(text, "CompressedDataSize", 0)
    if size < 0:
        raise CorruptFileError(f"CompressedDataSize is {size}")
    encoding: Encoding = "text" if text_values else "zlib" if packed else "raw"
    return _Layout(array, sizes, encoding, skip, (size or None) if packed else None)


def _whole(text: _Text, name: str, default: int) -> int:
    value = text.fields.get(name)
    return default if value is None else whole(value, name)


def _truth(text: _Text, name: str, *, default: bool) -> bool:
    value = text.fields.get(name, "").lower()
    if not value:
        return default
    if value not in ("true", "false", "t", "f", "1", "0", "yes", "no"):
        raise CorruptFileError(f"{name} is neither True nor False")
    return value[0] in "t1y"


def _numbers(text: _Text, name: str) -> list[float] | None:
    value = text.fields.get(name)
    if value is None:
        return None
    try:
        return [float(word) for word in value.split()]
    except ValueError as error:
        raise CorruptFileError(f"{name} holds something else than numbers") from error


def _data_files(path: Path, text: _Text, sizes: tuple[int, ...], limits: Limits) -> tuple[Path, ...]:
    """The files with the data of a detached header; as many as shares of its slowest axes need."""
    value = text.data_file
    inside = len(sizes) - 1
    if listed := _LIST.fullmatch(value):
        names = list(text.names)
        if 0 < int(listed[1] or 0) <= len(sizes):
            inside = int(listed[1])
    elif "%" in value and (match := _NUMBERED.fullmatch(value)):
        first = int(match[2] or 1)
        step = int(match[4] or 1)
        last = first + (sizes[-1] - 1) * step if match[3] is None else int(match[3])
        names = numbered(match[1], first, last, step, limits.frames)
    else:
        return beside(path, [value])
    if len(names) != math.prod(sizes[inside:]):
        raise CorruptFileError(f"the header names {len(names)} data files, which do not make up its axes")
    return beside(path, names)


def _series(text: _Text, layout: _Layout, uid: str, notes: list[str]) -> Series:
    array = layout.array
    slope, intercept = _scaling(text, notes)
    slices = layout.sizes[2] if len(layout.sizes) > 2 else 1
    slower = [size for size in reversed(layout.sizes[3:]) if size > 1]
    channels = math.prod(array.shape) // math.prod(layout.sizes)
    if channels > 1 and not array.colour:
        slower.insert(0, channels)
        notes.append(f"{channels} channels a voxel are the slowest dimension")
    return Series(
        uid=uid,
        study_uid=study_uid_of(uid),
        format="metaimage",
        frames=array.frames,
        rows=array.frame_shape[0],
        columns=array.frame_shape[1],
        dtype=array.dtype.name,
        samples=array.samples,
        photometric="RGB" if array.colour else "MONOCHROME2",
        dimensions=(*slower, slices),
        modality=_MODALITIES.get(text.fields.get("Modality", "")),
        affine=_affine(text, len(layout.sizes), notes),
        rescale_slope=1.0 if array.colour else slope,
        rescale_intercept=0.0 if array.colour else intercept,
        notes=tuple(dict.fromkeys(notes)),
    )


def _scaling(text: _Text, notes: list[str]) -> tuple[float, float]:
    """ElementToIntensityFunction's slope and offset, if they are numbers."""
    slope, *_ = _numbers(text, "ElementToIntensityFunctionSlope") or [1.0]
    offset, *_ = _numbers(text, "ElementToIntensityFunctionOffset") or [0.0]
    if not (math.isfinite(slope) and math.isfinite(offset)) or slope == 0:
        notes.append("ElementToIntensityFunction is not used: it is not finite, or its slope is 0")
        return 1.0, 0.0
    return slope, offset


def _affine(text: _Text, axes: int, notes: list[str]) -> Affine | None:
    """TransformMatrix (a row an axis), spacing and offset, in mm and RAS+."""
    spacing = _numbers(text, "ElementSpacing") or _numbers(text, "ElementSize")
    matrix = _numbers(text, "TransformMatrix")
    offset = _numbers(text, "Offset")
    if spacing is None and matrix is None and offset is None:
        notes.append("the header gives neither spacing nor position: the volume's position is unknown")
        return None
    for name, values, count in (
        ("ElementSpacing", spacing, axes),
        ("TransformMatrix", matrix, axes * axes),
        ("Offset", offset, axes),
    ):
        if values is not None and len(values) != count:
            raise CorruptFileError(f"{name} holds {len(values)} numbers; {count} were expected")
    if spacing is None:
        notes.append("the size of voxels is not given: 1 mm is assumed")
    if matrix is None:
        notes.append("the directions of the axes are not given: left, posterior, superior is assumed")
    if offset is None:
        notes.append("the offset is not given: the volume's position is assumed")
    steps = np.array(spacing or [1.0] * axes)
    directions = np.array(matrix).reshape(axes, axes) if matrix else np.eye(axes)
    origin = np.array(offset or [0.0] * axes)
    unit = text.fields.get("DistanceUnits", "mm").lower()
    scale = _MILLIMETRES.get(unit, 1.0)
    if scale != 1:
        notes.append("lengths were given in another unit and are kept in mm")
    used = min(axes, 3)
    with np.errstate(all="ignore"):
        vectors = directions[:used, :used] * steps[:used, None] * scale
        return affine_of(LPS_TO_RAS, vectors.tolist(), (origin[:used] * scale).tolist(), notes)
