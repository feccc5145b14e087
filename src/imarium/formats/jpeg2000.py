"""JPEG 2000 and High-Throughput JPEG 2000 pictures: codestreams (ISO/IEC 15444-1 and -15) and JP2 files.

A file is understood here from its markers and boxes before any decoder sees it. The codestream alone then
goes to the decoder process, which is bounded in time and memory: no boxes, so no palettes or colour spaces
that a decoder might apply by itself.
"""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from imarium.errors import CorruptFileError, ImariumError, LimitExceededError, UnsupportedFileError
from imarium.formats._shared import opened, reopened, study_uid_of, uid_of_digest
from imarium.formats.base import OneFile, ReadContext, Refusal
from imarium.formats.dicom.decoder_client import pool_for
from imarium.model import Series, SourceCodestream, SourceFile, SourceSeries
from imarium.model.series import Frame
from imarium.settings import Limits

BOXES = "jpeg2000/boxes"
"""Attachment: the boxes of a JP2 file as they are, without those that hold codestreams."""
HEADER = "jpeg2000/header"
"""Attachment: the main header of the codestream, from SOC up to the first tile-part."""

LOSSY = "JPEG 2000: lossy before it came here"

_CODESTREAM = b"\xff\x4f\xff\x51"
_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
_BRANDS = frozenset((b"jp2 ", b"jph ", b"jpx "))
_BOXES = 4096
"""Most boxes of one file."""
_KEPT_BYTES = 4 << 20
"""Most bytes of boxes that are kept."""
_HEADER_BYTES = 1 << 20
"""Most bytes of a main header; its segments are a few dozen bytes each."""
_TILE_PARTS = 1 << 20
_TILES = 65535
_PADDING = 64 << 10
"""Bytes after the end of a codestream that are passed over."""

_SOT, _SOD, _EOC, _COD, _COC, _CAP = 0xFF90, 0xFF93, 0xFFD9, 0xFF52, 0xFF53, 0xFF50
_PART1_BITS, _PART1_LOSSY_BITS = 23, 16
"""Deepest values that OpenJPEG returns exactly: with the reversible transform, and whatever the transform."""
_PART15_BITS = 32

_SRGB, _GREY, _SYCC = 16, 17, 18


