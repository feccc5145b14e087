"""What the stored values of an instance are, and reading native (uncompressed) frames from the file.

Stored values are those of `pydicom.pixels.pixel_array(dataset, raw=True)`:

- Bits above Bits Stored are ignored as PS3.5 8.1.1 demands (unsigned values are masked, signed values
  are extended from the High Bit), except for JPEG-LS and JPEG 2000, whose codestreams state a precision.
- YBR_FULL stays YBR_FULL. Uncompressed YBR_FULL_422 is expanded to YBR_FULL (PS3.3 C.7.6.3.1.2).
- Colour is by pixel (Planar Configuration 0), 1-bit data are unpacked to uint8 values 0 and 1, and the
  byte order is the machine's.

pydicom's *default* `pixel_array` further turns YBR_FULL and YBR_FULL_422 into RGB. To get the same from a
series whose photometric is YBR_FULL or YBR_FULL_422 apply `imarium.codec.color.ybr_full_to_rgb` to every
frame; it equals pydicom's result bit for bit.
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian

from imarium.errors import CorruptFileError, LimitExceededError, UnsupportedFileError
from imarium.formats.dicom import values
from imarium.formats.dicom.header import Header
from imarium.model.series import Frame
from imarium.settings import Limits

Fragments = tuple[tuple[int, int], ...]
"""(position in the file, bytes) of the fragments of one frame."""

PHOTOMETRICS = frozenset(
    (
        "MONOCHROME1",
        "MONOCHROME2",
        "PALETTE COLOR",
        "RGB",
        "YBR_FULL",
        "YBR_FULL_422",
        "YBR_ICT",
        "YBR_RCT",
        "HSV",
        "ARGB",
        "CMYK",
        "YBR_PARTIAL_422",
        "YBR_PARTIAL_420",
    )
)
_UID_TEXT = re.compile(r"[0-9.]{1,64}")
_ITEM = 0xFFFEE000
_SEQUENCE_END = 0xFFFEE0DD


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """The Image Pixel module (PS3.3 C.7.6.3) of one instance, checked."""

    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    planar: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    keyword: str
    syntax: str
    encapsulated: bool
    little_endian: bool
    word_swapped: bool
    """8-bit values in big-endian 16-bit words (OW with explicit VR big endian)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored values, native byte order."""
        if self.keyword == "FloatPixelData":
            return np.dtype(np.float32)
        if self.keyword == "DoubleFloatPixelData":
            return np.dtype(np.float64)
        if self.bits_allocated == 1:
            return np.dtype(np.uint8)
        return np.dtype(f"{'i' if self.signed else 'u'}{self.bits_allocated // 8}")

    @property
    def pixels(self) -> int:
        """Values in one frame."""
        return self.rows * self.columns * self.samples

    @property
    def subsampled(self) -> bool:
        """Native YBR_FULL_422: two pixels share their colour."""
        return self.photometric == "YBR_FULL_422" and not self.encapsulated

    @property
    def frame_bits(self) -> int:
        """Bits of one native frame; only 1-bit frames may end inside a byte."""
        if self.bits_allocated == 1:
            return self.pixels
        size = self.pixels * (self.bits_allocated // 8)
        return (size // 3 * 2 if self.subsampled else size) * 8

    @property
    def stored_photometric(self) -> str:
        """Photometric Interpretation of the values as they are kept, for native data."""
        return "YBR_FULL" if self.subsampled else self.photometric


def pixel_format(header: Header, limits: Limits) -> PixelFormat:
    """Check the Image Pixel module against the standard, the file's size and the limits."""
    dataset, element = header.dataset, header.pixel
    if element is None:
        raise UnsupportedFileError("the file holds no pixel data")
    try:
        encapsulated = header.syntax.is_encapsulated
    except ValueError as error:
        found = str(header.syntax)
        # Whatever else stands there could be a name, or an escape sequence.
        reason = f"{found} is not known" if _UID_TEXT.fullmatch(found) else "is no UID"
        raise UnsupportedFileError(f"the transfer syntax {reason}") from error
    integers = element.keyword == "PixelData"
    bits = _required(dataset, "BitsAllocated", 1, 64)
    if bits != 1 and bits % 8:
        raise CorruptFileError(f"Bits Allocated is {bits}; it must be 1 or a multiple of 8")
    if not integers:
        expected = 32 if element.keyword == "FloatPixelData" else 64
        if bits != expected:
            raise CorruptFileError(f"Bits Allocated is {bits} for {expected}-bit float pixel data")
    elif bits not in (1, 8, 16, 32, 64):
        raise UnsupportedFileError(f"{bits}-bit pixels cannot be kept; 1, 8, 16, 32 and 64 bits can")
    samples = _required(dataset, "SamplesPerPixel", 1, 3)
    if samples == 2:
        raise CorruptFileError("Samples per Pixel is 2; it must be 1 or 3")
    photometric = values.text(dataset, "PhotometricInterpretation")
    if photometric is None:
        raise CorruptFileError("Photometric Interpretation is missing")
    if photometric not in PHOTOMETRICS:
        raise UnsupportedFileError("the Photometric Interpretation is not one that DICOM defines")
    planar = values.integer(dataset, "PlanarConfiguration")
    if samples == 3 and planar not in (0, 1):
        raise CorruptFileError("Planar Configuration is missing or neither 0 nor 1, for colour pixels")
    if bits == 1 and samples != 1:
        raise UnsupportedFileError("1-bit pixels with more than one sample cannot be kept")
    result = PixelFormat(
        rows=_required(dataset, "Rows", 1, 65535),
        columns=_required(dataset, "Columns", 1, 65535),
        frames=_frames(dataset),
        samples=samples,
        photometric=photometric,
        planar=planar or 0,
        bits_allocated=bits,
        bits_stored=_required(dataset, "BitsStored", 1, bits) if integers else bits,
        signed=bool(_required(dataset, "PixelRepresentation", 0, 1)) if integers else True,
        keyword=element.keyword,
        syntax=str(header.syntax),
        encapsulated=encapsulated,
        little_endian=header.little_endian,
        word_swapped=header.syntax == ExplicitVRBigEndian and bits == 8 and integers and element.vr == "OW",
    )
    if result.rows * result.columns > limits.frame_pixels:
        raise LimitExceededError(
            f"a frame of {result.rows} x {result.columns} pixels is beyond "
            f"the limit of {limits.frame_pixels} pixels"
        )
    if result.frames > limits.frames:
        raise LimitExceededError(f"{result.frames} frames are beyond the limit of {limits.frames}")
    if encapsulated:
        if element.length is not None or not integers:
            raise CorruptFileError(
                "the transfer syntax says compressed, but the pixel data are not encapsulated"
            )
        return result
    return _checked_length(result, element.length, header.size - element.value)


