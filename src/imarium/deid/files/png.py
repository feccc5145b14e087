"""PNG (ISO 15948) without texts, times, EXIF and unknown chunks; image data as they are."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from pathlib import Path

from imarium.deid.files.base import Part, Rewritten
from imarium.deid.icc import without_texts
from imarium.errors import CorruptFileError, LimitExceededError
from imarium.settings import Limits

_MAGIC = b"\x89PNG\r\n\x1a\n"
_KEPT = frozenset(
    b"IHDR PLTE IDAT IEND tRNS cHRM gAMA sBIT sRGB cICP mDCV cLLI bKGD hIST pHYs acTL fcTL fdAT".split()
)
_CHUNKS = 1 << 20
_PROFILE_BYTES = 1 << 22


def recognises(head: bytes) -> bool:
    """Whether a file starts like a PNG."""
    return head.startswith(_MAGIC)


def rewritten(path: Path, limits: Limits, name: str) -> Rewritten:
    """The file without what identifies; whatever follows its end is left out."""
    del limits, name
    parts: list[Part | bytes] = [_MAGIC]
    removed: Counter[str] = Counter()
    size = path.stat().st_size
    position = len(_MAGIC)
    with path.open("rb") as file:
        for _ in range(_CHUNKS):
            file.seek(position)
            head = file.read(8)
            if len(head) < 8:
                raise CorruptFileError("the PNG is cut off")
            length, kind = struct.unpack(">I4s", head)
            end = position + 12 + length
            if end > size:
                raise CorruptFileError("the PNG is cut off")
            if kind in _KEPT:
                parts.append(Part(position, end))
            elif kind == b"iCCP":
                profile = _profile(file.read(min(length, _PROFILE_BYTES)))
                removed["iCCP name"] += 1
                if profile is not None:
                    parts.append(_chunk(b"iCCP", b"ICC\0\0" + zlib.compress(profile)))
            else:
                removed[kind.decode("latin-1") if kind.isalpha() else "chunk"] += 1
            position = end
            if kind == b"IEND":
                if position < size:
                    removed["bytes after the end"] += 1
                return Rewritten(path, parts, removed, ".png")
    raise LimitExceededError(f"the PNG has more than {_CHUNKS} chunks")


def _profile(data: bytes) -> bytes | None:
    _, found, rest = data.partition(b"\0")
    if not found:
        return None
    try:
        unpacker = zlib.decompressobj()
        return without_texts(unpacker.decompress(rest[1:], _PROFILE_BYTES))
    except zlib.error:
        return None


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