@dataclass(frozen=True, slots=True)
class Codestream:
    """What the main header of a codestream says, and where it ends."""

    rows: int
    columns: int
    components: int
    bits: int
    signed: bool
    high_throughput: bool
    """Whether OpenJPH decodes it; OpenJPEG does otherwise."""
    lossy: bool
    """Whether any tile or component may use the irreversible transform."""
    header_bytes: int
    end: int
    """Bytes from SOC to EOC, both included."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The narrowest integers that hold the values."""
        size = 1 if self.bits <= 8 else 2 if self.bits <= 16 else 4
        return np.dtype(f"{'i' if self.signed else 'u'}{size}")

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, columns) or (rows, columns, components)."""
        size = (self.rows, self.columns)
        return size if self.components == 1 else (*size, self.components)

    @property
    def codec(self) -> str:
        """The name by which the decoder process knows the decoder."""
        return "htj2k" if self.high_throughput else "jpeg2k"


def inspect_codestream(data: bytes | memoryview, limits: Limits) -> Codestream:
    """Read SIZ, CAP, COD and COC (15444-1 A.5, A.6) and follow the tile-parts to the end (A.4).

    Takes no memory for pixels. Raises CorruptFileError, LimitExceededError (limits.frame_pixels) and
    UnsupportedFileError: subsampled components, components of different depths, more than 23 bits (Part 1,
    reversible), 16 bits (Part 1, irreversible) or 32 bits (Part 15).
    """
    view = memoryview(data)
    if bytes(view[:4]) != _CODESTREAM:
        raise CorruptFileError("the JPEG 2000 codestream does not start with its SOC and SIZ markers")
    high_throughput = lossy = False
    size: tuple[int, ...] | None = None
    position = 2
    while True:
        if position > _HEADER_BYTES:
            raise LimitExceededError(f"the JPEG 2000 main header has more than {_HEADER_BYTES} bytes")
        marker, body = _segment(view, position)
        if marker == _SOT:
            break
        if position == 2:
            size = _size(body, limits)
        elif marker == _CAP:
            high_throughput = _only_high_throughput(body)
        elif marker in (_COD, _COC):
            lossy = lossy or _irreversible(marker, body, size[2] if size else 0)
        position += 4 + len(body)
    assert size is not None
    rows, columns, components, bits, signed, tiles = size
    high_throughput = high_throughput and components != 2
    end, parts_lossy = _tile_parts(view, position, components, tiles)
    lossy = lossy or parts_lossy
    most = _PART15_BITS if high_throughput else _PART1_LOSSY_BITS if lossy else _PART1_BITS
    if bits > most:
        raise UnsupportedFileError(
            f"JPEG 2000 of {bits} bits cannot be kept exactly; at most {most} bits can"
        )
    return Codestream(
        rows=rows,
        columns=columns,
        components=components,
        bits=bits,
        signed=bool(signed),
        high_throughput=high_throughput,
        lossy=lossy,
        header_bytes=position,
        end=end,
    )


def _only_high_throughput(body: bytes) -> bool:
    """Whether a CAP segment (15444-15 A.3) says Part 15, and not blocks of both kinds in one tile."""
    part15 = len(body) >= 6 and int.from_bytes(body[:4], "big") == 1 << 17
    return part15 and int.from_bytes(body[4:6], "big") >> 14 != 3


def _segment(view: memoryview, position: int) -> tuple[int, bytes]:
    """Marker and content of the marker segment at a position."""
    head = bytes(view[position : position + 4])
    if len(head) < 4:
        raise CorruptFileError("the JPEG 2000 codestream is truncated inside its header")
    marker, length = struct.unpack(">HH", head)
    body = bytes(view[position + 4 : position + 2 + length])
    if marker < 0xFF01 or length < 2 or len(body) != length - 2:
        raise CorruptFileError("a JPEG 2000 marker segment is damaged or truncated")
    return marker, body


def _size(body: bytes, limits: Limits) -> tuple[int, int, int, int, int, int]:
    """(rows, columns, components, bits, signed, tiles) of a SIZ segment."""
    if len(body) < 39:
        raise CorruptFileError("the SIZ segment of the JPEG 2000 codestream is damaged")
    _, right, bottom, left, top, width, height, tile_left, tile_top, count = struct.unpack(">H8IH", body[:36])
    if len(body) != 36 + 3 * count or count < 1:
        raise CorruptFileError(f"the SIZ segment has {len(body)} bytes for {count} components")
    if right <= left or bottom <= top or not width or not height or tile_left > left or tile_top > top:
        raise CorruptFileError("the SIZ segment describes no image")
    rows, columns = bottom - top, right - left
    if rows * columns > limits.frame_pixels:
        raise LimitExceededError(
            f"the picture has {columns} x {rows} pixels; the limit is {limits.frame_pixels} "
            "(limits.frame_pixels)"
        )
    tiles = -(-(right - tile_left) // width) * -(-(bottom - tile_top) // height)
    if tiles > _TILES:
        raise CorruptFileError(f"the JPEG 2000 codestream has more than {_TILES} tiles")
    if count > 4:
        raise UnsupportedFileError(f"JPEG 2000 of {count} components is not read; 1 to 4 components are")
    parts = [body[36 + 3 * number : 39 + 3 * number] for number in range(count)]
    if any(part[1:] != b"\1\1" for part in parts):
        raise UnsupportedFileError("JPEG 2000 with subsampled components is not read; convert it")
    if len({part[0] for part in parts}) > 1:
        raise UnsupportedFileError("JPEG 2000 with components of different depths is not read")
    depth = parts[0][0]
    return rows, columns, count, (depth & 0x7F) + 1, depth >> 7, tiles


def _irreversible(marker: int, body: bytes, components: int) -> bool:
    """Whether a COD or COC segment chooses the 9/7 transform, or one that Part 1 does not know."""
    place = 9 if marker == _COD else 6 + (components > 256)
    if len(body) <= place:
        raise CorruptFileError("a COD or COC segment of the JPEG 2000 codestream is damaged")
    return body[place] != 1


def _tile_parts(view: memoryview, position: int, components: int, tiles: int) -> tuple[int, bool]:
    """Where the codestream ends, and whether a tile chooses an irreversible transform for itself.

    Every tile has to be there: decoders leave those that are missing blank.
    """
    lossy = False
    seen: set[int] = set()
    for _ in range(_TILE_PARTS):
        mark = bytes(view[position : position + 2])
        if mark == b"\xff\xd9":
            if len(seen) < tiles:
                raise CorruptFileError(f"the JPEG 2000 codestream holds {len(seen)} of {tiles} tiles")
            return position + 2, lossy
        if mark != b"\xff\x90":
            break
        _, body = _segment(view, position)
        if len(body) != 8:
            raise CorruptFileError("a tile-part header of the JPEG 2000 codestream is damaged")
        if (tile := int.from_bytes(body[:2], "big")) >= tiles:
            raise CorruptFileError(
                f"the JPEG 2000 codestream has {tiles} tiles, and a part of tile {tile + 1}"
            )
        seen.add(tile)
        length = int.from_bytes(body[2:6], "big")
        # A last tile-part of length 0 goes on to the end (A.4.2).
        end = position + length if length else _last_end(view)
        inside = position + 12
        while bytes(view[inside : inside + 2]) != b"\xff\x93":
            marker, segment = _segment(view, inside)
            if marker in (_COD, _COC):
                lossy = lossy or _irreversible(marker, segment, components)
            inside += 4 + len(segment)
        if inside + 2 > end or end > len(view):
            raise CorruptFileError("the JPEG 2000 codestream is truncated inside a tile")
        position = end
    raise CorruptFileError("the JPEG 2000 codestream is truncated: it ends before its end marker")


def _last_end(view: memoryview) -> int:
    """Position of the EOC marker at the end of everything, zeros after it passed over."""
    tail = bytes(view[-_PADDING:]).rstrip(b"\0")
    if not tail.endswith(b"\xff\xd9"):
        raise CorruptFileError("the JPEG 2000 codestream is truncated: it ends before its end marker")
    return len(view) - min(len(view), _PADDING) + len(tail) - 2


def decode_codestream(data: bytes, facts: Codestream, limits: Limits) -> Frame:
    """Decode a codestream that was inspected, in the decoder process: array of `facts.shape` and `dtype`.

    Raises CorruptFileError or LimitExceededError (time and memory of that process).
    """
    return pool_for(limits).decode_codestream(data[: facts.end], facts.codec, facts.shape, facts.dtype)


@dataclass(slots=True)
class _Boxes:
    """What the boxes of a JP2 file say (15444-1 annex I)."""

    codestream: tuple[int, int] = (0, 0)
    """Position and bytes."""
    sides: tuple[int, int] | None = None
    """(rows, columns) of the image header box."""
    kept: bytearray = field(default_factory=bytearray)
    colour: int | None = None
    """Enumerated colour space; None if a profile stands for it."""
    profile: bool = False
    palette: tuple[tuple[int, int, int], ...] | None = None
    notes: list[str] = field(default_factory=list)


class Jpeg2000Reader(OneFile):
    """Reads JPEG 2000 (.jp2, .j2k) and HTJ2K (.jph, .jhc) of 1 to 4 components, exactly.

    Part 1 up to 16 bits, reversible up to 23, Part 15 up to 32. Palettes are kept as indices; sYCC of 8 bits
    stays YBR_FULL.
    """

    name = "jpeg2000"
    batch = False

    def recognises(self, path: Path, head: bytes) -> bool:  # noqa: ARG002 - content alone decides
        """Whether the content starts with a codestream's SOC and SIZ or a JP2 file's signature box."""
        return head.startswith((_CODESTREAM, _SIGNATURE))

    def read(self, paths: Iterable[Path], context: ReadContext) -> Iterator[SourceSeries | Refusal]:
        """One series of one frame a file; a Refusal holds CorruptFileError, LimitExceededError,
        UnsupportedFileError or RefusedFileError (cannot be opened)."""
        for path in paths:
            try:
                yield _read(path, context)
            except ImariumError as error:
                yield Refusal(path, error)


def _read(path: Path, context: ReadContext) -> SourceSeries:
    limits = context.limits
    with opened(path, limits) as (stream, facts):
        # Read whole: noisy values can take a little more than their raw bytes, and boxes come on top.
        most = limits.frame_pixels * 5 + limits.header_bytes
        if facts.st_size > most:
            raise LimitExceededError(f"a JPEG 2000 file of {facts.st_size} bytes is larger than {most} bytes")
        content = stream.read(facts.st_size)
    boxes = _Boxes((0, len(content))) if content.startswith(_CODESTREAM) else _boxes(content)
    start, size = boxes.codestream
    view = memoryview(content)[start : start + size]
    picture = inspect_codestream(view, limits)
    if boxes.sides not in (None, (picture.rows, picture.columns)):
        raise CorruptFileError(
            f"the boxes of the JPEG 2000 file give {boxes.sides} as rows and columns; its codestream has "
            f"{(picture.rows, picture.columns)}"
        )
    if content.startswith(_CODESTREAM) and len(content) > picture.end:
        boxes.notes.append(f"{len(content) - picture.end} bytes after the end of the codestream are left out")
    attachments = {HEADER: bytes(view[: picture.header_bytes])}
    if boxes.kept:
        attachments[BOXES] = bytes(boxes.kept)
    digest = context.digest_of(path)
    uid = uid_of_digest(bytes.fromhex(digest))
    series = Series(
        uid=uid,
        study_uid=study_uid_of(uid),
        format="jpeg2000",
        frames=1,
        rows=picture.rows,
        columns=picture.columns,
        dtype=picture.dtype.name,
        samples=picture.components,
        photometric=_photometric(picture, boxes),
        label_map=boxes.palette is not None,
        palette=boxes.palette,
        bits_stored=picture.bits,
        notes=tuple(([LOSSY] if picture.lossy else []) + boxes.notes),
    )
    return SourceSeries(
        series=series,
        files=(SourceFile(path, facts.st_size, digest),),
        read_frames=functools.partial(_frames, path, facts, boxes.codestream, picture, limits),
        attachments=attachments,
        codestream=lambda _: SourceCodestream(
            "htj2k" if picture.high_throughput else "jpeg2000",
            _content(path, facts, boxes.codestream, picture),
        ),
    )


def _frames(
    path: Path, facts: os.stat_result, place: tuple[int, int], picture: Codestream, limits: Limits
) -> Iterator[Frame]:
    yield decode_codestream(_content(path, facts, place, picture), picture, limits)


def _content(path: Path, facts: os.stat_result, place: tuple[int, int], picture: Codestream) -> bytes:
    with reopened(path, facts) as stream:
        stream.seek(place[0])
        content = stream.read(picture.end)
    if len(content) != picture.end:
        raise CorruptFileError("the file changed while it was read; take it in again")
    return content


def _photometric(picture: Codestream, boxes: _Boxes) -> str:
    if boxes.palette is not None:
        if picture.components != 1 or picture.signed:
            raise UnsupportedFileError("a JPEG 2000 palette for several components is not read")
        return "PALETTE COLOR"
    if picture.components < 3:
        return "MONOCHROME2"
    if boxes.colour == _SYCC:
        if picture.components != 3 or picture.bits != 8 or picture.signed:
            raise UnsupportedFileError("sYCC is read with three unsigned components of 8 bits, not otherwise")
        return "YBR_FULL"
    if boxes.colour not in (_SRGB, None):
        raise UnsupportedFileError(
            f"JPEG 2000 of colour space {boxes.colour} has no defined conversion to RGB"
        )
    return "RGB"


def _walk(content: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, position of the content, position of the end) of the boxes in a range (I.4)."""
    position = start
    for _ in range(_BOXES):
        if position == end:
            return
        if position + 8 > end:
            raise CorruptFileError("a JP2 box is truncated")
        length, kind = struct.unpack(">I4s", content[position : position + 8])
        inside = position + 8
        if length == 1:
            if position + 16 > end:
                raise CorruptFileError("a JP2 box is truncated")
            (length,) = struct.unpack(">Q", content[inside : inside + 8])
            inside += 8
        stop = end if length == 0 else position + length
        if not inside <= stop <= end:
            raise CorruptFileError("a JP2 box is longer than the file, or shorter than its own header")
        yield kind, inside, stop
        position = stop
    raise LimitExceededError(f"the JP2 file has more than {_BOXES} boxes")


