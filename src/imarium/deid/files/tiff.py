"""TIFF and BigTIFF without texts, EXIF, XMP, IPTC, private tags, and labels of slides; pixels as they are.

The copy has the layout of the source: what says how to read pixels stays in its place, and every byte that
nothing kept refers to becomes zero, pictures of labels and leftovers of earlier edits among it.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from imarium.deid._words import words
from imarium.deid.files.base import Part, Rewritten
from imarium.deid.files.descriptions import cleaned_description, is_label
from imarium.deid.icc import without_texts
from imarium.errors import CorruptFileError, LimitExceededError
from imarium.settings import Limits

_PAGES = 100_000
_VALUES = 1 << 24
_TEXT_BYTES = 1 << 24
_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_SUBFILE, _WIDTH, _DESCRIPTION, _TILE_WIDTH, _SUBIFDS, _ICC = 254, 256, 270, 322, 330, 34675
_DATA = {273: 279, 324: 325, 513: 514}
"""Where pixels are, to how many bytes: strips, tiles, and the stream of old-style JPEG."""
_KEPT = frozenset(
    map(
        int,
        words(
            "254 255 256 257 258 259 262 263 264 265 266 273 274 277 278 279 280 281 282 283 284 286 287 290 "
            "291 292 293 296 297 301 317 318 319 320 321 322 323 324 325 330 332 334 336 338 339 340 341 342 "
            "347 512 513 514 515 517 518 519 520 521 529 530 531 532 32997 32998"
        ),
    )
)
_NAMES = {
    269: "DocumentName",
    270: "ImageDescription",
    271: "Make",
    272: "Model",
    285: "PageName",
    305: "Software",
    306: "DateTime",
    315: "Artist",
    316: "HostComputer",
    700: "XMP",
    33432: "Copyright",
    33723: "IPTC",
    34377: "Photoshop",
    34665: "EXIF",
    34675: "ICC texts",
    34853: "GPS",
}


def recognises(head: bytes) -> bool:
    """Whether a file starts like a TIFF or BigTIFF."""
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True, slots=True)
class _Form:
    order: str
    big: bool

    @property
    def word(self) -> str:
        return f"{self.order}{'Q' if self.big else 'I'}"

    @property
    def word_bytes(self) -> int:
        return 8 if self.big else 4

    @property
    def entry_bytes(self) -> int:
        return 20 if self.big else 12


@dataclass(frozen=True, slots=True)
class _Entry:
    tag: int
    kind: int
    count: int
    raw: bytes
    """Tag, type, count and value or offset, as they are."""
    place: int
    """Where the value is."""

    @property
    def size(self) -> int:
        return self.count * _SIZES.get(self.kind, 1)


@dataclass(slots=True)
class _Work:
    file: BinaryIO
    size: int
    form: _Form
    removed: Counter[str] = field(default_factory=Counter)
    kept: list[tuple[int, int]] = field(default_factory=list)
    """Ranges of the source that stay."""
    patches: dict[int, bytes] = field(default_factory=dict)
    """Place to bytes that come instead."""
    seen: set[int] = field(default_factory=set)

    def read(self, place: int, count: int) -> bytes:
        """Bytes of the source. Raises CorruptFileError if they are not there."""
        if count > _VALUES * 8:
            raise LimitExceededError("a tag of the TIFF has more values than the limit")
        if place < 0 or place + count > self.size:
            raise CorruptFileError("the TIFF points beyond its end")
        self.file.seek(place)
        return self.file.read(count)


def rewritten(path: Path, limits: Limits, name: str) -> Rewritten:
    """The file without what identifies."""
    del limits, name
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        order = "<" if head[:2] == b"II" else ">"
        big = head[2:4] in (b"+\0", b"\0+")
        if len(head) < (16 if big else 8):
            raise CorruptFileError("the TIFF is cut off")
        work = _Work(file, size, _Form(order, big))
        start = 8 if big else 4
        (first,) = struct.unpack_from(work.form.word, head, start)
        work.patches[0] = head[:start] + struct.pack(work.form.word, _chain(work, first))
    if not any(place for place in work.patches):
        raise CorruptFileError("the TIFF has no pages")
    slide = path.suffix.lower() == ".svs"
    return Rewritten(path, tuple(_parts(work)), work.removed, ".svs" if slide else ".tif")


def _chain(work: _Work, first: int) -> int:
    """Rewrite a chain of pages; returns where its first kept page is, 0 if none is."""
    kept: list[tuple[int, bytes]] = []
    place = first
    while place:
        if place in work.seen:
            raise CorruptFileError("the pages of the TIFF form a loop")
        if len(work.seen) >= _PAGES:
            raise LimitExceededError(f"the TIFF has more than {_PAGES} pages")
        work.seen.add(place)
        entries, following = _entries(work, place)
        if _is_label(work, entries):
            work.removed["label or macro image"] += 1
        else:
            kept.append((place, _page(work, entries)))
        place = following
    places = [place for place, _ in kept]
    for (place, body), follower in zip(kept, [*places[1:], 0], strict=True):
        work.patches[place] = body + struct.pack(work.form.word, follower)
    return places[0] if places else 0


def _entries(work: _Work, place: int) -> tuple[list[_Entry], int]:
    form = work.form
    head = 8 if form.big else 2
    (count,) = struct.unpack(f"{form.order}{'Q' if form.big else 'H'}", work.read(place, head))
    if count > 0xFFFF:
        raise CorruptFileError("the TIFF has a page of too many tags")
    data = work.read(place + head, count * form.entry_bytes + form.word_bytes)
    entries = []
    for number in range(count):
        raw = data[number * form.entry_bytes : (number + 1) * form.entry_bytes]
        tag, kind = struct.unpack_from(f"{form.order}HH", raw)
        (values,) = struct.unpack_from(form.word, raw, 4)
        inline = 4 + form.word_bytes
        if values * _SIZES.get(kind, 1) <= form.word_bytes:
            where = place + head + number * form.entry_bytes + inline
        else:
            (where,) = struct.unpack_from(form.word, raw, inline)
        entries.append(_Entry(tag, kind, values, raw, where))
    (following,) = struct.unpack_from(form.word, data, count * form.entry_bytes)
    return entries, int(following)


def _values(work: _Work, entry: _Entry) -> tuple[int, ...]:
    letter = _INTEGERS.get(entry.kind)
    if letter is None:
        raise CorruptFileError("a tag of the TIFF that holds places is of no integer type")
    return struct.unpack(f"{work.form.order}{entry.count}{letter}", work.read(entry.place, entry.size))


def _text(work: _Work, entry: _Entry) -> str:
    if entry.size > _TEXT_BYTES:
        raise LimitExceededError("a text of the TIFF is larger than the limit")
    return work.read(entry.place, entry.size).decode("utf-8", "replace").rstrip("\0")


def _is_label(work: _Work, entries: list[_Entry]) -> bool:
    by_tag = {entry.tag: entry for entry in entries}
    description = by_tag.get(_DESCRIPTION)
    text = _text(work, description) if description is not None else ""
    kind = _values(work, by_tag[_SUBFILE])[0] if _SUBFILE in by_tag and by_tag[_SUBFILE].count else 0
    return is_label(text, kind, tiled=_TILE_WIDTH in by_tag)


def _page(work: _Work, entries: list[_Entry]) -> bytes:
    """The page's directory with the tags that stay, up to the place of the next page."""
    form = work.form
    out: list[bytes] = []
    by_tag = {entry.tag: entry for entry in entries}
    for entry in entries:
        kept = _kept_entry(work, entry)
        if kept is not None:
            out.append(kept)
    for places, lengths in _DATA.items():
        if places in by_tag and lengths in by_tag:
            pairs = zip(_values(work, by_tag[places]), _values(work, by_tag[lengths]), strict=False)
            work.kept.extend((start, min(start + length, work.size)) for start, length in pairs)
    count = struct.pack(f"{form.order}{'Q' if form.big else 'H'}", len(out))
    return count + b"".join(out)


