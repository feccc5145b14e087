"""PNG's pixel data: refused here exactly where libpng would fail, which costs memory."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imarium.errors import CorruptFileError
from imarium.formats.base import ReadContext
from imarium.formats.raster import PngReader
from imarium.formats.scanlines import _images, check_scan_lines
from imarium.model import SourceSeries
from imarium.settings import Limits
from imarium.testing.png_files import MAGIC, make_chunk

KINDS = [(0, depth) for depth in (1, 2, 4, 8, 16)] + [
    (colour, depth) for colour in (2, 4, 6) for depth in (8, 16)
]
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}


def _png(
    columns: int, rows: int, colour: int, depth: int, interlace: int, packed: bytes, cut: int = 0
) -> bytes:
    """A PNG with its data in two IDAT chunks."""
    header = make_chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, depth, colour, 0, 0, interlace))
    data = make_chunk(b"IDAT", packed[:cut]) + make_chunk(b"IDAT", packed[cut:])
    return MAGIC + header + data + make_chunk(b"IEND", b"")


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(KINDS),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_what_is_expected_is_what_libpng_reads(rows, columns, kind, interlaced, rng) -> None:
    """Neither a byte more nor a byte less, for every kind of pixel and both orders of lines."""
    colour, depth = kind
    bits = depth * CHANNELS[colour]
    lines = b"".join(
        bytes([rng.randrange(5)]) + rng.randbytes(size - 1)
        for count, size in _images(rows, columns, bits, interlaced)
        for _ in range(count)
    )
    packed = zlib.compress(lines)
    check_scan_lines([packed[:7], packed[7:]], rows, columns, bits, interlaced=interlaced)
    decoded = imagecodecs.png_decode(_png(columns, rows, colour, depth, interlaced, packed, 7))
    assert decoded.shape[:2] == (rows, columns)

    short = zlib.compress(lines[:-1])
    with pytest.raises(CorruptFileError, match="truncated"):
        check_scan_lines([short], rows, columns, bits, interlaced=interlaced)
    with pytest.raises(imagecodecs.PngError):
        imagecodecs.png_decode(_png(columns, rows, colour, depth, interlaced, short))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.booleans(), st.integers(0, 10_000), st.integers(5, 255))
def test_every_line_is_looked_at(rows, columns, interlaced, number, filter_type) -> None:
    lines = [bytes(size) for count, size in _images(rows, columns, 8, interlaced) for _ in range(count)]
    number %= len(lines)
    lines[number] = bytes([filter_type]) + lines[number][1:]
    with pytest.raises(CorruptFileError, match=f"filter type {filter_type}"):
        check_scan_lines([zlib.compress(b"".join(lines))], rows, columns, 8, interlaced=interlaced)


def test_lines_of_images_that_come_in_many_pieces() -> None:
    lines = np.random.default_rng(0).integers(0, 256, (700, 1501), dtype=np.uint8)
    lines[:, 0] = 4
    check_scan_lines([zlib.compress(lines.tobytes(), 1)], 700, 1500, 8, interlaced=False)
    lines[699, 0] = 5
    with pytest.raises(CorruptFileError, match="filter type 5"):
        check_scan_lines([zlib.compress(lines.tobytes(), 1)], 700, 1500, 8, interlaced=False)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda packed: packed[:-1] + bytes([packed[-1] ^ 1]), "cannot be unpacked"),
        (lambda packed: packed[:-4], "end before their checksum"),
        (lambda packed: packed[: len(packed) // 2] + b"\xff" * 9, "PNG data"),
        (lambda packed: b"", "end before"),
        (lambda packed: zlib.compress(zlib.decompress(packed) + bytes(1 << 17)), "more than the 110 bytes"),
        (lambda packed: zlib.compress(bytes(1 << 30), 1), "more than the 110 bytes"),
    ],
)
def test_damaged_data(damage: Callable[[bytes], bytes], words: str) -> None:
    packed = zlib.compress(b"".join(b"\0" + bytes(range(10)) for _ in range(10)), 1)
    check_scan_lines([packed], 10, 10, 8, interlaced=False)
    with pytest.raises(CorruptFileError, match=words):
        check_scan_lines([damage(packed)], 10, 10, 8, interlaced=False)


def test_a_few_bytes_after_the_last_line_are_let_pass() -> None:
    check_scan_lines([zlib.compress(bytes(110 + 9)) + b"more"], 10, 10, 8, interlaced=False)


@pytest.mark.parametrize("damage", ["filter", "short", "deflate"])
def test_damaged_files_leave_no_memory_behind(damage: str, tmp_path: Path) -> None:
    """Twenty of 12 MB each: libpng's long jump would lose all of them."""
    lines = bytearray(b"".join(bytes(1 + 3 * 2000) for _ in range(2000)))
    if damage == "filter":
        lines[-6001] = 9
    packed = zlib.compress(lines[:-1] if damage == "short" else lines, 1)
    if damage == "deflate":
        packed = packed[:-20] + b"\xff" * 20
    path = tmp_path / "damaged.png"
    path.write_bytes(_png(2000, 2000, 2, 8, 0, packed))
    (source,) = PngReader().read([path], ReadContext(Limits(), tmp_path))
    assert isinstance(source, SourceSeries)
    sizes = []
    for _ in range(20):
        with pytest.raises(CorruptFileError):
            list(source.read_frames())
        sizes.append(_address_space())
    assert sizes[-1] - sizes[0] < 24_000_000


def _address_space() -> int:
    (line,) = [
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmSize")
    ]
    return int(line.split()[1]) * 1024
