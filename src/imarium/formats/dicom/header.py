"""Bounded parsing of a DICOM file up to its pixel data (PS3.10 section 7, PS3.5 sections 7 and A.4).

Nothing larger than `limits.header_bytes` is taken into memory, whatever the file claims. The bytes
before and after the pixel data are remembered by position, so that they can be kept exactly as they are.
"""

from __future__ import annotations

import io
import struct
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataelem import RawDataElement, convert_raw_data_element, empty_value_for_VR
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    PrivateTransferSyntaxes,
)
from pydicom.valuerep import VR

from imarium.errors import CorruptFileError, ImariumError, IntegrityError, LimitExceededError
from imarium.formats.dicom.encode import encode_meta
from imarium.formats.dicom.values import interned

PIXEL_TAGS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
UNDEFINED = 0xFFFFFFFF
PREAMBLE = 132
_QUICK_BYTES = (1 << 14, 1 << 18)
_EXPLICIT = struct.Struct("<HH2sH")
_LENGTH = struct.Struct("<I")
_TRANSFER_SYNTAX, _CHARACTER_SET = BaseTag(0x00020010), BaseTag(0x00080005)
_UNUSUAL = (ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
_VRS = frozenset(str(vr).encode() for vr in VR if len(str(vr)) == 2)
_LONG_VRS = frozenset(b"OB OD OF OL OW OV SQ UC UN UR UT SV UV".split())


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Where the pixel data element lies in the stream."""

    keyword: str
    vr: str | None
    start: int
    """First byte of the element's tag."""
    value: int
    """First byte of its value."""
    length: int | None
    """Bytes of the value; None if undefined (encapsulated)."""


@dataclass(frozen=True, slots=True)
class Header:
    """A parsed file without its pixel data."""

    dataset: Dataset
    meta: Dataset
    syntax: UID
    """Transfer syntax, guessed from the content if the file does not say."""
    has_preamble: bool
    body: int
    """First byte of the dataset in the stream (the inflated stream of a deflated file)."""
    size: int
    """Bytes of the stream, as far as known."""
    pixel: PixelElement | None

    @property
    def deflated(self) -> bool:
        """Whether the dataset is compressed as a whole."""
        return self.syntax == DeflatedExplicitVRLittleEndian

    @property
    def implicit(self) -> bool:
        """Whether elements carry no VR."""
        return bool(self.dataset.original_encoding[0])

    @property
    def little_endian(self) -> bool:
        """Byte order of the dataset."""
        return bool(self.dataset.original_encoding[1])


def recognises(head: bytes) -> bool:
    """Whether the first bytes of a file are a DICOM file's, with or without preamble and file meta."""
    if head[128:PREAMBLE] == b"DICM":
        return True
    return _plausible(head, "<") or _plausible(head, ">")


def _plausible(head: bytes, order: str) -> bool:
    """Whether the bytes start with two elements in ascending order, of group 0002 or 0008."""
    position, previous, explicit = 0, -1, None
    for count in range(2):
        if len(head) < position + 8:
            return False
        group, element, vr, short = struct.unpack_from(f"{order}HH2sH", head, position)
        tag = group << 16 | element
        if tag <= previous or (count == 0 and group not in (0x0002, 0x0008)) or group > 0x7FE0:
            return False
        if explicit is None:
            explicit = vr in _VRS
        if group == 2 and vr not in _VRS:
            return False
        if explicit or vr in _VRS:
            if vr not in _VRS:
                return False
            long = vr in _LONG_VRS
            if long and len(head) < position + 12:
                return False
            length = struct.unpack_from(f"{order}I", head, position + 8)[0] if long else short
            position += 12 if long else 8
        elif order == ">":
            return False
        else:
            length = struct.unpack_from("<I", head, position + 4)[0]
            position += 8
        if count == 0 and (length % 2 or length > 1024 or element > 0x2000):
            return False
        previous = tag
        position += length
    return True


class BoundedStream:
    """A readable stream that refuses to hand out more than `limit` bytes beyond where it was allowed to.

    pydicom reads through it; `short` tells that something asked for more bytes than the file has.
    """

    def __init__(self, raw: BinaryIO, size: int, limit: int) -> None:
        self._raw = raw
        self._size = size
        self._left = limit
        self.short = False

    def read(self, count: int = -1) -> bytes:
        """At most `count` bytes; LimitExceededError once the allowance is used up."""
        position = self._raw.tell()
        available = max(0, self._size - position)
        wanted = available if count < 0 else min(count, available)
        if wanted > self._left:
            raise LimitExceededError(
                "the header is larger than the limit for DICOM headers; raise it if the file is sound"
            )
        data = self._raw.read(wanted)
        self._left -= len(data)
        if count > len(data) and (data or count != 8):
            self.short = True
        return data

    def seek(self, position: int, whence: int = 0) -> int:
        """Move; returns the new position."""
        return self._raw.seek(position, whence)

    def tell(self) -> int:
        """Position from the start."""
        return self._raw.tell()


class InflatedStream(io.RawIOBase):
    """The dataset of a deflated file (PS3.5 A.5), inflated as far as it is read, into a temporary file."""

    def __init__(self, raw: BinaryIO, start: int, scratch: Path | None, limit: int) -> None:
        raw.seek(start)
        self._raw = raw
        self._zip = zlib.decompressobj(-zlib.MAX_WBITS)
        self._spool = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - closed with the stream
        self._length = 0
        self._position = 0
        self.limit = limit
        """Bytes that may be inflated; raise it once the header says how much there should be."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 2:
            raise io.UnsupportedOperation("the end of a deflated stream is not known")
        self._position = offset + (self._position if whence == 1 else 0)
        return self._position

    def read(self, count: int = -1) -> bytes:
        """`count` bytes, fewer at the end."""
        wanted = self.limit if count < 0 else self._position + count
        self._inflate_to(wanted)
        self._spool.seek(self._position)
        data = self._spool.read(max(0, min(wanted, self._length) - self._position))
        self._position += len(data)
        return data

    def close(self) -> None:
        self._spool.close()
        super().close()

    def _inflate_to(self, wanted: int) -> None:
        self._spool.seek(self._length)
        while self._length < wanted and not self._zip.eof:
            if self._length >= self.limit:
                raise LimitExceededError("the deflated dataset grows beyond what its header accounts for")
            data = self._zip.unconsumed_tail or self._raw.read(1 << 16)
            if not data:
                break
            piece = self._zip.decompress(data, 1 << 20)
            self._spool.write(piece)
            self._length += len(piece)


def read_header(raw: BinaryIO, size: int, limit: int, scratch: Path | None = None) -> tuple[Header, BinaryIO]:
    """Parse a file up to its pixel data; returns the header and the stream its positions refer to.

    The stream is `raw`, or the inflated dataset of a deflated file. Raises CorruptFileError and
    LimitExceededError only.
    """
    try:
        return _read_header(raw, size, limit, scratch)
    except ImariumError:
        raise
    except zlib.error as error:
        raise CorruptFileError("the deflated dataset cannot be inflated") from error
    except OSError as error:
        if error.errno is not None:
            raise CorruptFileError(f"the file could not be read: {error.strerror}") from error
        raise CorruptFileError("the header ends inside a sequence") from error
    except MemoryError as error:
        raise LimitExceededError("the header does not fit into memory") from error
    except Exception as error:
        raise CorruptFileError(f"the header cannot be parsed ({type(error).__name__})") from error


def _read_header(raw: BinaryIO, size: int, limit: int, scratch: Path | None) -> tuple[Header, BinaryIO]:
    quick = _quick_header(raw, size, limit)
    if quick is not None:
        return quick, raw
    raw.seek(0)
    has_preamble = raw.read(PREAMBLE)[128:] == b"DICM"
    raw.seek(PREAMBLE if has_preamble else 0)
    bounded = BoundedStream(raw, size, limit)
    meta = read_dataset(
        bounded,  # type: ignore[arg-type]
        False,
        True,
        stop_when=lambda tag, _vr, _length: tag >> 16 != 2,
    )
    stated = meta.get("TransferSyntaxUID")
    stream: BinaryIO = raw
    end = size
    body = raw.tell()
    if stated == DeflatedExplicitVRLittleEndian:
        stream = InflatedStream(raw, body, scratch, limit)  # type: ignore[assignment]
        body, end = 0, 1 << 62
        bounded = BoundedStream(stream, end, limit)
    implicit, little = _encoding(stated, stream)
    found: list[PixelElement] = []

    def at_pixel_data(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag not in PIXEL_TAGS:
            return False
        value = stream.tell()
        long = vr is not None and vr.encode() in _LONG_VRS
        start = value - (12 if long else 8)
        found.append(PixelElement(PIXEL_TAGS[tag], vr, start, value, None if length == UNDEFINED else length))
        return True

    stream.seek(body)
    dataset = read_dataset(bounded, implicit, little, stop_when=at_pixel_data)  # type: ignore[arg-type]
    if not found and bounded.short and not isinstance(stream, InflatedStream):
        raise CorruptFileError("the file is cut off inside its header")
    found_implicit, found_little = dataset.original_encoding
    if not stated:
        stated = _guessed(bool(found_implicit), bool(found_little))
    pixel = found[-1] if found else None
    header = Header(dataset, meta, UID(str(stated)), has_preamble, body, end, pixel)
    return header, stream


def _quick_header(raw: BinaryIO, size: int, limit: int) -> Header | None:
    """The header of an ordinary file: explicit VR little endian, no undefined lengths, not too long.

    The same as pydicom's reader gives in a fraction of the time, which counts with thousands of slices.
    None for whatever is not ordinary; pydicom reads that.
    """
    for wanted in _QUICK_BYTES:
        raw.seek(0)
        header = _quick_parse(raw.read(min(wanted, size, limit)), size)
        if header is not None or size <= wanted:
            return header
    return None


def _quick_parse(data: bytes, size: int) -> Header | None:
    if data[128:PREAMBLE] != b"DICM":
        return None
    meta, body, _ = _quick_elements(data, PREAMBLE, last=0x0002FFFF)
    syntax = meta.get(_TRANSFER_SYNTAX)
    if body is None or syntax is None or not isinstance(syntax.value, bytes):
        return None
    stated = UID(syntax.value.decode("ascii", "replace").rstrip("\0 "))
    if stated in _UNUSUAL or stated in PrivateTransferSyntaxes:
        return None
    elements, start, value = _quick_elements(data, body, last=min(PIXEL_TAGS) - 1)
    pixel = None
    if start is not None:
        group, number, vr, length = _EXPLICIT.unpack_from(data, start)
        tag = group << 16 | number
        if tag not in PIXEL_TAGS or vr not in _LONG_VRS:
            return None
        (length,) = _LENGTH.unpack_from(data, start + 8)
        known = None if length == UNDEFINED else length
        pixel = PixelElement(PIXEL_TAGS[tag], vr.decode(), start, value, known)
    elif not elements or value != size:
        return None  # a kept header ends without pixel data
    dataset, meta_dataset = Dataset({**elements}), Dataset({**meta})
    charset = elements.get(_CHARACTER_SET)
    names = default_encoding if charset is None else convert_raw_data_element(charset).value
    dataset.set_original_encoding(False, True, convert_encodings(names) if charset else names)
    meta_dataset.set_original_encoding(False, True, default_encoding)
    return Header(dataset, meta_dataset, stated, True, body, size, pixel)


def _quick_elements(
    data: bytes, position: int, last: int
) -> tuple[dict[BaseTag, RawDataElement], int | None, int]:
    """Elements up to tag `last`, and where the next one and its value begin.

    No position if in doubt, and at the end of the data; the last number says then how far it came.
    """
    elements: dict[BaseTag, RawDataElement] = {}
    previous = 0
    while position + 12 <= len(data):
        group, number, vr, length = _EXPLICIT.unpack_from(data, position)
        tag = group << 16 | number
        if vr not in _VRS or tag <= previous:
            break
        value = position + 8
        if vr in _LONG_VRS:
            (length,) = _LENGTH.unpack_from(data, value)
            value += 4
        if tag > last:
            return elements, position, value
        end = value + length
        if length == UNDEFINED or end > len(data):
            break
        name = vr.decode()
        content = data[value:end] if length else empty_value_for_VR(name, raw=True)
        base = interned(tag)
        elements[base] = RawDataElement(base, name, length, content, value, False, True)  # type: ignore[arg-type]
        position, previous = end, tag
    return elements, None, position


def _encoding(stated: str | None, stream: BinaryIO) -> tuple[bool, bool]:
    """(implicit VR, little endian), as the file says or as its first element looks."""
    if stated:
        if stated == ImplicitVRLittleEndian:
            return True, True
        if stated in PrivateTransferSyntaxes:
            private = PrivateTransferSyntaxes[PrivateTransferSyntaxes.index(UID(str(stated)))]
            return private.is_implicit_VR, private.is_little_endian
        return False, stated != ExplicitVRBigEndian
    position = stream.tell()
    start = stream.read(6)
    stream.seek(position)
    if len(start) < 6 or start[4:6] not in _VRS:
        return True, True
    return False, struct.unpack("<H", start[:2])[0] < 1024


def _guessed(implicit: bool, little: bool) -> UID:
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def trailing_end(header: Header, stream: BinaryIO, start: int, limit: int) -> int:
    """Where the elements after the pixel data end; `start` if what follows is no run of elements."""
    stream.seek(start)
    end = start if isinstance(stream, InflatedStream) else header.size
    if end - start < 8 or end - start > limit:
        return start
    bounded = BoundedStream(stream, end, limit)
    try:
        rest = read_dataset(bounded, header.implicit, header.little_endian)  # type: ignore[arg-type]
        tags = [int(tag) for tag in rest.keys()]  # noqa: SIM118 - a Dataset iterates over elements
    except Exception:
        return start
    sound = (
        bool(tags)
        and not bounded.short
        and min(tags) > 0x7FE00010
        and max(tags) < 0xFFFE0000
        and stream.tell() == end
    )
    return end if sound else start


def part10_without_pixels(header: Header, stream: BinaryIO, trailing: tuple[int, int]) -> bytes:
    """The file without its pixel data element, as a DICOM file of its own.

    Elements are the source's own bytes. A preamble and file meta are made if the source has none; the
    dataset of a deflated file is kept inflated, as explicit VR little endian.
    """
    start, end = trailing
    pixel_start = header.pixel.start if header.pixel else header.size
    if header.deflated or not header.has_preamble:
        stream.seek(header.body)
        body = stream.read(pixel_start - header.body)
        prefix = _made_prefix(header)
    else:
        stream.seek(0)
        prefix, body = b"", stream.read(pixel_start)
    stream.seek(start)
    return prefix + body + (stream.read(end - start) if end > start else b"")


def _made_prefix(header: Header) -> bytes:
    return encode_meta(header.meta, ExplicitVRLittleEndian if header.deflated else header.syntax)


def parse_part10(data: bytes) -> Header:
    """Parse bytes that `part10_without_pixels` made. Raises IntegrityError where they are unsound."""
    try:
        header, _ = read_header(io.BytesIO(data), len(data), max(len(data), 1 << 16) * 4)
    except ImariumError as error:
        raise IntegrityError("the kept header of an instance is unsound") from error
    return header
