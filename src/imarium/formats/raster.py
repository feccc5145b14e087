"""Plain pictures: PNG (ISO/IEC 15948) and JPEG (ISO/IEC 10918-1), and PNG for display.

Readers learn everything about a picture from its header, hold it against the limits, and decode only when
frames are asked for. The PNG decoder gets nothing but the chunks that hold pixels: no text, no profiles.
Those are kept beside the pixels as they are, unread.
"""

from __future__ import annotations

import functools
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import imagecodecs
import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from imarium.errors import (
    CorruptFileError,
    ExportRefusedError,
    ImariumError,
    InvalidRequestError,
    LimitExceededError,
    UnsupportedFileError,
)
from imarium.formats._shared import (
    CHUNK,
    checked_frames,
    opened,
    reopened,
    replacing,
    study_uid_of,
    uid_of_digest,
)
from imarium.formats.base import OneFile, ReadContext, Refusal
from imarium.formats.outgoing import OutFile, Outgoing
from imarium.formats.rendering import Window, default_window, own_window, render_8bit
from imarium.formats.scanlines import check_scan_lines
from imarium.model import Rendition, Series, SourceCodestream, SourceFile, SourceSeries
from imarium.model.series import Frame
from imarium.settings import Limits

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC = b"\xff\xd8\xff"

_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_CHUNKS = frozenset(
    b"IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP mDCV cLLI tEXt zTXt iTXt bKGD hIST pHYs sPLT "
    b"eXIf tIME acTL fcTL fdAT".split()
)
_PNG_KEPT = _PNG_CHUNKS - {b"IHDR", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT"}
_DEFLATE_RATIO = 1032
_PIXELS_PER_JPEG_BYTE = 64 * 8
"""A block of 64 pixels takes one bit at least."""
_JPEG_SCANS = 256
"""Most scans of one picture; encoders write about 10, files made to keep decoders busy write thousands."""
_JPEG_SCANNED = 16
"""Most times `limits.frame_pixels` that all scans together may go over."""
_PARTS = 1 << 20
"""Most chunks or segments of one file."""

CHUNKS = "png/chunks"
"""Attachment: the chunks of the standard besides IHDR, IDAT and IEND, whole, in the order of the file."""
SEGMENTS = "jpeg/segments"
"""Attachment: the application and comment segments, markers included, in the order of the file."""
_KEPT_BYTES = 4 << 20
"""Most bytes of either."""

_PHOTOMETRIC = {1: "MONOCHROME2", 2: "MONOCHROME2", 3: "RGB", 4: "RGB"}
_ORIENTATION_TAG = 0x0112


@dataclass(frozen=True, slots=True)
class _Picture:
    """What a picture's header says."""

    rows: int
    columns: int
    dtype: str
    samples: int
    bits: int
    """Bits a sample in the file."""
    label_map: bool = False
    palette: tuple[tuple[int, int, int], ...] | None = None
    kept: tuple[str, bytes] | None = None
    """Name and content of the attachment."""
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)


_Inspect: TypeAlias = Callable[[BinaryIO, int, Limits], _Picture]
_Decode: TypeAlias = Callable[[bytes], NDArray[Any]]


class PngReader(OneFile):
    """Reads PNG of every bit depth and colour type, exactly.

    Grey of 1, 2 or 4 bits is spread over 0 to 255 (as libpng and Pillow do). Palettes are kept as indices
    with their colours, those with transparency become RGBA. 1-bit pictures and indices are label maps.
    """

    name = "png"
    batch = False

    def recognises(self, path: Path, head: bytes) -> bool:  # noqa: ARG002 - content alone decides
        """Whether the content starts with PNG's signature."""
        return head.startswith(_PNG_MAGIC)

    def read(self, paths: Iterable[Path], context: ReadContext) -> Iterator[SourceSeries | Refusal]:
        """One series of one frame a file; a Refusal holds CorruptFileError, LimitExceededError,
        UnsupportedFileError (animations) or RefusedFileError (cannot be opened)."""
        return _read_all("png", paths, context, _inspect_png, _decode_png)


class JpegReader(OneFile):
    """Reads JPEG pictures of 8 bits, grey or colour (as RGB), with libjpeg-turbo.

    CMYK, 12 bits, lossless and arithmetic coding are refused. EXIF orientation is noted, not applied.
    """

    name = "jpeg"
    batch = False

    def recognises(self, path: Path, head: bytes) -> bool:  # noqa: ARG002 - content alone decides
        """Whether the content starts with JPEG's start-of-image marker and another marker."""
        return head.startswith(_JPEG_MAGIC)

    def read(self, paths: Iterable[Path], context: ReadContext) -> Iterator[SourceSeries | Refusal]:
        """One series of one frame a file; a Refusal holds CorruptFileError, LimitExceededError,
        UnsupportedFileError or RefusedFileError (cannot be opened)."""
        return _read_all("jpeg", paths, context, _inspect_jpeg, imagecodecs.jpeg8_decode)


