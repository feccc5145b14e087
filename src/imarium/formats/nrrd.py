"""NRRD 1 to 5 ("nearly raw raster data", teem.sourceforge.net/nrrd/format.html), attached and detached.

A header in text lines names an array's axes, the fastest first. The first three axes that lie in space are
columns, rows and slices; an axis of colours before them becomes the samples of a pixel; all others become
`Series.dimensions`. The header is kept whole as an attachment.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from imarium.errors import CorruptFileError, LimitExceededError, UnsupportedFileError
from imarium.formats._arrays import Encoding, Part, StoredArray
from imarium.formats._beside import beside, numbered
from imarium.formats._placing import affine_of
from imarium.formats._shared import opened, study_uid_of
from imarium.formats._text_header import header_lines, read_each, sizes_of, source_of, whole
from imarium.formats.base import ReadContext, Refusal
from imarium.model import Series, SourceFile, SourceSeries
from imarium.model.geometry import LPS_TO_RAS, Affine
from imarium.settings import Limits

HEADER = "nrrd/header"
"""Attachment: the header as it was, with the blank line that ends it."""

_MAGIC = re.compile(rb"NRRD000\d[ \t]*\r?\n")
_VERSIONS = b"12345"
_LONGEST = 4096
"""Most characters of a field that is looked at."""
_AXES = 16
"""Most axes of an array (NRRD_DIM_MAX)."""

_TYPES = {
    "int8": ("signed char", "int8", "int8_t"),
    "uint8": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "int16": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "uint16": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "int32": ("int", "signed int", "int32", "int32_t"),
    "uint32": ("uint", "unsigned int", "uint32", "uint32_t"),
    "int64": (
        "longlong", "long long", "long long int", "signed long long", "signed long long int", "int64",
        "int64_t",
    ),
    "uint64": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "float32": ("float",),
    "float64": ("double",),
}  # fmt: skip
_DTYPES = {name: dtype for dtype, names in _TYPES.items() for name in names}
_ENCODINGS: dict[str, Encoding] = {
    "raw": "raw",
    "txt": "text",
    "text": "text",
    "ascii": "text",
    "hex": "hex",
    "gz": "gzip",
    "gzip": "gzip",
    "bz2": "bzip2",
    "bzip2": "bzip2",
}
_COLOURS = {"rgb-color": 3, "3-color": 3, "rgba-color": 4, "4-color": 4}
_IN_SPACE = ("domain", "space", "")

_RAS = np.eye(4)
_LAS = np.diag([-1.0, 1.0, 1.0, 1.0])
_SPACES: dict[str, tuple[int, NDArray[np.float64]]] = {
    "right-anterior-superior": (3, _RAS),
    "ras": (3, _RAS),
    "left-anterior-superior": (3, _LAS),
    "las": (3, _LAS),
    "left-posterior-superior": (3, LPS_TO_RAS),
    "lps": (3, LPS_TO_RAS),
    "right-anterior-superior-time": (4, _RAS),
    "rast": (4, _RAS),
    "left-anterior-superior-time": (4, _LAS),
    "last": (4, _LAS),
    "left-posterior-superior-time": (4, LPS_TO_RAS),
    "lpst": (4, LPS_TO_RAS),
}
_OTHER_SPACES = {
    "scanner-xyz": 3,
    "3d-right-handed": 3,
    "3d-left-handed": 3,
    "scanner-xyz-time": 4,
    "3d-right-handed-time": 4,
    "3d-left-handed-time": 4,
}
"""Spaces that do not say where the patient's left is."""
_ASSUMED = "the header does not say how the axes lie in the patient: left, posterior, superior is assumed"

_MILLIMETRES = {"mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "cm": 10.0, "m": 1000.0, "um": 1e-3}
_MILLIMETRES |= {"µm": 1e-3, "microns": 1e-3, "nm": 1e-6}
_SECONDS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "us": 1e-6, "µs": 1e-6}

_VECTOR = re.compile(r"none|\(([^()]*)\)", re.IGNORECASE)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_NUMBERED = re.compile(r"(\S.*?)[ \t]+(-?\d{1,9})[ \t]+(-?\d{1,9})[ \t]+(-?\d{1,9})(?:[ \t]+(\d{1,2}))?")
_LIST = re.compile(r"LIST(?:[ \t]+(\d{1,2}))?")
_SEGMENT = re.compile(r"Segment\d+_ID")