def _kept_entry(work: _Work, entry: _Entry) -> bytes | None:
    form = work.form
    inline = entry.size <= form.word_bytes
    if entry.tag == _DESCRIPTION and entry.kind == 2:
        text = cleaned_description(_text(work, entry))
        if text is None:
            work.removed["ImageDescription"] += 1
            return None
        data = text.encode()[: max(0, entry.size - 1)] + b"\0"
        work.removed["ImageDescription parts"] += 1
        if inline:
            return entry.raw
        work.patches[entry.place] = data.ljust(form.word_bytes + 1, b"\0")[: entry.size]
        count = max(len(data), form.word_bytes + 1)
        return entry.raw[:4] + struct.pack(form.word, count) + entry.raw[4 + form.word_bytes :]
    if entry.tag == _ICC and not inline:
        profile = without_texts(work.read(entry.place, entry.size))
        work.removed["ICC texts"] += 1
        if profile is None:
            return None
        work.patches[entry.place] = profile
        return entry.raw
    if entry.tag not in _KEPT or (entry.kind == 2 and entry.tag != _DESCRIPTION):
        work.removed[_NAMES.get(entry.tag, "other tag")] += 1
        return None
    if entry.tag == _SUBIFDS:
        return _sub_pages(work, entry, inline=inline)
    if not inline:
        work.read(entry.place, min(entry.size, 1))
        work.kept.append((entry.place, min(entry.place + entry.size, work.size)))
    return entry.raw


def _sub_pages(work: _Work, entry: _Entry, *, inline: bool) -> bytes:
    for place in _values(work, entry):
        if place and place not in work.seen:
            work.seen.add(place)
            entries, _ = _entries(work, place)
            work.patches[place] = _page(work, entries) + bytes(work.form.word_bytes)
    if not inline:
        work.kept.append((entry.place, entry.place + entry.size))
    return entry.raw


def _parts(work: _Work) -> Iterator[Part | bytes]:
    """The whole copy: patches before kept ranges before zeros."""
    position = 0
    events = sorted(work.patches.items())
    ranges = _merged(work.kept)
    index = 0
    for place, data in [*events, (work.size, b"")]:
        if place < position:
            raise CorruptFileError("parts of the TIFF overlap")
        while position < place:
            while index < len(ranges) and ranges[index][1] <= position:
                index += 1
            if index < len(ranges) and ranges[index][0] < place:
                start, end = max(position, ranges[index][0]), min(place, ranges[index][1])
                yield from _zeros(start - position)
                yield Part(start, end)
                position = end
            else:
                yield from _zeros(place - position)
                position = place
        yield data
        position += len(data)


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield bytes(min(count, 1 << 20))
        count -= 1 << 20
