"""Comments and application data inside compressed frames, blanked in place so that no length changes.

JPEG, JPEG-LS (ITU-T T.81 B.2.4, T.87): comments and application segments, except the ones that say how to
decode (JFIF, JPEG-LS colour transforms, Adobe). JPEG 2000 and HTJ2K (T.800 A.9.2): comments.
"""

from __future__ import annotations

from collections.abc import Callable

_KEPT_APPLICATIONS = frozenset({0xE0, 0xE8, 0xEE})
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_CODE = b" "
HEAD_BYTES = 1 << 20
"""Bytes of a codestream in which its main header has to end."""


def blanked(head: bytes) -> bytes | None:
    """The start of a codestream with what may identify overwritten; None if there is nothing.

    Takes up to the first HEAD_BYTES bytes; what is no codestream stays as it is.
    """
    if head[:2] == b"\xff\xd8":
        return _blank(head, 2, _jpeg_payload, last=(0xDA, 0xD9))
    if head[:4] == b"\xff\x4f\xff\x51":
        return _blank(head, 2, _jpeg2000_payload, last=(0x90, 0xD9))
    return None


def _jpeg_payload(marker: int) -> int | None:
    """Where the payload that goes begins, from the segment's length field; None to keep it."""
    if marker == 0xFE or (0xE0 <= marker <= 0xEF and marker not in _KEPT_APPLICATIONS):
        return 2
    # The thumbnail of a JFIF segment follows its 16 bytes.
    return 16 if marker == 0xE0 else None


def _jpeg2000_payload(marker: int) -> int | None:
    return 4 if marker == 0x64 else None


def _blank(
    head: bytes, position: int, payload: Callable[[int], int | None], last: tuple[int, ...]
) -> bytes | None:
    out: bytearray | None = None
    while position + 4 <= len(head) and head[position] == 0xFF:
        marker = head[position + 1]
        if marker in last:
            break
        if marker == 0xFF or marker in _ALONE:
            position += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(head[position + 2 : position + 4], "big")
        if length < 2:
            break
        start = payload(marker)
        end = min(position + 2 + length, len(head))
        if start is not None and position + 2 + start < end:
            first = position + 2 + start
            if head[first:end].strip(_CODE):
                out = out or bytearray(head)
                out[first:end] = _CODE * (end - first)
        position += 2 + length
    return bytes(out) if out is not None else None
