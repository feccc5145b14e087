"""Reads JPEG pictures (ISO/IEC 10918-1)."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import imagecodecs

from imarium.errors import CorruptFileError, LimitExceededError, UnsupportedFileError
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
from imarium.model import SourceSeries
from imarium.settings import Limits

_MAGIC = b"\xff\xd8\xff"
_PIXELS_PER_BYTE = 64 * 8
"""A block of 64 pixels takes one bit at least."""
_SCANS = 256
"""Most scans of one picture; encoders write about 10, files made to keep decoders busy write thousands."""
_SCANNED = 16
"""Most times `limits.frame_pixels` that all scans together may go over."""
SEGMENTS = "jpeg/segments"
"""Attachment: the application and comment segments, markers included, in the order of the file."""
_PROCESSES = {
    3: "lossless coding",
    5: "hierarchical coding",
    6: "hierarchical coding",
    7: "hierarchical coding",
    9: "arithmetic coding",
    10: "arithmetic coding",
    11: "lossless arithmetic coding",
    13: "hierarchical coding",
    14: "hierarchical coding",
    15: "hierarchical coding",
}
_FILL = re.compile(rb"\xff*")
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)


class JpegReader(OneFile):
    """Reads JPEG pictures of 8 bits, grey or colour (as RGB), with libjpeg-turbo.

    CMYK, 12 bits, lossless and arithmetic coding are refused. EXIF orientation is noted, not applied.
    """

    name = "jpeg"
    batch = False

    def recognises(self, path: Path, head: bytes) -> bool:  # noqa: ARG002 - content alone decides
        """Whether the content starts with JPEG's start-of-image marker and another marker."""
        return head.startswith(_MAGIC)

    def read(self, paths: Iterable[Path], context: ReadContext) -> Iterator[SourceSeries | Refusal]:
        """One series of one frame a file; a Refusal holds CorruptFileError, LimitExceededError,
        UnsupportedFileError or RefusedFileError (cannot be opened)."""
        return read_all("jpeg", paths, context, _inspect, imagecodecs.jpeg8_decode)


def _inspect(stream: BinaryIO, size: int, limits: Limits) -> Picture:
    """Walk the marker segments (ISO/IEC 10918-1 B.1) up to the end of the image."""
    if size > limits.frame_pixels * 4 + limits.header_bytes:
        raise LimitExceededError(
            f"a JPEG file of {size} bytes is larger than any picture within limits.frame_pixels"
        )
    content = stream.read(size)
    picture: Picture | None = None
    orientation: int | None = None
    kept = Kept("JPEG: segments")
    profile = False
    scans = 0
    position = 2
    for _ in range(MOST_PARTS):
        if position + 2 > len(content):
            raise CorruptFileError("the JPEG file is truncated: it ends before its end-of-image marker")
        if content[position] != 0xFF:
            raise CorruptFileError(f"a JPEG marker is expected at byte {position} and not found")
        position = _FILL.match(content, position + 1).end() - 1  # type: ignore[union-attr]  # matches always
        if position + 2 > len(content):
            raise CorruptFileError("the JPEG file is truncated: it ends before its end-of-image marker")
        marker = content[position + 1]
        if marker == 0xD9:
            position += 2
            break
        if position + 4 > len(content):
            raise CorruptFileError("the JPEG file is truncated inside a marker segment")
        length = int.from_bytes(content[position + 2 : position + 4], "big")
        body = content[position + 4 : position + 2 + length]
        if marker < 0xC0 or 0xD0 <= marker <= 0xD8 or length < 2 or len(body) != length - 2:
            raise CorruptFileError("a JPEG marker segment is damaged or truncated")
        if 0xE0 <= marker <= 0xEF or marker == 0xFE:
            kept.add(content[position : position + 2 + length])
        position += 2 + length
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if picture is not None:
                raise CorruptFileError("the JPEG file has more than one frame header")
            picture = _frame(marker - 0xC0, body, size, limits)
        elif marker == 0xE1 and body.startswith(b"Exif\0\0"):
            orientation = orientation_of(body[6:])
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0"):
            profile = True
        elif marker == 0xDA:
            if picture is None:
                raise CorruptFileError("a JPEG scan comes before the frame header")
            scans += 1
            most = min(_SCANS, _SCANNED * limits.frame_pixels // (picture.rows * picture.columns))
            if scans > most:
                raise LimitExceededError(f"the JPEG file has more than {most} scans")
            following = _NEXT_MARKER.search(content, position)
            if following is None:
                raise CorruptFileError("the JPEG file is truncated: it ends before its end-of-image marker")
            position = following.start()
    else:
        raise LimitExceededError(f"the JPEG file has more than {MOST_PARTS} segments")
    if picture is None or scans == 0:
        raise CorruptFileError("the JPEG file holds no picture")
    notes = ["JPEG: lossy before it came here"]
    if profile:
        notes.append("JPEG: a colour profile is in the file; values are kept as stored")
    if orientation not in (None, 1):
        notes.append(f"EXIF orientation {orientation} is not applied")
    notes += kept.notes
    if position < len(content):
        notes.append(f"{len(content) - position} bytes after the end of the JPEG are left out")
    segments = (SEGMENTS, bytes(kept.content)) if kept.content else None
    return replace(picture, kept=segments, notes=tuple(notes))


def _frame(process: int, body: bytes, size: int, limits: Limits) -> Picture:
    """The frame header, SOFn (B.2.2)."""
    if len(body) < 6 or len(body) != 6 + 3 * body[5]:
        raise CorruptFileError("the JPEG frame header is damaged")
    bits, rows, columns, components = struct.unpack(">BHHB", body[:6])
    if process in _PROCESSES:
        raise UnsupportedFileError(f"JPEG with {_PROCESSES[process]} is not read; convert it to PNG")
    if bits != 8:
        raise UnsupportedFileError(f"JPEG of {bits} bits is not read as a plain picture; 8 bits are")
    if rows == 0 and columns:
        raise UnsupportedFileError("the JPEG file gives its height only after its pixels (DNL); convert it")
    check_size(rows, columns, limits)
    if components == 4:
        raise UnsupportedFileError(
            "CMYK JPEG is made for print, and its conversion to RGB is not defined; convert it yourself"
        )
    if components not in (1, 3):
        raise UnsupportedFileError(f"a JPEG picture has 1 or 3 components, not {components}")
    if rows * columns > size * _PIXELS_PER_BYTE:
        raise CorruptFileError(f"{size} bytes of JPEG cannot hold {columns} x {rows} pixels")
    check_file_size(size, rows * columns * components * 2, limits)
    return Picture(rows, columns, "uint8", components, 8)