def _checked_length(form: PixelFormat, length: int | None, available: int) -> PixelFormat:
    expected = -(-form.frame_bits * form.frames // 8)
    if length is None:
        raise CorruptFileError(
            f"the transfer syntax says uncompressed, but the pixel data are encapsulated: "
            f"expected {expected} bytes, found {available} at most"
        )
    found = min(length, available)
    if found < expected:
        raise CorruptFileError(f"the pixel data are cut off: expected {expected} bytes, found {found}")
    if form.subsampled and length >= (whole := expected // 2 * 3) + whole % 2:
        raise CorruptFileError(
            f"Photometric Interpretation is YBR_FULL_422, but the pixel data are not subsampled: "
            f"expected {expected} bytes, found {length}"
        )
    whole_frames = found * 8 // form.frame_bits
    if not form.subsampled and whole_frames > form.frames and length > expected + expected % 2:
        # As pydicom does: whole frames beyond Number of Frames are data, not padding.
        return replace(form, frames=whole_frames)
    return form


def _frames(dataset: Dataset) -> int:
    if "NumberOfFrames" not in dataset:
        return 1
    value = values.get(dataset, "NumberOfFrames")
    if value is None or value == 0:
        return 1
    count = values.integer(dataset, "NumberOfFrames")
    if count is None or count < 1:
        raise CorruptFileError("Number of Frames is not a positive number")
    return count


def _required(dataset: Dataset, keyword: str, low: int, high: int) -> int:
    value = values.integer(dataset, keyword)
    if value is not None and low <= value <= high:
        return value
    name = "".join(f" {sign}" if sign.isupper() else sign for sign in keyword).strip()
    if value is None:
        raise CorruptFileError(f"{name} is missing or no number")
    raise CorruptFileError(f"{name} is {value}; it must be {low} to {high}")


def read_native(stream: BinaryIO, value: int, form: PixelFormat, index: int) -> Frame:
    """One frame of native pixel data whose value starts at `value` in the stream."""
    start, stop = _span(form, index)
    stream.seek(value + start)
    data = np.empty(stop - start, np.uint8)
    found = read_into(stream, data)
    if found < stop - start - form.word_swapped:
        raise CorruptFileError(
            f"the pixel data are cut off: expected {stop - start} bytes of frame {index + 1}, found {found}"
        )
    return _native_values(data, form, index)


def native_frame(data: NDArray[np.uint8], value: int, form: PixelFormat) -> Frame:
    """The frame of a file of one, given all bytes of the file; they may be changed in place."""
    _, stop = _span(form, 0)
    data = data[value : value + stop]
    if data.size < stop:  # a last byte for a whole 16-bit word
        data = np.append(data, np.uint8(0))
    return _native_values(data, form, 0)


def _span(form: PixelFormat, index: int) -> tuple[int, int]:
    """Bytes of the pixel data's value that hold a frame; whole words where bytes are swapped in words."""
    first_bit = index * form.frame_bits
    start, stop = first_bit // 8, -(-(first_bit + form.frame_bits) // 8)
    return (start - start % 2, stop + stop % 2) if form.word_swapped else (start, stop)


def _native_values(data: NDArray[np.uint8], form: PixelFormat, index: int) -> Frame:
    """Stored values of the bytes of `_span`, which may be changed in place."""
    first_bit = index * form.frame_bits
    if form.word_swapped:
        start, size = first_bit // 8 % 2, -(-form.frame_bits // 8)
        data = data.view(np.uint16).byteswap().view(np.uint8)[start:][:size].copy()
    if form.bits_allocated == 1:
        bits = np.unpackbits(data, bitorder="little")
        return bits[first_bit % 8 :][: form.pixels].reshape(form.rows, form.columns)
    raw: NDArray[Any] = data.view(form.dtype.newbyteorder("<" if form.little_endian else ">"))
    array: NDArray[Any] = raw.astype(form.dtype, copy=False)
    if form.subsampled:
        array = expand_422(array, form.pixels)
    if form.samples == 1:
        array = array.reshape(form.rows, form.columns)
    elif form.planar and not form.subsampled:
        array = array.reshape(form.samples, form.rows, form.columns).transpose(1, 2, 0)
    else:
        array = array.reshape(form.rows, form.columns, form.samples)
    array = np.require(array, requirements=("C", "A"))
    if form.keyword == "PixelData" and form.bits_stored < form.bits_allocated and _beyond(array, form):
        shift = form.bits_allocated - form.bits_stored
        np.left_shift(array, shift, out=array)
        np.right_shift(array, shift, out=array)
    return array


def _beyond(array: NDArray[Any], form: PixelFormat) -> bool:
    """Whether anything lies in the bits above Bits Stored, such as overlays of old."""
    if form.signed:
        limit = 1 << (form.bits_stored - 1)
        return bool(array.max() >= limit or array.min() < -limit)
    return int(array.max()) >> form.bits_stored != 0


def read_into(stream: BinaryIO, data: NDArray[np.uint8]) -> int:
    """Fill an array from a stream as far as it goes; returns the bytes read."""
    if isinstance(stream, io.BufferedReader):
        return stream.readinto(data.data)
    read = stream.read(data.size)
    data[: len(read)] = np.frombuffer(read, np.uint8)
    return len(read)


def expand_422(array: NDArray[Any], count: int) -> NDArray[Any]:
    """Y1 Y2 Cb Cr of every pixel pair as Y1 Cb Cr Y2 Cb Cr (PS3.3 C.7.6.3.1.2); `count` values."""
    out = np.empty(array.size // 2 * 3, array.dtype)
    if out.size != count:
        raise CorruptFileError("YBR_FULL_422 pixel data need an even number of pixels")
    out[0::6], out[3::6] = array[0::4], array[1::4]
    out[1::6] = out[4::6] = array[2::4]
    out[2::6] = out[5::6] = array[3::4]
    return out


def find_frames(stream: BinaryIO, header: Header, frames: int) -> tuple[tuple[Fragments, ...], int]:
    """Fragments of every encapsulated frame (PS3.5 A.4), and where the pixel data element ends.

    Frames are told apart by the Extended Offset Table, the Basic Offset Table, or by counting fragments;
    where that does not do, by the end-of-image marker that JPEG codestreams end with.
    """
    if header.pixel is None:
        raise UnsupportedFileError("the file holds no pixel data")
    offsets, fragments, end = fragments_of(stream, header.pixel.value, header.size)
    if not fragments:
        raise CorruptFileError("the pixel data hold no compressed frame")
    origin = fragments[0][0] - 8
    extended = _extended_offsets(header.dataset)
    groups: list[Fragments]
    if extended:
        groups = [((origin + 8 + offset, length),) for offset, length in extended]
        if any(start + length > end for ((start, length),) in groups):
            raise CorruptFileError("the Extended Offset Table points beyond the pixel data")
    elif offsets:
        groups = _by_offsets(fragments, offsets, origin)
    elif len(fragments) == frames:
        groups = [(fragment,) for fragment in fragments]
    elif frames == 1:
        groups = [tuple(fragments)]
    elif len(fragments) > frames:
        groups = _by_markers(stream, fragments)
    else:
        groups = []
    if len(groups) < frames:
        found = len(groups) or len(fragments)
        raise CorruptFileError(f"the pixel data are incomplete: expected {frames} frames, found {found}")
    return tuple(groups[:frames]), end


def fragments_of(stream: BinaryIO, start: int, size: int) -> tuple[list[int], list[tuple[int, int]], int]:
    """(Basic Offset Table, fragments, end of the element)."""
    position = start
    offsets: list[int] = []
    fragments: list[tuple[int, int]] = []
    table_seen = False
    while True:
        stream.seek(position)
        head = stream.read(8)
        if len(head) < 8:
            if not fragments:
                raise CorruptFileError("the file is cut off at the start of its pixel data")
            return offsets, fragments, position
        group, element, length = struct.unpack("<HHI", head)
        position += 8
        tag = group << 16 | element
        if tag == _SEQUENCE_END:
            return offsets, fragments, position
        if tag != _ITEM:
            raise CorruptFileError("the compressed pixel data are not made of items")
        if length == 0xFFFFFFFF or position + length > size:
            raise CorruptFileError(
                f"the pixel data are cut off: expected {length} bytes of a compressed fragment, "
                f"found {max(0, size - position)}"
            )
        if table_seen:
            fragments.append((position, length))
        else:
            table = stream.read(length) if length % 4 == 0 else b""
            offsets = [item[0] for item in struct.iter_unpack("<I", table)]
            table_seen = True
        position += length


def _extended_offsets(dataset: Dataset) -> list[tuple[int, int]]:
    offsets, lengths = (
        values.get(dataset, "ExtendedOffsetTable"),
        values.get(dataset, "ExtendedOffsetTableLengths"),
    )
    if not isinstance(offsets, bytes) or not isinstance(lengths, bytes):
        return []
    if len(offsets) != len(lengths) or len(offsets) % 8:
        return []
    starts = struct.unpack(f"<{len(offsets) // 8}Q", offsets)
    return list(zip(starts, struct.unpack(f"<{len(lengths) // 8}Q", lengths), strict=True))


def _by_offsets(fragments: list[tuple[int, int]], offsets: list[int], origin: int) -> list[Fragments]:
    groups: list[list[tuple[int, int]]] = [[]]
    for fragment in fragments:
        following = len(groups)
        if following < len(offsets) and fragment[0] - 8 - origin >= offsets[following] and groups[-1]:
            groups.append([])
        groups[-1].append(fragment)
    return [tuple(group) for group in groups]


def _by_markers(stream: BinaryIO, fragments: list[tuple[int, int]]) -> list[Fragments]:
    groups: list[list[tuple[int, int]]] = [[]]
    for start, length in fragments:
        groups[-1].append((start, length))
        stream.seek(start + max(0, length - 10))
        if b"\xff\xd9" in stream.read(min(length, 10)):
            groups.append([])
    return [tuple(group) for group in groups if group]


def read_fragments(stream: BinaryIO, fragments: Fragments) -> bytes:
    """The compressed bytes of one frame."""
    parts = []
    for start, length in fragments:
        stream.seek(start)
        parts.append(stream.read(length))
        if len(parts[-1]) != length:
            raise CorruptFileError(
                f"the pixel data are cut off: expected {length} bytes, found {len(parts[-1])}"
            )
    return b"".join(parts)
