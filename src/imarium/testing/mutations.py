"""Ways to damage a file, each decided by a random number generator that the caller seeds."""

from __future__ import annotations

import gzip
import io
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGIC = b"PK\3\4"
_HEAD = 1024
"""Most attacks go for the first bytes, where headers are."""
_UNPACKED = 4 << 20
_NUMBERS: tuple[int, ...] = (
    *(0, 1, 2, 3, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000),
    *(0xFFFFFFF0, 0xFFFFFFFE, 0xFFFFFFFF, 0x100000000, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1),
)
_SMALL_FLOATS = (0.0, -0.0, -1.0, 1e38, -3e38, 1e-45, float("inf"), -float("inf"), float("nan"))
_FLOATS = (*_SMALL_FLOATS, 1e300, -1e308, 5e-324)
_TEXTS = (
    b"0",
    b"-1",
    b"1",
    b"65535",
    b"65536",
    b"2147483647",
    b"4294967296",
    b"9" * 30,
    b"1e308",
    b"nan",
    b"",
)
_DIGITS = re.compile(rb"\d+")


def mutate(content: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """One to four kinds of damage. `others` are whole files of the same format, for splices.

    What gzip or zip packs, or PNG, is damaged inside half of the time, and checksums of PNG chunks are mended
    most of the time: else nothing would get past the first check.
    """
    if content[:4] == _ZIP_MAGIC and rng.random() < 0.5:
        return _with_other_members(content, others, rng)
    if content[:2] == _GZIP_MAGIC and rng.random() < 0.5:
        unpacked = zlib.decompressobj(wbits=31).decompress(content, _UNPACKED)
        return gzip.compress(_damaged(unpacked, others, rng), 1, mtime=0)
    inside = content[:8] == _PNG_MAGIC and rng.random() < 0.5
    if inside:
        content = _with_other_lines(content, others, rng)
    damaged = content if inside and rng.random() < 0.5 else _damaged(content, others, rng)
    if damaged[:8] == _PNG_MAGIC and rng.random() < 0.8:
        damaged = _with_checksums(damaged)
    return damaged


def _damaged(content: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        if not data:
            break
        if rng.random() < 0.1:
            data = _spliced(data, rng.choice(others), rng) if others else data
        else:
            rng.choice(_ATTACKS)(data, rng)
    return bytes(data)


def _place(data: bytearray, rng: random.Random) -> int:
    limit = min(_HEAD, len(data)) if rng.random() < 0.7 else len(data)
    return rng.randrange(limit)


def _flip_bits(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _set_bytes(data: bytearray, rng: random.Random) -> None:
    start = _place(data, rng)
    length = min(rng.choice((1, 2, 4, 8, 64)), len(data) - start)
    data[start : start + length] = bytes([rng.choice((0, 0xFF, rng.randrange(256)))]) * length


def _set_number(data: bytearray, rng: random.Random) -> None:
    """A length, count or offset of any width and byte order, set to something unlikely."""
    width = rng.choice((1, 2, 4, 4, 8))
    start = _place(data, rng)
    start -= start % rng.choice((1, 1, 2, 4))
    number = rng.choice((*_NUMBERS, len(data), len(data) - 1, rng.getrandbits(32))) & ((1 << 8 * width) - 1)
    data[start : start + width] = number.to_bytes(width, rng.choice(("little", "big")))


def _nudge_number(data: bytearray, rng: random.Random) -> None:
    """A 16- or 32-bit number made somewhat larger or smaller."""
    code = rng.choice(("<H", ">H", "<I", ">I"))
    width = struct.calcsize(code)
    start = _place(data, rng)
    if start + width <= len(data):
        (number,) = struct.unpack_from(code, data, start)
        struct.pack_into(code, data, start, (number + rng.randint(-20, 20)) % (1 << 8 * width))


def _set_float(data: bytearray, rng: random.Random) -> None:
    """A 32- or 64-bit float set to what arithmetic stumbles over."""
    code = rng.choice(("<f", ">f", "<d", ">d"))
    width = struct.calcsize(code)
    start = _place(data, rng)
    start -= start % 4
    number = rng.choice(_FLOATS if width == 8 else _SMALL_FLOATS)
    data[start : start + width] = struct.pack(code, number)


def _set_text(data: bytearray, rng: random.Random) -> None:
    """A decimal number in the header set to something unlikely."""
    found = list(_DIGITS.finditer(bytes(data[:4096])))
    if found:
        match = rng.choice(found)
        data[match.start() : match.end()] = rng.choice(_TEXTS)


def _copy_block(data: bytearray, rng: random.Random) -> None:
    """A block over another, or between."""
    start, target = _place(data, rng), _place(data, rng)
    block = data[start : start + rng.choice((4, 16, 100, 1000))]
    data[target : target + (len(block) if rng.random() < 0.5 else 0)] = block


def _remove_block(data: bytearray, rng: random.Random) -> None:
    start = _place(data, rng)
    del data[start : start + rng.choice((1, 2, 4, 16, 100, 1000))]


def _truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _shuffle_block(data: bytearray, rng: random.Random) -> None:
    start = _place(data, rng)
    block = list(data[start : start + 32])
    rng.shuffle(block)
    data[start : start + len(block)] = bytes(block)


_ATTACKS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip_bits,
    _flip_bits,
    _set_bytes,
    _set_number,
    _set_number,
    _nudge_number,
    _set_float,
    _set_text,
    _copy_block,
    _remove_block,
    _truncate,
    _shuffle_block,
)


def _spliced(data: bytearray, other: bytes, rng: random.Random) -> bytearray:
    """The start of one file and the end of another."""
    start = rng.randrange(len(data) + 1)
    return data[:start] + other[min(start, len(other)) if rng.random() < 0.5 else rng.randrange(len(other)) :]


def _with_other_members(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """A zip of which one member is damaged, with the right checksums."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        victim = rng.choice(source.infolist())
        for member in source.infolist():
            content = source.read(member)
            if member is victim:
                content = _damaged(content, others, rng)
            name = zipfile.ZipInfo(member.filename)
            target.writestr(name, content, member.compress_type, 1)
    return out.getvalue()


def _with_other_lines(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """A PNG whose filtered scan lines, not their packed form, are damaged; the checksums are right."""
    before, packed, after, position = data[:8], b"", b"", 8
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] == b"IDAT":
            packed += data[position + 8 : end - 4]
        elif packed:
            after += data[position:end]
        else:
            before += data[position:end]
        position = end
    lines = zlib.decompressobj().decompress(packed, _UNPACKED)
    body = b"IDAT" + zlib.compress(_damaged(lines, others, rng), 1)
    return before + (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big") + after


def _with_checksums(data: bytes) -> bytes:
    """A PNG with right CRCs, as far as its chunks' lengths can be followed."""
    out, position = [data[:8]], 8
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        end = position + 8 + length
        if end + 4 > len(data):
            break
        out += [data[position:end], zlib.crc32(data[position + 4 : end]).to_bytes(4, "big")]
        position = end + 4
    return b"".join(out) + data[position:]