def _read_all(
    name: str, paths: Iterable[Path], context: ReadContext, inspect: _Inspect, decode: _Decode
) -> Iterator[SourceSeries | Refusal]:
    for path in paths:
        try:
            yield _read(name, path, context.limits, inspect, decode)
        except ImariumError as error:
            yield Refusal(path, error)


def _read(name: str, path: Path, limits: Limits, inspect: _Inspect, decode: _Decode) -> SourceSeries:
    with opened(path, limits) as (stream, facts):
        picture = inspect(stream, facts.st_size, limits)
        stream.seek(0)
        hasher = blake3()
        while chunk := stream.read(CHUNK):
            hasher.update(chunk)
    uid = uid_of_digest(hasher.digest())
    series = Series(
        uid=uid,
        study_uid=study_uid_of(uid),
        format=name,
        frames=1,
        rows=picture.rows,
        columns=picture.columns,
        dtype=picture.dtype,
        samples=picture.samples,
        photometric="PALETTE COLOR" if picture.palette else _PHOTOMETRIC[picture.samples],
        label_map=picture.label_map,
        palette=picture.palette,
        bits_stored=picture.bits,
        notes=picture.notes,
    )
    return SourceSeries(
        series=series,
        files=(SourceFile(path, facts.st_size, hasher.hexdigest()),),
        read_frames=functools.partial(_frames, name, path, facts, picture, decode),
        attachments=dict([picture.kept]) if picture.kept else {},
        codestream=lambda _: SourceCodestream(name, _content(path, facts)),
    )


def _content(path: Path, facts: os.stat_result) -> bytes:
    with reopened(path, facts) as stream:
        content = stream.read(facts.st_size + 1)
    if len(content) != facts.st_size:
        raise CorruptFileError("the file changed while it was read; take it in again")
    return content


def _frames(
    name: str, path: Path, facts: os.stat_result, picture: _Picture, decode: _Decode
) -> Iterator[Frame]:
    content = _content(path, facts)
    try:
        frame = decode(content)
    except (ValueError, RuntimeError, MemoryError, OSError, OverflowError) as error:
        raise CorruptFileError(
            f"the {name.upper()} data cannot be decoded; the file is damaged or of an unknown variant"
        ) from error
    if frame.shape != picture.shape or frame.dtype != np.dtype(picture.dtype):
        raise CorruptFileError(
            f"the {name.upper()} data decode to {frame.dtype} {frame.shape}; "
            f"the header says {picture.dtype} {picture.shape}"
        )
    yield frame


def _check_size(rows: int, columns: int, limits: Limits) -> None:
    if rows < 1 or columns < 1:
        raise CorruptFileError(f"the header gives a size of {columns} x {rows} pixels")
    if rows * columns > limits.frame_pixels:
        raise LimitExceededError(
            f"the picture has {columns} x {rows} pixels; the limit is {limits.frame_pixels} "
            "(limits.frame_pixels)"
        )


def _check_file_size(size: int, raw_bytes: int, limits: Limits) -> None:
    """The file is read whole to be decoded: it may be larger than its pixels by a header's worth."""
    if size > raw_bytes + raw_bytes // 8 + limits.header_bytes:
        raise LimitExceededError(
            f"the file has {size} bytes for {raw_bytes} bytes of pixels; at most {limits.header_bytes} bytes "
            "besides pixels are read (limits.header_bytes)"
        )


# PNG


