"""ICC profiles (ISO 15076-1) without their texts; lengths and offsets stay."""

from __future__ import annotations

import struct

_TEXTS = frozenset({b"desc", b"text", b"mluc", b"dict", b"ZXML"})
_TAGS = 1000


def without_texts(profile: bytes) -> bytes | None:
    """The profile with texts overwritten by zeros and without maker's marks; None if it is no profile."""
    if len(profile) < 132 or profile[36:40] != b"acsp":
        return None
    out = bytearray(profile)
    out[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # when it was made
    out[84:100] = bytes(16)  # its digest
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > _TAGS or 132 + 12 * count > len(profile):
        return None
    for number in range(count):
        _, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * number)
        if offset < 132 + 12 * count or offset + size > len(profile) or size < 8:
            return None
        if profile[offset : offset + 4] in _TEXTS:
            out[offset + 8 : offset + size] = _empty(profile[offset : offset + 4], size - 8)
    return bytes(out)


def _empty(kind: bytes, size: int) -> bytes:
    # A record size of 12 in a list of no records, and a text of one zero byte.
    start = {b"mluc": struct.pack(">II", 0, 12), b"desc": struct.pack(">I", 1)}.get(kind, b"")
    return start[:size].ljust(size, b"\0")
