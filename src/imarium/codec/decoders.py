"""Decoders of the codecs whose codestreams are kept, held to the size that is expected before they run."""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Any

import imagecodecs
from numpy.typing import NDArray

FAILURES = (ValueError, RuntimeError, TypeError, IndexError, MemoryError, OverflowError)
"""What `decode` raises for a codestream that is damaged, or not of the size that is expected."""

_JPEG_SCANS = 256
"""Most scans of a JPEG: every one of them passes over the whole picture."""


class Codec(IntEnum):
    """Codecs whose codestreams are kept; the numbers are those of docs/design/pack-format.md."""

    JPEG = 1
    JPEG_2000 = 2
    JPEG_LS = 3
    JPEG_XL = 4
    PNG = 5
    HTJ2K = 6
    TILES = 7
    """Strips or tiles, each a codestream of one of the others: `imarium.codec.tiles`."""
    WEBP = 8
    ZSTD = 9
    """Filtered values as a zstd frame: `imarium.codec.squeeze`."""
    LZMA = 10
    """The same as an .xz stream."""


NAMES = {
    "jpeg": Codec.JPEG,
    "jpeg2000": Codec.JPEG_2000,
    "jpegls": Codec.JPEG_LS,
    "png": Codec.PNG,
    "htj2k": Codec.HTJ2K,
    "tiles": Codec.TILES,
    "webp": Codec.WEBP,
}
"""Codecs by the names that readers give them (`SourceCodestream.codec`)."""

_Decoder = Callable[[bytes, bytes | None], NDArray[Any]]


def _jpeg(data: bytes, tables: bytes | None, **colours: Any) -> NDArray[Any]:
    if data.count(b"\xff\xda") > _JPEG_SCANS:
        raise ValueError(f"a JPEG has more than {_JPEG_SCANS} scans")
    decoded: NDArray[Any] = imagecodecs.jpeg8_decode(data, tables=tables, **colours)
    return decoded


_DECODERS: dict[Codec, tuple[_Decoder, ...]] = {
    Codec.JPEG: (
        _jpeg,
        lambda data, tables: _jpeg(data, tables, colorspace="YCBCR", outcolorspace="YCBCR"),
        lambda data, tables: _jpeg(data, tables, colorspace="RGB", outcolorspace="RGB"),
    ),
    Codec.JPEG_2000: (lambda data, _: imagecodecs.jpeg2k_decode(data, planar=False),),
    Codec.JPEG_LS: (lambda data, _: imagecodecs.jpegls_decode(data),),
    Codec.JPEG_XL: (lambda data, _: imagecodecs.jpegxl_decode(data, numthreads=1),),
    Codec.PNG: (lambda data, _: imagecodecs.png_decode(data),),
    Codec.HTJ2K: (lambda data, _: imagecodecs.htj2k_decode(data, planar=False),),
    Codec.WEBP: (
        lambda data, _: imagecodecs.webp_decode(data),
        lambda data, _: imagecodecs.webp_decode(data, hasalpha=True),
    ),
}
"""Ways to decode each codec; a JPEG's samples are wanted as they were stored, whatever its colour space."""


def variants(codec: Codec) -> range:
    """In how many ways a codec is decoded; none where it is not decoded here."""
    return range(len(_DECODERS.get(codec, ())))


def decode(
    codec: Codec,
    variant: int,
    data: bytes,
    least: tuple[int, int],
    most: tuple[int, int],
    tables: bytes | None = None,
) -> NDArray[Any]:
    """(rows, columns[, samples]) of a codestream of at least and at most so many (rows, columns).

    `tables` are the tables that JPEGs of one page have in common. Raises one of `FAILURES`.
    """
    if variant not in variants(codec):
        raise ValueError(f"there is no variant {variant}")
    found = sides(codec, data)
    if found is not None:
        _hold(found, least, most)
    decoded = _DECODERS[codec][variant](data, tables or None)
    _hold((decoded.shape[0], decoded.shape[1]), least, most)
    return decoded


def _hold(found: tuple[int, int], least: tuple[int, int], most: tuple[int, int]) -> None:
    if not all(small <= side <= large for small, side, large in zip(least, found, most, strict=True)):
        raise ValueError(f"a codestream of {found} where {least} to {most} was expected")


def sides(codec: Codec, data: bytes) -> tuple[int, int] | None:
    """(rows, columns) that the header of a codestream gives; None where only a decoder can tell.

    Raises ValueError if there is no such header.
    """
    if codec in (Codec.JPEG, Codec.JPEG_LS):
        _, body = jpeg_frame_header(data)
        return int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    if codec in (Codec.JPEG_2000, Codec.HTJ2K) and data[:4] == b"\xff\x4f\xff\x51":
        # ISO/IEC 15444-1 A.5.1: the ends of the picture, and where it begins.
        right, bottom, left, top = struct.unpack(">4I", _cut(data, 8, 24))
        return bottom - top, right - left
    if codec is Codec.PNG:
        columns, rows = struct.unpack(">II", _cut(data, 16, 24))
        return rows, columns
    return _webp_sides(data) if codec is Codec.WEBP else None


def jpeg_frame_header(data: bytes) -> tuple[int, bytes]:
    """Marker (0xC0 to 0xCF, 0xF7) and content of the frame header of a JPEG or JPEG-LS.

    ISO/IEC 10918-1 B.2.2: precision, rows, columns and number of components come first in it, 6 bytes.
    Raises ValueError if there is none before the first scan.
    """
    position = 2
    while data[position : position + 1] == b"\xff" and position + 4 <= len(data):
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return marker, _cut(data, position + 4, position + 4 + max(6, length - 2))
        if marker in (0xD9, 0xDA) or length < 2:
            break
        position += 2 + length
    raise ValueError("a JPEG has no frame header")


def _webp_sides(data: bytes) -> tuple[int, int]:
    """RFC 9649: the canvas of the extended format, else the header of the one picture."""
    kind = data[12:16]
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise ValueError("a WebP has no header")
    if kind == b"VP8X":
        body = _cut(data, 24, 30)
        return int.from_bytes(body[3:], "little") + 1, int.from_bytes(body[:3], "little") + 1
    if kind == b"VP8L":
        (packed,) = struct.unpack("<I", _cut(data, 21, 25))
        return (packed >> 14 & 0x3FFF) + 1, (packed & 0x3FFF) + 1
    columns, rows = struct.unpack("<HH", _cut(data, 26, 30))
    return rows & 0x3FFF, columns & 0x3FFF


def _cut(data: bytes, start: int, stop: int) -> bytes:
    if len(data) < stop:
        raise ValueError("a codestream ends within its header")
    return data[start:stop]
