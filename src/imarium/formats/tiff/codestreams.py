"""Strips and tiles that say by themselves what they hold: JPEG, JPEG 2000, WebP and LERC; and LZMA.

Each is held against its page before a decoder sees it. All but JPEG go to the decoder process.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from typing import Any

import imagecodecs
from numpy.typing import NDArray

from imarium.codec.decoders import Codec, jpeg_frame_header, sides
from imarium.errors import CorruptFileError, LimitExceededError, UnsupportedFileError
from imarium.formats.dicom.decoder_client import pool_for
from imarium.formats.jpeg2000 import LOSSY as LOSSY_JPEG2000
from imarium.formats.jpeg2000 import decode_codestream, inspect_codestream
from imarium.formats.tiff.layout import JPEG, LERC, LERC_TYPES, WEBP, Layout
from imarium.settings import Limits

_JPEG_SCANS = 256
_LZMA_MEMORY = 128 << 20
"""Enough for the dictionary of 64 MB that the highest preset takes."""
_LERC_HEAD = struct.Struct("<6siI7i")
"""Key, version, checksum; rows, columns, depth, valid pixels, block size, bytes, type of the values."""
_LERC_SPARE = 1 << 16


def check_jpeg(content: bytes, layout: Layout) -> None:
    """Hold the frame header of a JPEG strip or tile (ISO/IEC 10918-1 B.2.2) against the page."""
    try:
        marker, head = jpeg_frame_header(content)
    except ValueError as error:
        raise CorruptFileError("a JPEG strip or tile of a TIFF page is damaged or truncated") from error
    if not 0xC0 <= marker <= 0xC2:
        raise UnsupportedFileError("JPEG in TIFF is read in its baseline and progressive variants only")
    bits, rows, columns, components = struct.unpack(">BHHB", head[:6])
    most = layout.segment
    if bits != 8 or components != layout.segment_samples or rows > most[0] or columns > most[1]:
        raise CorruptFileError(
            f"a JPEG strip or tile has {columns} x {rows} pixels of {components} x {bits} bits; the TIFF "
            f"page says {most[1]} x {most[0]} of {layout.segment_samples} x 8"
        )
    scans = content.count(b"\xff\xda")
    if scans > _JPEG_SCANS:
        raise LimitExceededError(f"a JPEG strip or tile has more than {_JPEG_SCANS} scans")
    if content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda"):
        raise CorruptFileError("a JPEG strip or tile of a TIFF page is truncated")


def _held(layout: Layout, rows: int, columns: int, samples: int) -> tuple[int, int, int]:
    """The shape that a strip or tile gives, if it can be one of the page."""
    most = layout.segment
    if not (0 < rows <= most[0] and 0 < columns <= most[1] and samples == layout.segment_samples):
        expected = (*most, layout.segment_samples)
        raise CorruptFileError(
            f"a tile of a TIFF page decodes to {(rows, columns, samples)}, which is not {expected}"
        )
    return rows, columns, samples


def decode(layout: Layout, content: bytes, index: int, limits: Limits) -> NDArray[Any]:
    """(rows, columns, samples) of a strip or tile in JPEG 2000, WebP or LERC."""
    if layout.is_jpeg2000:
        facts = inspect_codestream(content, limits)
        shape = _held(layout, facts.rows, facts.columns, facts.components)
        return decode_codestream(content, facts, limits).reshape(shape)
    if layout.compression == WEBP:
        _webp_chunks(content)
        shape = _held(layout, *_webp_sides(content), layout.segment_samples)
        codec, flat = "webp-alpha" if layout.samples == 4 else "webp", shape
    else:
        content = _lerc_blob(layout, content, index)
        shape = _held(layout, *_lerc_shape(layout, content))
        codec, flat = "lerc", shape if shape[2] > 1 else shape[:2]  # type: ignore[assignment]
    return pool_for(limits).decode_codestream(content, codec, flat, layout.dtype).reshape(shape)


def lossy_note(layout: Layout, content: bytes, limits: Limits) -> str | None:
    """What the notes say of a page whose first strip or tile this is, if it was compressed with loss."""
    if layout.compression == JPEG:
        return "JPEG: lossy before it came here"
    if layout.is_jpeg2000:
        return LOSSY_JPEG2000 if inspect_codestream(content, limits).lossy else None
    if layout.compression == WEBP:
        return "WebP: lossy before it came here" if b"VP8 " in _webp_chunks(content) else None
    if layout.compression == LERC:
        content = _lerc_blob(layout, content, 0)
        _lerc_shape(layout, content)
        place = _LERC_HEAD.size + (8 if content[6] >= 6 else 0)
        (error,) = struct.unpack("<d", content[place : place + 8].ljust(8, b"\0"))
        exact = 0.5 if layout.dtype.kind in "iu" else 0.0
        return None if error <= exact else "LERC: lossy before it came here"
    return None


def _webp_sides(content: bytes) -> tuple[int, int]:
    """(rows, columns)."""
    try:
        rows, columns = sides(Codec.WEBP, content) or (0, 0)
    except ValueError as error:
        raise CorruptFileError("a WebP strip or tile of a TIFF page is damaged or truncated") from error
    return rows, columns


def _webp_chunks(content: bytes) -> set[bytes]:
    """Names of the chunks (RFC 9649 2.3)."""
    found: set[bytes] = set()
    position = 12
    while position + 8 <= len(content):
        found.add(content[position : position + 4])
        size = int.from_bytes(content[position + 4 : position + 8], "little")
        position += 8 + size + size % 2
    if not found & {b"VP8 ", b"VP8L"} or position > len(content) + 1:
        raise CorruptFileError("a WebP strip or tile of a TIFF page is damaged or truncated")
    if b"ANIM" in found or b"ANMF" in found:
        raise UnsupportedFileError("animated WebP in TIFF is not read")
    return found


def _lerc_blob(layout: Layout, content: bytes, index: int) -> bytes:
    """A LERC strip or tile without what may be around it (LercParameters)."""
    most = 2 * layout.segment_bytes(index) + _LERC_SPARE
    try:
        if layout.packing == 1:
            return zlib.decompressobj().decompress(content, most)
        if layout.packing == 2:
            return bytes(imagecodecs.zstd_decode(content, out=most))
    except (zlib.error, imagecodecs.ZstdError) as error:
        raise CorruptFileError("a LERC strip or tile of a TIFF page cannot be decompressed") from error
    return content


def _lerc_shape(layout: Layout, blob: bytes) -> tuple[int, int, int]:
    """(rows, columns, samples) of a LERC blob of versions 2.4 to 2.6 that holds a value for every pixel."""
    if len(blob) < _LERC_HEAD.size + 8 or not blob.startswith(b"Lerc2 "):
        raise CorruptFileError("a LERC strip or tile of a TIFF page has no header")
    _, version, _, rows, columns, samples, valid, _, size, kind = _LERC_HEAD.unpack_from(blob)
    if not 4 <= version <= 6:
        raise UnsupportedFileError(f"LERC 2.{version} in TIFF is not read; 2.4 to 2.6 are")
    if not 0 <= kind < len(LERC_TYPES) or size > len(blob):
        raise CorruptFileError("a LERC strip or tile of a TIFF page is damaged or truncated")
    if LERC_TYPES[kind] != layout.dtype.name:
        raise CorruptFileError(
            f"a LERC strip or tile of a TIFF page holds {LERC_TYPES[kind]}, not {layout.dtype}"
        )
    if valid != rows * columns:
        raise UnsupportedFileError("LERC with pixels that have no value is not read")
    return rows, columns, samples


def inflate_lzma(layout: Layout, content: bytes, index: int) -> bytes:
    """The packed values of a strip or tile in LZMA, in bounded memory."""
    size = layout.segment_bytes(index)
    try:
        raw = lzma.LZMADecompressor(lzma.FORMAT_XZ, _LZMA_MEMORY).decompress(content, size)
    except lzma.LZMAError as error:
        raise CorruptFileError("an LZMA strip or tile of a TIFF page is damaged") from error
    if len(raw) < size:
        raise CorruptFileError(f"an LZMA strip or tile of a TIFF page holds {len(raw)} of {size} bytes")
    return raw