@dataclass(frozen=True, slots=True)
class _Text:
    """A header, taken apart but not understood."""

    content: bytes
    fields: dict[str, str]
    """Lower-case names, as in the definition; descriptions as written."""
    pairs: dict[str, str]
    names: tuple[str, ...]
    """Data files of a LIST."""

    @property
    def detached(self) -> bool:
        return "data file" in self.fields


@dataclass(frozen=True, slots=True)
class _Layout:
    array: StoredArray
    encoding: Encoding
    kinds: tuple[str, ...]
    """Lower-case kind of each axis, the fastest first; '' where it is not known."""
    vectors: tuple[tuple[float, ...] | None, ...] | None
    """Space directions."""
    image: tuple[int, ...]
    """Axes that are columns, rows and, if there are three, slices."""
    placed: bool
    """Whether they lie in space."""
    lines: int
    skip: int


class NrrdReader:
    """Reads NRRD of every encoding but zrl, of every type but blocks, and Slicer's segmentations."""

    name = "nrrd"
    batch = False
    several = False

    def recognises(self, path: Path, head: bytes) -> bool:  # noqa: ARG002 - content alone decides
        """Whether the content starts with NRRD's magic line."""
        return _MAGIC.match(head) is not None

    def companions(self, path: Path) -> tuple[Path, ...]:
        """The files that a detached header names, in their order; nothing for an attached one.

        Raises CorruptFileError, UnsupportedFileError (a name that leads out of the header's folder),
        LimitExceededError or RefusedFileError (cannot be read).
        """
        with opened(path, Limits()) as (stream, _):
            text = _parse(stream, Limits())
        return _data_files(path, text, Limits()) if text.detached else ()

    def read(self, paths: Iterable[Path], context: ReadContext) -> Iterator[SourceSeries | Refusal]:
        """One series a header. Raw values are read when `read_frames` is iterated, and not before; others
        are unpacked to an unnamed file in `context.scratch`, which lives as long as the series.

        Refusals hold CorruptFileError (truncated, inconsistent), LimitExceededError,
        UnsupportedFileError (blocks, zrl, data elsewhere), StorageError (no room in the scratch folder)
        or RefusedFileError (cannot be opened).
        """
        return read_each(paths, context, _read)


def key_values(header: bytes) -> dict[str, str]:
    """The key/value pairs of a header (attachment HEADER), such as names and colours of segments.

    Backslash escapes are undone. Raises CorruptFileError for what is no header.
    """
    return _parse_lines(header.splitlines(keepends=True), header).pairs


def _read(path: Path, context: ReadContext) -> SourceSeries:
    with opened(path, context.limits) as (stream, facts):
        text = _parse(stream, context.limits)
        layout = _layout(text, context.limits)
        own = SourceFile(path, facts.st_size, context.digest_of(path)) if text.detached else None
    if own is None:
        parts = [Part(path, len(text.content), layout.lines, layout.skip)]
    else:
        data = _data_files(path, text, context.limits)
        parts = [Part(name, 0, layout.lines, layout.skip) for name in data]
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
    lines: list[bytes] = []
    for line in header_lines(stream, limits, "NRRD"):
        lines.append(line)
        if not line.strip(b"\r\n"):
            break
    return _parse_lines(lines, b"".join(lines))


def _parse_lines(lines: list[bytes], content: bytes) -> _Text:
    if not lines or not _MAGIC.fullmatch(lines[0]):
        raise CorruptFileError("the NRRD magic line is missing")
    if lines[0][7:8] not in _VERSIONS:
        raise UnsupportedFileError("this version of NRRD is not known; 1 to 5 are")
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    names: list[str] = []
    listing = False
    for raw in lines[1:]:
        line = raw.decode("utf-8", "surrogateescape").rstrip("\r\n")
        if not line:
            break
        if listing:
            names.append(line.strip())
            continue
        if line.startswith("#"):
            continue
        name, colon, value = line.partition(":")
        if not colon:
            raise CorruptFileError("a line of the NRRD header is neither a field nor a key/value pair")
        if value.startswith("="):
            keys[_unescaped(name)] = _unescaped(value[1:])
            continue
        name = _SYNONYMS.get(name.strip().lower(), name.strip().lower())
        if name in fields and name in _KNOWN:
            raise CorruptFileError(f"the NRRD header has two fields {name!r}")
        fields[name] = value.strip()
        if name in _KNOWN and len(fields[name]) > _LONGEST:
            raise CorruptFileError(f"field {name!r} has more than {_LONGEST} characters")
        listing = name == "data file" and _LIST.fullmatch(fields[name]) is not None
    else:
        if "data file" not in fields:
            raise CorruptFileError("the file ends inside its NRRD header")
    return _Text(content, fields, keys, tuple(names))


