"""Answers of several byte ranges (multipart/byteranges, RFC 9110, 14.6)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from imarium.errors import IntegrityError
from imarium.pack import Span

_BOUNDARY = re.compile(r'multipart/byteranges;.*?boundary="?([^";,\s]{1,70})"?', re.IGNORECASE)
_CONTENT_RANGE = re.compile(rb"content-range:[ \t]*bytes (\d{1,18})-(\d{1,18})/", re.IGNORECASE)
_MOST_HEAD_BYTES = 4096


def pieces_of(content_type: str, content: bytes, spans: Sequence[Span]) -> list[bytes]:
    """The bytes of each asked range out of an answer; raises IntegrityError if they are not all there.

    The server may have joined ranges that touch, and may answer in any order. Lengths come from the
    Content-Range of each part; nothing is searched for in its bytes.
    """
    boundary = _BOUNDARY.match(content_type)
    if boundary is None:
        raise IntegrityError("the server did not answer with several ranges as they were asked for")
    parts = _parts(content, b"--" + boundary[1].encode())
    pieces = []
    for start, stop in spans:
        for (first, last), at in parts:
            if first <= start and stop <= last:
                pieces.append(content[at + start - first : at + stop - first])
                break
        else:
            raise IntegrityError("the server left out a range that was asked for")
    return pieces


def _parts(content: bytes, delimiter: bytes) -> list[tuple[Span, int]]:
    """Range of each part, and where its bytes begin in the answer."""
    parts: list[tuple[Span, int]] = []
    position = content.find(delimiter)
    while position >= 0 and content[position : position + len(delimiter)] == delimiter:
        position += len(delimiter)
        if content[position : position + 2] == b"--":
            return parts
        end = content.find(b"\r\n\r\n", position, position + _MOST_HEAD_BYTES)
        found = _CONTENT_RANGE.search(content[position : max(end, position)])
        if found is None:
            break
        start, stop = int(found[1]), int(found[2]) + 1
        parts.append(((start, stop), end + 4))
        position = end + 4 + stop - start
        if content[position : position + 2] != b"\r\n":
            break
        position += 2
    raise IntegrityError("the server's answer of several ranges is cut off or makes no sense")
