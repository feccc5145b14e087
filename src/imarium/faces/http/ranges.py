"""Byte ranges (RFC 9110, 14): what a Range header asks for, and answers of several ranges."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from imarium.pack import Span

MOST_RANGES = 256
"""Ranges of one request; one that asks for more is answered with 416 (RFC 9110, 15.5.17)."""

_UNIT = re.compile(r"bytes=(.*)", re.IGNORECASE)
_RANGE = re.compile(r"(\d{0,18})-(\d{0,18})")


def parse_ranges(header: str, size: int) -> list[Span] | None:
    """The ranges of a representation of `size` bytes: ascending, those joined that touch or overlap.

    Empty if none can be satisfied, or if they are too many; None if the header is to be ignored.
    """
    unit = _UNIT.fullmatch(header.strip())
    if unit is None:
        return None
    items = [item for part in unit[1].split(",") if (item := part.strip(" \t"))]
    if not items:
        return None
    if len(items) > MOST_RANGES:
        return []
    spans: list[Span] = []
    for item in items:
        match = _RANGE.fullmatch(item)
        if match is None or match.groups() == ("", ""):
            return None
        first, last = match.groups()
        if first == "":
            start, stop = size - min(int(last), size), size
        elif last and int(last) < int(first):
            return None
        else:
            start, stop = int(first), min(int(last) + 1, size) if last else size
        if start < stop:
            spans.append((start, stop))
    return _joined(spans)


def _joined(spans: Sequence[Span]) -> list[Span]:
    joined: list[Span] = []
    for start, stop in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return joined


@dataclass(frozen=True, slots=True)
class Multipart:
    """An answer of several ranges (multipart/byteranges, RFC 9110, 14.6)."""

    spans: Sequence[Span]
    size: int
    """Bytes of the whole representation."""
    boundary: str
    """Occurs nowhere in it: a digest of the content does not."""
    media_type: str

    @property
    def content_type(self) -> str:
        """The media type of the answer."""
        return f"multipart/byteranges; boundary={self.boundary}"

    def head(self, number: int) -> bytes:
        """What comes before the bytes of a range."""
        start, stop = self.spans[number]
        before = "\r\n" if number else ""
        return (
            f"{before}--{self.boundary}\r\nContent-Type: {self.media_type}\r\n"
            f"Content-Range: bytes {start}-{stop - 1}/{self.size}\r\n\r\n"
        ).encode()

    def pieces(self) -> list[bytes | Span]:
        """What the answer is made of, in order: bytes, and ranges of the representation."""
        pieces: list[bytes | Span] = []
        for number, span in enumerate(self.spans):
            pieces += [self.head(number), span]
        return [*pieces, self.tail]

    @property
    def tail(self) -> bytes:
        """What comes after the last."""
        return f"\r\n--{self.boundary}--\r\n".encode()

    @property
    def length(self) -> int:
        """Bytes of the answer."""
        heads = sum(len(self.head(number)) for number in range(len(self.spans)))
        return heads + sum(stop - start for start, stop in self.spans) + len(self.tail)