_SYNONYMS = {
    "datafile": "data file",
    "lineskip": "line skip",
    "byteskip": "byte skip",
    "centerings": "centers",
}
_KNOWN = (
    "type", "dimension", "sizes", "encoding", "endian", "data file", "line skip", "byte skip", "kinds",
    "space", "space dimension", "space directions", "space origin", "space units", "spacings", "units",
)  # fmt: skip


def _unescaped(text: str) -> str:
    return re.sub(r"\\([n\\])", lambda match: "\n" if match[1] == "n" else "\\", text)


def _layout(text: _Text, limits: Limits) -> _Layout:
    """What the header says of the array; takes no memory for values."""
    axes = _whole(text, "dimension")
    if axes is None or not 1 <= axes <= _AXES:
        raise CorruptFileError(f"an NRRD has 1 to {_AXES} dimensions; the header gives {axes or 'none'}")
    sizes = sizes_of(_field(text, "sizes"), axes, "'sizes'")
    dtype = _dtype(text)
    encoding = _ENCODINGS.get(_field(text, "encoding").lower())
    if encoding is None:
        raise UnsupportedFileError("this encoding of NRRD is not read; raw, gzip, bzip2, text and hex are")
    kinds = _kinds(text, axes)
    vectors = _vectors(text, axes)
    colour = (
        axes > 2
        and _COLOURS.get(kinds[0]) == sizes[0]
        and dtype.kind == "u"
        and (vectors is None or vectors[0] is None)
    )
    others = range(1 if colour else 0, axes)
    if len(others) < 2:
        raise UnsupportedFileError("an array of one dimension is no image")
    in_space = tuple(
        axis for axis in others if kinds[axis] in _IN_SPACE and (vectors is None or vectors[axis] is not None)
    )[:3]
    placed = len(in_space) > 1
    image = in_space if placed else tuple(others)[:3]
    slower = [axis for axis in others if axis not in image]
    order = [*reversed(slower), *reversed(image), *([0] if colour else [])]
    array = StoredArray(
        tuple(reversed(sizes)), dtype, tuple(axes - 1 - axis for axis in order), colour=colour
    )
    array.check(limits)
    lines, skip = _whole(text, "line skip") or 0, _whole(text, "byte skip") or 0
    if lines < 0 or skip < -1:
        raise CorruptFileError("'line skip' or 'byte skip' is negative")
    if skip == -1 and encoding != "raw":
        raise CorruptFileError("'byte skip: -1' goes with raw encoding only")
    if skip > limits.header_bytes and encoding != "raw":
        raise LimitExceededError(
            f"'byte skip' leaves out {skip} unpacked bytes; the limit is {limits.header_bytes} "
            "(limits.header_bytes)"
        )
    return _Layout(array, encoding, kinds, vectors, image, placed, lines, skip)


def _field(text: _Text, name: str) -> str:
    if name not in text.fields:
        raise CorruptFileError(f"the NRRD header has no field {name!r}")
    return text.fields[name]


def _whole(text: _Text, name: str) -> int | None:
    value = text.fields.get(name)
    return None if value is None else whole(value, f"field {name!r}")


def _dtype(text: _Text) -> np.dtype[np.generic]:
    kind = " ".join(_field(text, "type").lower().split())
    if kind == "block":
        raise UnsupportedFileError("an NRRD of opaque blocks holds no numbers")
    if kind not in _DTYPES:
        raise CorruptFileError("the type of the values is none that NRRD defines")
    dtype = np.dtype(_DTYPES[kind])
    encoding = _ENCODINGS.get(_field(text, "encoding").lower())
    if dtype.itemsize == 1 or encoding == "text":
        return dtype.newbyteorder("<")
    endian = text.fields.get("endian", "").lower()
    if endian not in ("little", "big"):
        raise CorruptFileError("the header does not say whether values are of little or big endian")
    order: Literal["<", ">"] = "<" if endian == "little" else ">"
    return dtype.newbyteorder(order)


