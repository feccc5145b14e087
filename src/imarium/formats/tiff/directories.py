"""The directories of a TIFF file (TIFF 6.0 section 2; BigTIFF), read with bounds before anything else.

No value is read before its count and place were held against the file's size and the limits, and no
directory is read twice, so that chains that loop come to an end.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

from imarium.errors import CorruptFileError, LimitExceededError
from imarium.settings import Limits

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_TAGS = 4096
"""Most tags of one directory."""
_SUBDIRECTORIES = 330
_DEPTH = 4
"""Most directories inside one another; pyramids and thumbnails take one step."""

_TYPES = {
    1: "B",
    2: "s",
    3: "H",
    4: "I",
    5: "II",
    6: "b",
    7: "s",
    8: "h",
    9: "i",
    10: "ii",
    11: "f",
    12: "d",
    13: "I",
    16: "Q",
    17: "q",
    18: "Q",
}
"""struct's letters for the field types."""

Value = bytes | tuple[int, ...] | tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Tag:
    """Where the value of a tag is."""

    kind: int
    count: int
    place: int
    """Position of the value's first byte in the file."""

    @property
    def size(self) -> int:
        """Bytes of the value."""
        return self.count * struct.calcsize(f"={_TYPES[self.kind]}")


@dataclass(frozen=True, slots=True)
class Directory:
    """One image file directory."""

    number: int
    """From 0, in the order of reading: each directory before those inside it."""
    depth: int
    """0 for the chain of the file, 1 for the directories inside one of these, and so on."""
    tags: dict[int, Tag]


class Directories:
    """Reads the directories of one open file."""

    def __init__(self, stream: BinaryIO, size: int, limits: Limits) -> None:
        """Reads the header. Raises CorruptFileError if it is none."""
        self._stream, self._size, self._limits = stream, size, limits
        head = self._read(0, 8)
        if head[:4] not in MAGICS:
            raise CorruptFileError("the file does not start with a TIFF header")
        self.order: Literal["<", ">"] = "<" if head[:2] == b"II" else ">"
        self.big = 43 in (head[2], head[3])
        if self.big:
            width, zero = struct.unpack(f"{self.order}HH", head[4:8])
            if (width, zero) != (8, 0):
                raise CorruptFileError(f"the BigTIFF header gives offsets of {width} bytes; 8 are defined")
            (self._first,) = struct.unpack(f"{self.order}Q", self._read(8, 8))
        else:
            (self._first,) = struct.unpack(f"{self.order}I", head[4:8])
        self._entries_left = limits.header_bytes // 12

    def walk(self) -> Iterator[Directory]:
        """Every directory once, those inside a directory (SubIFDs) right after it.

        Raises CorruptFileError for chains that loop or leave the file, and LimitExceededError beyond
        limits.frames directories or limits.header_bytes of tags.
        """
        seen: set[int] = set()
        waiting = [(self._first, 0)]
        while waiting:
            position, depth = waiting.pop()
            if position == 0:
                continue
            if position in seen:
                raise CorruptFileError("the directories of the TIFF file lead in a circle")
            if len(seen) >= self._limits.frames:
                raise LimitExceededError(
                    f"the TIFF file has more than {self._limits.frames} directories (limits.frames)"
                )
            seen.add(position)
            tags, following = self._directory(position)
            yield Directory(len(seen) - 1, depth, tags)
            # A directory inside another may go on as a chain of its own.
            waiting.append((following, depth))
            inside = tags.get(_SUBDIRECTORIES)
            if inside is not None:
                if depth >= _DEPTH or inside.count > _TAGS:
                    raise LimitExceededError("the TIFF file has too many directories inside one another")
                waiting.extend((offset, depth + 1) for offset in reversed(self.integers(inside)))

    def _directory(self, position: int) -> tuple[dict[int, Tag], int]:
        """Tags, and the position of the next directory (0 for none)."""
        order = self.order
        count_size, entry_size, inline = (8, 20, 8) if self.big else (2, 12, 4)
        letter = "Q" if self.big else "I"
        (count,) = struct.unpack(f"{order}{'Q' if self.big else 'H'}", self._read(position, count_size))
        if not 1 <= count <= _TAGS:
            raise CorruptFileError(f"a directory of the TIFF file has {count} tags; 1 to {_TAGS} are read")
        self._entries_left -= count
        if self._entries_left < 0:
            raise LimitExceededError("the TIFF file has more tags than limits.header_bytes allows")
        start = position + count_size
        table = self._read(start, count * entry_size)
        tags: dict[int, Tag] = {}
        for number in range(count):
            entry = table[number * entry_size : (number + 1) * entry_size]
            code, kind, items = struct.unpack(f"{order}HH{letter}", entry[: entry_size - inline])
            if kind not in _TYPES or code in tags:
                continue  # TIFF 6.0 section 2: readers skip fields of types that they do not know
            place = start + (number + 1) * entry_size - inline
            tag = Tag(kind, items, place)
            if tag.size > inline:
                (place,) = struct.unpack(f"{order}{letter}", entry[entry_size - inline :])
                tag = Tag(kind, items, place)
            tags[code] = tag
        end = start + count * entry_size
        # Some writers leave out the position after the last directory.
        if end + inline > self._size:
            return tags, 0
        (following,) = struct.unpack(f"{order}{letter}", self._read(end, inline))
        return tags, int(following)

    def _read(self, position: int, size: int) -> bytes:
        if position + size > self._size:
            raise CorruptFileError("the TIFF file is truncated, or a position in it lies beyond its end")
        self._stream.seek(position)
        content = self._stream.read(size)
        if len(content) != size:
            raise CorruptFileError("the TIFF file was truncated while it was read")
        return content

    def content(self, tag: Tag, most: int) -> bytes:
        """The bytes of a value. Raises LimitExceededError if they are more than `most`."""
        if tag.size > most:
            raise LimitExceededError(f"a TIFF tag has {tag.size} bytes; at most {most} are read")
        return self._read(tag.place, tag.size)

    def values(self, tag: Tag, most: int = 1 << 16) -> Value:
        """Numbers of a tag; rationals as numerator, denominator, ...; text and undefined bytes as bytes."""
        content = self.content(tag, most * 16)
        letters = _TYPES[tag.kind]
        if letters == "s":
            return content
        return struct.unpack(f"{self.order}{tag.count * len(letters)}{letters[0]}", content)

    def integers(self, tag: Tag, most: int = 1 << 16) -> tuple[int, ...]:
        """The whole numbers of a tag. Raises CorruptFileError if it holds anything else, or less than 0."""
        if tag.kind not in (1, 3, 4, 6, 8, 9, 13, 16, 17, 18):
            raise CorruptFileError(f"a TIFF tag that holds whole numbers is of field type {tag.kind}")
        numbers = tuple(int(value) for value in self.values(tag, most))
        if numbers and min(numbers) < 0:
            raise CorruptFileError("a TIFF tag that holds counts or positions is negative")
        return numbers