def _inspect_png(stream: BinaryIO, size: int, limits: Limits) -> _Picture:
    """Walk the chunks (ISO/IEC 15948 5.3), check their CRCs, and read IHDR, PLTE and tRNS."""
    if stream.read(8) != _PNG_MAGIC:
        raise CorruptFileError("the PNG signature is damaged")
    picture: _Picture | None = None
    colour_type = depth = 0
    palette: bytes | None = None
    transparency = b""
    kept = _Kept("PNG: chunks")
    data_bytes = 0
    notes: list[str] = []
    position = 8
    for _ in range(_PARTS):
        head = stream.read(8)
        if len(head) < 8:
            raise CorruptFileError("the PNG file is truncated: it ends before its IEND chunk")
        length, kind = struct.unpack(">I4s", head)
        position += 12 + length
        if position > size:
            raise CorruptFileError(f"the PNG file is truncated inside its {_chunk_name(kind)} chunk")
        if (picture is None) != (kind == b"IHDR"):
            raise CorruptFileError("a PNG file has one IHDR chunk, and it comes first")
        body = _png_chunk(stream, kind, length)
        if kind in _PNG_KEPT:
            kept.add(head, body if len(body) == length else None, zlib.crc32(kind + body).to_bytes(4, "big"))
        if kind == b"IHDR":
            if length != 13:
                raise CorruptFileError(f"the IHDR chunk has {length} bytes, not 13")
            columns, rows, depth, colour_type, compression, filtering, interlace = struct.unpack(
                ">IIBBBBB", body
            )
            if depth not in _PNG_DEPTHS.get(colour_type, ()) or compression or filtering or interlace > 1:
                raise CorruptFileError(
                    f"the IHDR chunk combines colour type {colour_type}, {depth} bits, compression "
                    f"{compression}, filter {filtering} and interlace {interlace}, which PNG does not define"
                )
            _check_size(rows, columns, limits)
            channels = _PNG_CHANNELS[colour_type]
            raw_bytes = rows * (-(-columns * channels * depth // 8) + 1)
            _check_file_size(size, raw_bytes, limits)
            picture = _Picture(
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
        elif kind == b"eXIf" and (orientation := _orientation(body)) not in (None, 1):
            notes.append(f"EXIF orientation {orientation} is not applied")
        elif kind == b"IEND":
            break
    else:
        raise LimitExceededError(f"the PNG file has more than {_PARTS} chunks")
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


class _Kept:
    """Parts of a file that are kept as they are, while there is room."""

    def __init__(self, what: str) -> None:
        self.content = bytearray()
        self.notes: list[str] = []
        self._what = what

    def add(self, *pieces: bytes | None) -> None:
        """Keep a part, all pieces of it; one that was too long to be read is None."""
        whole = [piece for piece in pieces if piece is not None]
        if len(whole) == len(pieces) and len(self.content) + sum(map(len, whole)) <= _KEPT_BYTES:
            self.content += b"".join(whole)
        elif not self.notes:
            self.notes.append(f"{self._what} that are too long are left out")


def _png_chunk(stream: BinaryIO, kind: bytes, length: int) -> bytes:
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
    return kind.decode("ascii") if kind in _PNG_CHUNKS else "unknown"


def _decode_png(content: bytes) -> NDArray[Any]:
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
    pixel_bits = depth * _PNG_CHANNELS[colour_type]
    check_scan_lines(packed, rows, columns, pixel_bits, interlaced=bool(interlace))
    if colour_type != 3:  # PLTE is a mere suggestion then, and tRNS one colour
        palette = transparency = b""
    indexed = colour_type == 3 and not _hides(transparency[8:-4])
    if indexed:
        header, palette, transparency = header[:9] + b"\0" + header[10:], b"", b""
    parts = [_PNG_MAGIC, _chunk(b"IHDR", header), palette, transparency, *kept]
    frame: NDArray[Any] = imagecodecs.png_decode(b"".join(parts))
    if indexed and depth < 8:
        frame = frame // np.uint8(255 // ((1 << depth) - 1))
    return frame


# JPEG

_JPEG_PROCESSES = {
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


def _inspect_jpeg(stream: BinaryIO, size: int, limits: Limits) -> _Picture:
    """Walk the marker segments (ISO/IEC 10918-1 B.1) up to the end of the image."""
    if size > limits.frame_pixels * 4 + limits.header_bytes:
        raise LimitExceededError(
            f"a JPEG file of {size} bytes is larger than any picture within limits.frame_pixels"
        )
    content = stream.read(size)
    picture: _Picture | None = None
    orientation: int | None = None
    kept = _Kept("JPEG: segments")
    profile = False
    scans = 0
    position = 2
    for _ in range(_PARTS):
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
            picture = _jpeg_frame(marker - 0xC0, body, size, limits)
        elif marker == 0xE1 and body.startswith(b"Exif\0\0"):
            orientation = _orientation(body[6:])
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0"):
            profile = True
        elif marker == 0xDA:
            if picture is None:
                raise CorruptFileError("a JPEG scan comes before the frame header")
            scans += 1
            most = min(_JPEG_SCANS, _JPEG_SCANNED * limits.frame_pixels // (picture.rows * picture.columns))
            if scans > most:
                raise LimitExceededError(f"the JPEG file has more than {most} scans")
            following = _NEXT_MARKER.search(content, position)
            if following is None:
                raise CorruptFileError("the JPEG file is truncated: it ends before its end-of-image marker")
            position = following.start()
    else:
        raise LimitExceededError(f"the JPEG file has more than {_PARTS} segments")
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


def _jpeg_frame(process: int, body: bytes, size: int, limits: Limits) -> _Picture:
    """The frame header, SOFn (B.2.2)."""
    if len(body) < 6 or len(body) != 6 + 3 * body[5]:
        raise CorruptFileError("the JPEG frame header is damaged")
    bits, rows, columns, components = struct.unpack(">BHHB", body[:6])
    if process in _JPEG_PROCESSES:
        raise UnsupportedFileError(f"JPEG with {_JPEG_PROCESSES[process]} is not read; convert it to PNG")
    if bits != 8:
        raise UnsupportedFileError(f"JPEG of {bits} bits is not read as a plain picture; 8 bits are")
    if rows == 0 and columns:
        raise UnsupportedFileError("the JPEG file gives its height only after its pixels (DNL); convert it")
    _check_size(rows, columns, limits)
    if components == 4:
        raise UnsupportedFileError(
            "CMYK JPEG is made for print, and its conversion to RGB is not defined; convert it yourself"
        )
    if components not in (1, 3):
        raise UnsupportedFileError(f"a JPEG picture has 1 or 3 components, not {components}")
    if rows * columns > size * _PIXELS_PER_JPEG_BYTE:
        raise CorruptFileError(f"{size} bytes of JPEG cannot hold {columns} x {rows} pixels")
    _check_file_size(size, rows * columns * components * 2, limits)
    return _Picture(rows, columns, "uint8", components, 8)


def _orientation(exif: bytes) -> int | None:
    """Orientation (tag 274) of the first directory of a TIFF structure; None if there is none."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        return None
    (start,) = struct.unpack(f"{order}I", exif[4:8])
    count_bytes = exif[start : start + 2]
    if len(count_bytes) < 2:
        return None
    (count,) = struct.unpack(f"{order}H", count_bytes)
    for index in range(count):
        entry = exif[start + 2 + 12 * index : start + 14 + 12 * index]
        if len(entry) < 12:
            return None
        tag, kind, items, value = struct.unpack(f"{order}HHIH", entry[:10])
        if (tag, kind, items) == (_ORIENTATION_TAG, 3, 1):
            return int(value)
    return None


# Writing


class PngWriter:
    """Writes PNG: one file for one frame, else a folder of 00001.png, 00002.png and so on.

    Pictures (PNG, with their palette if they have one, and JPEG sources, and TIFF and JPEG 2000 of 8 bits
    that are grey or RGB) are written as they are, 8 or 16 bits. All other sources are rendered to 8 bits for
    display, or, with `full`, written as 16-bit grey that holds the stored values: less their minimum if they
    are signed, which the text chunk `imarium:offset` gives back (stored value = pixel + offset).
    """

    name = "png"

    def __init__(self, window: Window | None = None, full: bool = False) -> None:
        """`window`: center and width in rescaled values (HU for CT); the series' default if None, and
        percentiles 0.5 to 99.5 of the middle frames if it has none."""
        if window is not None and full:
            raise InvalidRequestError("a window and full depth exclude each other: give one of the two")
        self._window = window
        self._full = full

    def write(self, rendition: Rendition, destination: Path) -> list[Path]:
        """Write the frames one at a time; returns the files, in the order of the frames.

        A folder at `destination` may exist; files in it with the names of frames are replaced.

        Raises ExportRefusedError where PNG cannot hold the values, and StorageError if files cannot be
        written.
        """
        series = rendition.series
        targets = [destination] if series.frames == 1 else [destination / name for name in _names(series)]
        for target, encoded in zip(targets, self._encoded(rendition), strict=True):
            with replacing(target) as file:
                file.write(encoded)
        return targets

    def outgoing(self, rendition: Rendition, name: str, scratch: Path) -> Outgoing:  # noqa: ARG002
        """The same files; see `imarium.formats.base.Writer`."""
        series, encoded = rendition.series, self._encoded(rendition)
        if series.frames == 1:
            (content,) = encoded
            return Outgoing(None, iter([OutFile(name, len(content), [content])]))
        files = (
            OutFile(name, len(content), [content])
            for name, content in zip(_names(series), encoded, strict=True)
        )
        return Outgoing("series.zip", files)

    def _encoded(self, rendition: Rendition) -> Iterator[bytes]:
        series = rendition.series
        frames = checked_frames(rendition)
        if _is_picture(series):
            if series.dtype not in ("uint8", "uint16") or not 1 <= series.samples <= 4:
                raise ExportRefusedError(
                    f"PNG cannot hold {series.samples} samples of {series.dtype} a pixel"
                )
            for frame in frames:
                yield encode_png(frame) if series.palette is None else _encode_indices(frame, series)
        elif self._full:
            yield from self._full_depth(rendition, frames)
        else:
            window = self._window
            if window is None and series.samples < 3 and not series.palette:
                window = own_window(series)
                if window is None:
                    middle = _middle(series)
                    window = default_window(rendition.again(middle.start, middle.stop), series, middle)
            for index, frame in enumerate(frames):
                yield encode_png(render_8bit(frame, series, window, index))

    def _full_depth(self, rendition: Rendition, frames: Iterator[Frame]) -> Iterator[bytes]:
        series = rendition.series
        dtype = np.dtype(series.dtype)
        if dtype.kind not in "iu" or series.samples != 1:
            kind = series.dtype if series.samples == 1 else f"{series.samples} x {series.dtype}"
            raise ExportRefusedError(f"16-bit grey PNG cannot hold {kind} values exactly; ask for npy")
        if dtype.kind == "u" and dtype.itemsize <= 2:
            for frame in frames:
                yield encode_png(frame.astype(np.uint16))
            return
        low, high = np.iinfo(dtype).max, np.iinfo(dtype).min
        for frame in rendition.again(0, series.frames):
            low, high = min(low, int(frame.min())), max(high, int(frame.max()))
        if dtype.kind == "u" and high <= 65535:
            low = 0
        if high - low > 65535:
            raise ExportRefusedError(
                f"the stored values reach from {low} to {high}; 16-bit PNG holds 65536 of them; ask for npy"
            )
        wide = np.uint64 if dtype.kind == "u" else np.int64
        for frame in frames:
            shifted = (frame.astype(wide) - wide(low)).astype(np.uint16)
            yield encode_png(shifted, {"imarium:offset": str(low)})


def _names(series: Series) -> list[str]:
    """The files of several frames."""
    digits = max(5, len(str(series.frames)))
    return [f"{number:0{digits}}.png" for number in range(1, series.frames + 1)]


def _middle(series: Series) -> range:
    return range(max(0, series.frames // 2 - 2), min(series.frames, series.frames // 2 + 3))


def _encode_indices(frame: Frame, series: Series) -> bytes:
    """A PNG file of palette indices, (rows, columns) of uint8, as deep as the source's was."""
    palette = series.palette or ()
    depth = series.bits_stored if series.bits_stored in (1, 2, 4, 8) else 8
    if frame.dtype != np.uint8 or not 1 <= len(palette) <= 1 << depth:
        raise ExportRefusedError(f"PNG has palettes of up to 256 colours, not {len(palette)}")
    packed: NDArray[np.uint8] = frame
    if depth < 8:
        bits = np.unpackbits(frame[..., None], axis=-1)[..., 8 - depth :]
        packed = np.packbits(bits.reshape(frame.shape[0], -1), axis=1)
    lines = np.zeros((packed.shape[0], packed.shape[1] + 1), np.uint8)  # each line starts with filter 0
    lines[:, 1:] = packed
    header = struct.pack(">IIBBBBB", frame.shape[1], frame.shape[0], depth, 3, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"PLTE", bytes(value for colour in palette for value in colour)),
        (b"IDAT", zlib.compress(lines.tobytes(), 6)),
        (b"IEND", b""),
    )
    return _PNG_MAGIC + b"".join(_chunk(kind, body) for kind, body in chunks)


def _is_picture(series: Series) -> bool:
    """Whether the stored values are what a screen shows: nothing is to be windowed, inverted or looked up."""
    if series.format in ("png", "jpeg"):
        return True
    plain = series.photometric in ("MONOCHROME2", "RGB") and not series.label_map and series.palette is None
    return (
        series.format in ("tiff", "jpeg2000") and plain and (series.dtype, series.bits_stored) == ("uint8", 8)
    )


def encode_png(frame: Frame, text: dict[str, str] | None = None) -> bytes:
    """A PNG file of (rows, columns) or (rows, columns, samples), uint8 or uint16, 1 to 4 samples.

    `text` goes into tEXt chunks (ISO/IEC 15948 11.3.4.3), in Latin-1.
    """
    encoded = bytes(imagecodecs.png_encode(np.ascontiguousarray(frame), level=6))
    chunks = b"".join(
        _chunk(b"tEXt", key.encode("latin-1") + b"\0" + value.encode("latin-1"))
        for key, value in (text or {}).items()
    )
    return encoded[:33] + chunks + encoded[33:]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