def _kinds(text: _Text, axes: int) -> tuple[str, ...]:
    if "kinds" not in text.fields:
        return ("",) * axes
    kinds = text.fields["kinds"].lower().split()
    if len(kinds) != axes:
        raise CorruptFileError(f"the header has {axes} dimensions and {len(kinds)} kinds")
    return tuple("" if kind in ("none", "???") else kind for kind in kinds)


def _vectors(text: _Text, axes: int) -> tuple[tuple[float, ...] | None, ...] | None:
    if "space directions" not in text.fields:
        return None
    vectors = _parse_vectors(text.fields["space directions"], "space directions")
    if len(vectors) != axes:
        raise CorruptFileError(f"the header has {axes} dimensions and {len(vectors)} space directions")
    length = _space(text)[0]
    if length is not None and any(vector is not None and len(vector) != length for vector in vectors):
        raise CorruptFileError(f"the space has {length} dimensions; a space direction has another number")
    return vectors


def _parse_vectors(value: str, name: str) -> tuple[tuple[float, ...] | None, ...]:
    if _VECTOR.sub("", value).strip():
        raise CorruptFileError(f"field {name!r} holds something else than vectors")
    vectors: list[tuple[float, ...] | None] = []
    for match in _VECTOR.finditer(value):
        if match[1] is None:
            vectors.append(None)
            continue
        numbers = tuple(_number(word) for word in match[1].split(","))
        vectors.append(None if all(math.isnan(number) for number in numbers) else numbers)
    return tuple(vectors)


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError as error:
        raise CorruptFileError("a vector or spacing in the NRRD header is no number") from error


def _space(text: _Text) -> tuple[int | None, NDArray[np.float64] | None]:
    """(Dimensions of the space, its way to RAS), None where the header does not say."""
    name = text.fields.get("space", "").lower()
    if name in _SPACES:
        return _SPACES[name]
    return _OTHER_SPACES.get(name, _whole(text, "space dimension")), None


def _data_files(path: Path, text: _Text, limits: Limits) -> tuple[Path, ...]:
    """The files with the data of a detached header; as many as shares of its slowest axes need."""
    value = text.fields["data file"]
    axes = _whole(text, "dimension") or 0
    if listed := _LIST.fullmatch(value):
        names, given = list(text.names), listed[1]
    elif "%" in value and (match := _NUMBERED.fullmatch(value)):
        first, last, step = (int(match[number]) for number in (2, 3, 4))
        names, given = numbered(match[1], first, last, step, limits.frames), match[5]
    else:
        return beside(path, [value])
    if len(names) > limits.frames:
        raise LimitExceededError(
            f"the header names {len(names)} data files; the limit is {limits.frames} (limits.frames)"
        )
    inside = int(given) if given else axes - 1
    sizes = [int(word) for word in _field(text, "sizes").split() if word.isdecimal() and len(word) < 19]
    if not 1 <= inside <= axes or len(sizes) != axes:
        raise CorruptFileError(f"a data file cannot hold {inside} of {axes} dimensions")
    if inside < axes:
        fits = math.prod(sizes[inside:]) == len(names)
    else:
        fits = bool(names) and sizes[-1] % len(names) == 0
    if not fits:
        raise CorruptFileError(f"the header names {len(names)} data files, which do not make up its axes")
    return beside(path, names)


def _series(text: _Text, layout: _Layout, uid: str, notes: list[str]) -> Series:
    array = layout.array
    if "axis mins" in text.fields or "axis maxs" in text.fields or "axismins" in text.fields:
        notes.append("axis mins and maxs are kept in the header but not used")
    return Series(
        uid=uid,
        study_uid=study_uid_of(uid),
        format="nrrd",
        frames=array.frames,
        rows=array.frame_shape[0],
        columns=array.frame_shape[1],
        dtype=array.dtype.name,
        samples=array.samples,
        photometric="RGB" if array.colour else "MONOCHROME2",
        dimensions=_dimensions(layout),
        affine=_affine(text, layout, notes),
        time_step=_time_step(text, layout, notes),
        label_map=_is_label_map(text, array),
        notes=tuple(dict.fromkeys(notes)),
    )