def _boxes(content: bytes) -> _Boxes:
    found = _Boxes()
    position = headers = 0
    for kind, inside, stop in _walk(content, 0, len(content)):
        if kind == b"jp2c":
            if found.codestream[1]:
                raise UnsupportedFileError("the JPEG 2000 file holds several pictures, of which one is read")
            found.codestream = (inside, stop - inside)
        else:
            if len(found.kept) + stop - position <= _KEPT_BYTES:
                found.kept += content[position:stop]
            else:
                found.notes.append("JPEG 2000: boxes beyond 4 MiB are left out")
            if kind == b"ftyp":
                brands = {content[inside : inside + 4], *_fours(content[inside + 8 : stop])}
                if not brands & _BRANDS:
                    raise UnsupportedFileError("the file is of the JPEG 2000 family, but not JP2 or JPH")
            elif kind == b"jp2h":
                headers += 1
                _header_boxes(content, inside, stop, found)
        position = stop
    if not found.codestream[1]:
        raise CorruptFileError("the JPEG 2000 file holds no codestream")
    if headers != 1:
        raise CorruptFileError(f"a JPEG 2000 file has one header box, not {headers}")
    found.notes = list(dict.fromkeys(found.notes))
    return found


def _fours(content: bytes) -> list[bytes]:
    return [content[first:last] for first, last in pairwise(range(0, min(len(content), 1024) + 1, 4))]


