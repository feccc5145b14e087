"""Answers of several byte ranges (multipart/byteranges, RFC 9110, 14.6)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from imarium.errors import IntegrityError

_BOUNDARY = re.compile(r'multipart/byteranges;.*?boundary="?([^";,\s]{1,70})"?', re.IGNORECASE)
_CONTENT_RANGE = re.compile(rb"content-range:[ \t]*(bytes[ \t].{1,80})\r", re.IGNORECASE)
_RANGE = re.compile(r"bytes[ \t]+(\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_MOST_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of a pack within an answer."""

    start: int
    """Where they lie in the pack."""
    offset: int
    """Where they begin in the answer."""
    length: int
    """Bytes that are there; of the last part of an answer that was cut off, fewer than it promised."""
    total: int | None
    """Bytes of the whole pack, if the server says."""


def parse_content_range(text: str) -> tuple[int, int, int | None]:
    """(start, stop, bytes of the whole) of a Content-Range header; raises IntegrityError."""
    found = _RANGE.fullmatch(text.strip())
    if found is None or int(found[2]) < int(found[1]):
        raise IntegrityError("the server did not answer with the range that was asked for")
    return int(found[1]), int(found[2]) + 1, None if found[3] == "*" else int(found[3])


def boundary_of(content_type: str) -> bytes | None:
    """What separates the parts; None if the answer is no multipart/byteranges."""
    found = _BOUNDARY.match(content_type)
    return None if found is None else found[1].encode()


def parts_of(boundary: bytes, content: bytes | bytearray) -> tuple[list[Part], bool]:
    """The parts of an answer, and whether it is whole; what comes after a cut or nonsense is left out.

    The server may have joined ranges that touch, and may answer in any order. Lengths come from the
    Content-Range of each part; nothing is searched for in its bytes.
    """
    delimiter = b"--" + boundary
    parts: list[Part] = []
    position = content.find(delimiter)
    while position >= 0 and content[position : position + len(delimiter)] == delimiter:
        position += len(delimiter)
        if content[position : position + 2] == b"--":
            return parts, True
        end = content.find(b"\r\n\r\n", position, position + _MOST_HEAD_BYTES)
        found = _CONTENT_RANGE.search(bytes(content[position : max(end, position) + 2]))
        if end < 0 or found is None:
            break
        try:
            start, stop, total = parse_content_range(found[1].decode("latin-1"))
        except IntegrityError:
            break
        offset = end + 4
        parts.append(Part(start, offset, min(stop - start, len(content) - offset), total))
        position = offset + stop - start
        if content[position : position + 2] != b"\r\n":
            break
        position += 2
    return parts, False
