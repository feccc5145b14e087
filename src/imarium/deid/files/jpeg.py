"""JPEG (ITU-T T.81) without EXIF, XMP, IPTC, comments and thumbnails; scans as they are.

Of EXIF the orientation stays, since without it the picture lies on its side.
"""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path

from imarium.deid.files.base import Rewritten, whole
from imarium.deid.icc import without_texts
from imarium.errors import CorruptFileError
from imarium.settings import Limits

_ICC = b"ICC_PROFILE\0"
_EXIF = b"Exif\0\0"
_SOS, _EOI, _COM = 0xDA, 0xD9, 0xFE
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})


def recognises(head: bytes) -> bool:
    """Whether a file starts like a JPEG."""
    return head.startswith(b"\xff\xd8\xff")


def rewritten(path: Path, limits: Limits, name: str) -> Rewritten:
    """The file without what identifies; whatever follows its end is left out."""
    del name
    data = whole(path, limits)
    removed: Counter[str] = Counter()
    out = [b"\xff\xd8"]
    profile: list[bytes] = []
    position = 2
    while True:
        position = _next_marker(data, position)
        marker = data[position + 1]
        if marker == _EOI:
            out.append(b"\xff\xd9")
            if position + 2 < len(data):
                removed["bytes after the end"] += 1
            break
        if marker in _ALONE:
            out.append(data[position : position + 2])
            position += 2
            continue
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if end < position + 4 or end > len(data):
            raise CorruptFileError("the JPEG is cut off")
        payload = data[position + 4 : end]
        segment = data[position:end]
        position = end
        if marker == 0xE2 and payload.startswith(_ICC):
            profile.append(payload[len(_ICC) :])
        elif marker == _COM or 0xE0 <= marker <= 0xEF:
            out.append(_application(marker, payload, segment, removed))
        else:
            out.extend(_icc(profile, removed))
            profile = []
            out.append(segment)
            if marker == _SOS:
                position = _scan_end(data, end)
                out.append(data[end:position])
    return Rewritten(path, out, removed, ".jpg")


def _next_marker(data: bytes, position: int) -> int:
    while data[position : position + 2] == b"\xff\xff":
        position += 1
    if position + 2 > len(data) or data[position] != 0xFF:
        raise CorruptFileError("the JPEG is cut off, or no JPEG after all")
    return position


def _scan_end(data: bytes, position: int) -> int:
    while True:
        position = data.find(b"\xff", position)
        if position < 0 or position + 1 >= len(data):
            raise CorruptFileError("the JPEG is cut off inside its image data")
        following = data[position + 1]
        if following != 0 and following != 0xFF and not 0xD0 <= following <= 0xD7:
            return position
        position += 1 if following == 0xFF else 2


def _application(marker: int, payload: bytes, segment: bytes, removed: Counter[str]) -> bytes:
    """What is left of an application segment or a comment."""
    if marker == 0xEE and payload.startswith(b"Adobe"):
        return segment[:16].replace(segment[2:4], b"\0\x0e", 1) if len(payload) >= 12 else b""
    if marker == 0xE8 and payload.startswith(b"mrfx"):
        return segment
    if marker == 0xE0 and payload.startswith(b"JFIF\0") and len(payload) >= 14:
        if len(payload) > 14:
            removed["thumbnail"] += 1
        return b"\xff\xe0\0\x10" + payload[:12] + b"\0\0"
    if marker == 0xE1 and payload.startswith(_EXIF):
        removed["EXIF"] += 1
        turned = _orientation(payload[len(_EXIF) :])
        return _exif(turned) if turned not in (0, 1) else b""
    removed["comment" if marker == _COM else f"APP{marker - 0xE0}"] += 1
    return b""


def _orientation(tiff: bytes) -> int:
    """The orientation (1 to 8) of EXIF data; 0 if there is none."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 10:
        return 0
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    if start + 2 > len(tiff):
        return 0
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    for number in range(min(count, 500)):
        place = start + 2 + 12 * number
        if place + 12 > len(tiff):
            return 0
        tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, place)
        if tag == 0x0112 and kind == 3:
            return int(value) if 1 <= value <= 8 else 0
    return 0


def _exif(orientation: int) -> bytes:
    tiff = b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    payload = _EXIF + tiff
    return b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload


def _icc(parts: list[bytes], removed: Counter[str]) -> list[bytes]:
    """Segments of a profile whose texts were removed; none if the profile is not sound."""
    if not parts:
        return []
    removed["ICC texts"] += 1
    if any(len(part) < 2 for part in parts):
        return []
    ordered = sorted(parts, key=lambda part: part[0])
    profile = without_texts(b"".join(part[2:] for part in ordered))
    if profile is None:
        return []
    segments, start = [], 0
    for part in ordered:
        payload = _ICC + part[:2] + profile[start : start + len(part) - 2]
        start += len(part) - 2
        segments.append(b"\xff\xe2" + struct.pack(">H", len(payload) + 2) + payload)
    return segments