def _header_boxes(content: bytes, start: int, end: int, found: _Boxes) -> None:
    for kind, inside, stop in _walk(content, start, end):
        body = content[inside : min(stop, inside + (1 << 16))]
        if kind == b"ihdr":
            if len(body) != 14:
                raise CorruptFileError("the image header box of the JPEG 2000 file is damaged")
            found.sides = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
        elif kind == b"colr" and found.colour is None and not found.profile:
            if body[:1] == b"\1" and len(body) >= 7:
                found.colour = int.from_bytes(body[3:7], "big")
            else:
                found.profile = True
                found.notes.append("JPEG 2000: a colour profile is in the file; values are kept as stored")
        elif kind == b"pclr":
            found.palette = _palette(body)
        elif kind == b"cdef":
            _check_channels(body)


def _palette(body: bytes) -> tuple[tuple[int, int, int], ...]:
    """The colours of a palette box (I.5.3.4): up to 1024 entries of three columns of 8 bits."""
    if len(body) < 3:
        raise CorruptFileError("the palette of the JPEG 2000 file is damaged")
    entries, columns = struct.unpack(">HB", body[:3])
    depths, table = body[3 : 3 + columns], body[3 + columns :]
    if columns != 3 or depths != b"\7\7\7":
        raise UnsupportedFileError("a JPEG 2000 palette is read with three columns of 8 bits, not otherwise")
    if not 1 <= entries <= 1024 or len(table) != 3 * entries:
        raise CorruptFileError(
            f"the palette of the JPEG 2000 file has {len(table)} bytes for {entries} colours"
        )
    return tuple((table[place], table[place + 1], table[place + 2]) for place in range(0, 3 * entries, 3))


def _check_channels(body: bytes) -> None:
    """Refuse a channel definition box (I.5.3.6) that gives colours in another order than R, G, B."""
    (count,) = struct.unpack(">H", body[:2].rjust(2, b"\0"))
    if len(body) != 2 + 6 * count:
        raise CorruptFileError("the channel definitions of the JPEG 2000 file are damaged")
    for number in range(min(count, 16)):
        channel, kind, colour = struct.unpack(">3H", body[2 + 6 * number : 8 + 6 * number])
        if kind == 0 and colour not in (0, channel + 1):
            raise UnsupportedFileError("the JPEG 2000 file has its colours in another order than R, G, B")
