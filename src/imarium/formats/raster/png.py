"""Reads PNG (ISO/IEC 15948).

The decoder gets nothing but the chunks that hold pixels: no text, no profiles. Those are kept beside the
pixels as they are, unread.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from imarium.errors import CorruptFileError, LimitExceededError, UnsupportedFileError
from imarium.formats._shared import CHUNK
from imarium.formats.base import OneFile, ReadContext, Refusal
from imarium.formats.raster._picture import (
    MOST_PARTS,
    Kept,
    Picture,
    check_file_size,
    check_size,
    orientation_of,
    read_all,
)
from imarium.formats.scanlines import check_scan_lines
from imarium.model import SourceSeries
from imarium.settings import Limits

MAGIC = b"\x89PNG\r\n\x1a\n"
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_CHUNKS = frozenset(
    b"IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP mDCV cLLI tEXt zTXt iTXt bKGD hIST pHYs sPLT "
    b"eXIf tIME acTL fcTL fdAT".split()
)
_KEPT = _CHUNKS - {b"IHDR", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT"}
_DEFLATE_RATIO = 1032
CHUNKS = "png/chunks"
"""Attachment: the chunks of the standard besides IHDR, IDAT and IEND, whole, in the order of the file."""


class PngReader(OneFile):
    """Reads PNG of every bit depth and colour type, exactly.

    Grey of 1, 2 or 4 bits is spread over 0 to 255 (as libpng and Pillow do). Palettes are kept as indices
    with their colours, those with transparency become RGBA. 1-bit pictures and indices are label maps.
    """

    name = "png"
    batch = False

    def recognises(self, path: Path, head: bytes) -> bool:  # noqa: ARG002 - content alone decides
        """Whether the content starts with PNG's signature."""
        return head.startswith(MAGIC)

    def read(self, paths: Iterable[Path], context: ReadContext) -> Iterator[SourceSeries | Refusal]:
        """One series of one frame a file; a Refusal holds CorruptFileError, LimitExceededError,
        UnsupportedFileError (animations) or RefusedFileError (cannot be opened)."""
        return read_all("png", paths, context, _inspect, _decode)


