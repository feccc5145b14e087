"""PNG files made to order, for tests: chunk by chunk, without the library that reads them."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image

MAGIC = b"\x89PNG\r\n\x1a\n"


def make_chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def make_png(
    columns: int,
    rows: int,
    depth: int,
    colour: int,
    lines: bytes,
    *extra: bytes,
    interlace: int = 0,
) -> bytes:
    """A PNG from scratch; `lines` are the filtered scan lines, `extra` chunks between IHDR and IDAT."""
    header = make_chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, depth, colour, 0, 0, interlace))
    data = make_chunk(b"IDAT", zlib.compress(lines))
    return MAGIC + header + b"".join(extra) + data + make_chunk(b"IEND", b"")


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The file that Pillow makes of a picture."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()