def _dimensions(layout: _Layout) -> tuple[int, ...]:
    """Slower axes of more than one step, then slices."""
    given = layout.array.turned[: -3 if layout.array.colour else -2]
    *slower, slices = given if len(layout.image) == 3 else (*given, 1)
    return (*(size for size in slower if size > 1), slices)


def _is_label_map(text: _Text, array: StoredArray) -> bool:
    """Whether it is a segmentation of 3D Slicer (.seg.nrrd) whose values name segments."""
    if array.dtype.kind not in "iu" or not any(_SEGMENT.fullmatch(key) for key in text.pairs):
        return False
    names = ("Segmentation_MasterRepresentation", "Segmentation_SourceRepresentation")
    return not any("fractional" in text.pairs.get(name, "").lower() for name in names)


def _affine(text: _Text, layout: _Layout, notes: list[str]) -> Affine | None:
    """Space directions and origin, else spacings, in mm and RAS+."""
    if not layout.placed:
        notes.append("the header does not give two axes in space: the volume's position is unknown")
        return None
    dimensions, to_ras = _space(text)
    origin: tuple[float, ...] = ()
    axes: list[tuple[float, ...]]
    if layout.vectors is not None:
        axes = [layout.vectors[axis] or () for axis in layout.image]
        scales = _scales(text, "space units", dimensions or 3, notes)
        axes = [tuple(np.multiply(axis[:3], scales[: len(axis[:3])])) for axis in axes]
        given = _parse_vectors(text.fields.get("space origin", ""), "space origin")
        if len(given) == 1 and given[0] is not None:
            origin = tuple(np.multiply(given[0][:3], scales[: len(given[0][:3])]))
        else:
            notes.append("the space origin is not given: the volume's position is assumed")
    else:
        words = text.fields.get("spacings", "").split()
        if len(words) != len(layout.kinds):
            notes.append("the size of voxels is not given: the volume's position is unknown")
            return None
        scales = _scales(text, "units", len(layout.kinds), notes)
        steps = [_number(words[axis]) * scales[axis] for axis in layout.image]
        axes = [tuple(row) for row in np.diag([*steps, 0.0])[: len(steps), :3]]
        to_ras = None
    if to_ras is None:
        notes.append(_ASSUMED)
        to_ras = LPS_TO_RAS
    return affine_of(to_ras, axes, origin, notes)


def _scales(text: _Text, field: str, count: int, notes: list[str]) -> list[float]:
    """Millimetres in the unit of each axis; 1 where it is none of length."""
    units = [unit.strip().lower() for unit in _QUOTED.findall(text.fields.get(field, ""))]
    scales = [_MILLIMETRES.get(unit, 1.0) for unit in units[:count]]
    if any(scale != 1 for scale in scales):
        notes.append("lengths were given in another unit and are kept in mm")
    return [*scales, *[1.0] * (count - len(scales))]


def _time_step(text: _Text, layout: _Layout, notes: list[str]) -> float | None:
    times = [axis for axis, kind in enumerate(layout.kinds) if kind == "time" and axis not in layout.image]
    words = text.fields.get("spacings", "").split()
    if len(times) != 1 or layout.array.shape[len(layout.kinds) - 1 - times[0]] < 2:
        return None
    step, unit = math.nan, ""
    if len(words) == len(layout.kinds):
        step = abs(_number(words[times[0]]))
        units = _QUOTED.findall(text.fields.get("units", ""))
        unit = units[times[0]].strip() if len(units) == len(layout.kinds) else ""
    elif layout.vectors is not None and len(vector := layout.vectors[times[0]] or ()) == 4:
        step = abs(vector[3])
        units = _QUOTED.findall(text.fields.get("space units", ""))
        unit = units[3].strip() if len(units) == 4 else ""
    if not math.isfinite(step) or step == 0:
        return None
    if unit not in _SECONDS:
        notes.append(f"the step of the time axis, {step:g}, is not given in a unit of time")
        return None
    return step * _SECONDS[unit]