def _inspect(stream: BinaryIO, size: int, limits: Limits) -> Picture:
    """Walk the chunks (ISO/IEC 15948 5.3), check their CRCs, and read IHDR, PLTE and tRNS."""
    if stream.read(8) != MAGIC:
        raise CorruptFileError("the PNG signature is damaged")
    picture: Picture | None = None
    colour_type = depth = 0
    palette: bytes | None = None
    transparency = b""
    kept = Kept("PNG: chunks")
    data_bytes = 0
    notes: list[str] = []
    position = 8
    for _ in range(MOST_PARTS):
        head = stream.read(8)
        if len(head) < 8:
            raise CorruptFileError("the PNG file is truncated: it ends before its IEND chunk")
        length, kind = struct.unpack(">I4s", head)
        position += 12 + length
        if position > size:
            raise CorruptFileError(f"the PNG file is truncated inside its {_chunk_name(kind)} chunk")
        if (picture is None) != (kind == b"IHDR"):
            raise CorruptFileError("a PNG file has one IHDR chunk, and it comes first")
        body = _read_chunk(stream, kind, length)
        if kind in _KEPT:
            kept.add(head, body if len(body) == length else None, zlib.crc32(kind + body).to_bytes(4, "big"))
        if kind == b"IHDR":
            if length != 13:
                raise CorruptFileError(f"the IHDR chunk has {length} bytes, not 13")
            columns, rows, depth, colour_type, compression, filtering, interlace = struct.unpack(
                ">IIBBBBB", body
            )
            if depth not in _DEPTHS.get(colour_type, ()) or compression or filtering or interlace > 1:
                raise CorruptFileError(
                    f"the IHDR chunk combines colour type {colour_type}, {depth} bits, compression "
                    f"{compression}, filter {filtering} and interlace {interlace}, which PNG does not define"
                )
            check_size(rows, columns, limits)
            channels = _CHANNELS[colour_type]
            raw_bytes = rows * (-(-columns * channels * depth // 8) + 1)
            check_file_size(size, raw_bytes, limits)
            picture = Picture(
                rows,
                columns,
                "uint16" if depth == 16 else "uint8",
                channels,
                depth,
                label_map=colour_type == 0 and depth == 1,
            )
        elif kind == b"PLTE":
            if palette is not None or data_bytes or length % 3 or not 3 <= length <= 768:
                raise CorruptFileError(f"the PLTE chunk ({length} bytes) is misplaced or of a wrong size")
            palette = body
        elif kind == b"tRNS":
            if transparency or data_bytes or not 1 <= length <= 256:
                raise CorruptFileError(f"the tRNS chunk ({length} bytes) is misplaced or of a wrong size")
            transparency = body
        elif kind == b"IDAT":
            data_bytes += length
        elif kind == b"acTL":
            raise UnsupportedFileError("animated PNG has several pictures, of which only one would be kept")
        elif kind == b"iCCP":
            notes.append("PNG: a colour profile is in the file; values are kept as stored")
        elif kind == b"eXIf" and (orientation := orientation_of(body)) not in (None, 1):
            notes.append(f"EXIF orientation {orientation} is not applied")
        elif kind == b"IEND":
            break
    else:
        raise LimitExceededError(f"the PNG file has more than {MOST_PARTS} chunks")
    if picture is None:
        raise CorruptFileError("the PNG file holds no IHDR chunk")
    if position < size:
        notes.append(f"{size - position} bytes after the end of the PNG are left out")
    if data_bytes == 0:
        raise CorruptFileError("the PNG file holds no IDAT chunk, so no pixels")
    if data_bytes * _DEFLATE_RATIO < raw_bytes:
        raise CorruptFileError(
            f"the PNG data ({data_bytes} bytes) cannot hold the {raw_bytes} bytes that the header promises"
        )
    notes += kept.notes
    picture = replace(picture, kept=(CHUNKS, bytes(kept.content)) if kept.content else None)
    if colour_type == 3:
        if palette is None:
            raise CorruptFileError("the PNG file has palette colours and no PLTE chunk")
        if _hides(transparency):
            notes.append("PNG: palette colours with transparency were expanded")
            picture = replace(picture, samples=4, bits=8)
        else:
            colours = zip(palette[0::3], palette[1::3], palette[2::3], strict=True)
            picture = replace(picture, label_map=True, palette=tuple(colours))
    elif transparency:
        notes.append("PNG: one colour is declared transparent; it is kept as the colour it is")
    return replace(picture, notes=tuple(dict.fromkeys(notes)))


def _hides(transparency: bytes) -> bool:
    """Whether the tRNS chunk of a palette (11.3.2.1) makes any colour less than opaque."""
    return bool(transparency.strip(b"\xff"))


def _read_chunk(stream: BinaryIO, kind: bytes, length: int) -> bytes:
    """Read the rest of a chunk, piecewise, and check its CRC; its body if it is small, else b''."""
    crc = zlib.crc32(kind)
    body, left = b"", length
    while left:
        piece = stream.read(min(CHUNK, left))
        if not piece:
            raise CorruptFileError("the PNG file was truncated while it was read")
        crc = zlib.crc32(piece, crc)
        left -= len(piece)
        if kind != b"IDAT" and length <= CHUNK:
            body += piece
    if stream.read(4) != crc.to_bytes(4, "big"):
        raise CorruptFileError(
            f"the checksum of the {_chunk_name(kind)} chunk does not match: the PNG is damaged"
        )
    return body


def _chunk_name(kind: bytes) -> str:
    """The name of a chunk that the standard defines; names of others could be anybody's text."""
    return kind.decode("ascii") if kind in _CHUNKS else "unknown"


def _decode(content: bytes) -> NDArray[Any]:
    """Decode what IHDR, PLTE, tRNS (of palettes) and IDAT say; other chunks are not looked at.

    Palettes without transparency give indices: the decoder is told that they are grey.
    """
    kept: list[bytes] = []
    header = transparency = palette = b""
    view = memoryview(content)
    packed: list[memoryview] = []
    position = 8
    while position + 12 <= len(content):
        length, kind = struct.unpack(">I4s", view[position : position + 8])
        chunk = view[position : position + 12 + length]
        position += 12 + length
        if kind == b"IHDR":
            header = bytes(chunk[8 : 8 + length])
        elif kind == b"PLTE":
            palette = bytes(chunk)
        elif kind == b"tRNS":
            transparency = bytes(chunk)
        elif kind in (b"IDAT", b"IEND"):
            kept.append(bytes(chunk))
        if kind == b"IDAT":
            packed.append(chunk[8 : 8 + length])
        if kind == b"IEND":
            break
    columns, rows, depth, colour_type, interlace = struct.unpack(">IIBB2xB", header)
    pixel_bits = depth * _CHANNELS[colour_type]
    check_scan_lines(packed, rows, columns, pixel_bits, interlaced=bool(interlace))
    if colour_type != 3:  # PLTE is a mere suggestion then, and tRNS one colour
        palette = transparency = b""
    indexed = colour_type == 3 and not _hides(transparency[8:-4])
    if indexed:
        header, palette, transparency = header[:9] + b"\0" + header[10:], b"", b""
    parts = [MAGIC, make_chunk(b"IHDR", header), palette, transparency, *kept]
    frame: NDArray[Any] = imagecodecs.png_decode(b"".join(parts))
    if indexed and depth < 8:
        frame = frame // np.uint8(255 // ((1 << depth) - 1))
    return frame


def make_chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk with its length and checksum (ISO/IEC 15948 5.3)."""
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
