"""PNG: exact against Pillow and against pixels made here."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from PIL import Image

from imarium.archive import Archive
from imarium.errors import CorruptFileError, LimitExceededError
from imarium.formats.base import ReadContext, Refusal
from imarium.formats.raster import PngReader, PngWriter
from imarium.formats.raster.png import CHUNKS
from imarium.formats.rendering import render_8bit
from imarium.model import Rendition, Series, SourceSeries
from imarium.settings import Limits
from imarium.testing.png_files import MAGIC, make_chunk, make_png, saved

Read: TypeAlias = Callable[[bytes | Path], tuple[Series, np.ndarray[Any, Any]]]
One: TypeAlias = Callable[[bytes | Path], SourceSeries | Refusal]


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_depths_and_colours_go_round(dtype: str, samples: int, tmp_path: Path, read: Read) -> None:
    shape = (13, 9) if samples == 1 else (13, 9, samples)
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
    # Made here, without the library that reads it.
    big_endian = pixels.astype(pixels.dtype.newbyteorder(">"))
    lines = b"".join(b"\0" + row.tobytes() for row in big_endian)
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[samples]
    content = make_png(9, 13, 8 * pixels.itemsize, colour, lines)
    series, frame = read(content)
    assert np.array_equal(frame, pixels)
    assert (series.samples, series.bits_stored) == (samples, 8 * pixels.itemsize)
    assert series.photometric == ("RGB" if samples > 2 else "MONOCHROME2")
    out = tmp_path / "out.png"
    PngWriter().write(Rendition(series, series, [frame], {}), out)
    again, same = read(out)
    assert np.array_equal(same, pixels)
    assert again.bits_stored == series.bits_stored


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_shallow_grey_equals_pillow(depth: int, read: Read) -> None:
    values = np.random.default_rng(depth).integers(0, 256, (7, -(-11 * depth // 8)), dtype=np.uint8)
    content = make_png(11, 7, depth, 0, b"".join(b"\0" + row.tobytes() for row in values))
    series, frame = read(content)
    assert np.array_equal(frame, np.asarray(Image.open(io.BytesIO(content)).convert("L")))
    assert set(np.unique(frame)) <= {value * 255 // (2**depth - 1) for value in range(2**depth)}
    assert (series.bits_stored, series.label_map) == (depth, depth == 1)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("grey", [False, True])
def test_palettes_equal_pillow(depth: int, transparent: bool, grey: bool, tmp_path: Path, read: Read) -> None:
    rng = np.random.default_rng(depth)
    colours = rng.integers(0, 256, (2**depth, 3), dtype=np.uint8)
    if grey:
        colours[:] = colours[:, :1]
    extra = [make_chunk(b"PLTE", colours.tobytes())]
    if transparent:
        extra.append(make_chunk(b"tRNS", bytes([0, 128])))
    values = rng.integers(0, 256, (7, -(-11 * depth // 8)), dtype=np.uint8)
    content = make_png(11, 7, depth, 3, b"".join(b"\0" + row.tobytes() for row in values), *extra)
    series, frame = read(content)
    image = Image.open(io.BytesIO(content))
    if transparent:
        assert np.array_equal(frame, np.asarray(image.convert("RGBA")))
        assert (series.samples, series.palette, series.bits_stored) == (4, None, 8)
        return
    assert np.array_equal(frame, np.asarray(image))
    assert (series.photometric, series.label_map, series.samples) == ("PALETTE COLOR", True, 1)
    assert (series.bits_stored, series.notes) == (depth, ())
    assert series.palette == tuple(map(tuple, colours.tolist()))
    assert np.array_equal(render_8bit(frame, series), np.asarray(image.convert("RGB")))
    for full in (False, True):
        out = tmp_path / "out.png"
        PngWriter(full=full).write(Rendition(series, series, [frame], {}), out)
        assert np.array_equal(np.asarray(Image.open(out).convert("RGB")), np.asarray(image.convert("RGB")))
        again, same = read(out)
        assert np.array_equal(same, frame)
        assert (again.palette, again.bits_stored) == (series.palette, series.bits_stored)


@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_short_palettes_whose_colours_are_all_opaque(depth: int, interlace: bool, read: Read) -> None:
    """tRNS that hides nothing is no transparency; indices beyond the palette stay what they are."""
    extra = [make_chunk(b"PLTE", bytes(range(6))), make_chunk(b"tRNS", b"\xff\xff")]
    lines = b"\0\xc0" if interlace else b"\0\xc0\0\x00"
    content = make_png(1, 1 if interlace else 2, depth, 3, lines, *extra, interlace=int(interlace))
    series, frame = read(content)
    assert frame[0, 0] == 0xC0 >> 8 - depth
    assert series.palette == ((0, 1, 2), (3, 4, 5))


def test_chunks_are_kept(one: One) -> None:
    extra = [
        make_chunk(b"gAMA", struct.pack(">I", 45455)),
        make_chunk(b"pHYs", struct.pack(">IIB", 3000, 3000, 1)),
        make_chunk(b"tEXt", b"Author\0Jane Doe"),
        make_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 100)),
        make_chunk(b"iTXt", b"Title\0\0\0\0\0heart"),
        make_chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(100))),
        make_chunk(b"tRNS", struct.pack(">H", 7)),
    ]
    found = one(make_png(1, 1, 8, 0, b"\0\5", *extra, make_chunk(b"prIv", b"x")))
    assert isinstance(found, SourceSeries)
    assert found.attachments == {CHUNKS: b"".join(extra)}
    found = one(make_png(1, 1, 8, 0, b"\0\5"))
    assert isinstance(found, SourceSeries)
    assert found.attachments == {}


def test_kept_chunks_are_bounded(one: One) -> None:
    small, large = (make_chunk(b"tEXt", b"a\0" + bytes(size)) for size in (500_000, 2_000_000))
    found = one(make_png(1, 1, 8, 0, b"\0\5", large, *[small] * 20))
    assert isinstance(found, SourceSeries)
    assert found.attachments[CHUNKS] == small * 8
    assert found.series.notes == ("PNG: chunks that are too long are left out",)


def test_palettes_through_the_archive(archive: Archive, tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(0, 7, (64, 70)).astype(np.uint8)
    image = Image.fromarray(values, "P")
    image.putpalette(np.random.default_rng(3).integers(0, 256, 21).astype(np.uint8).tobytes())
    source = tmp_path / "source.png"
    source.write_bytes(saved(image))
    (outcome,) = archive.ingest.run([source], collection="main")
    assert outcome.series is not None, outcome
    for level in (0, 1):
        archive.streaming.export(outcome.series, "png", tmp_path / "out.png", level=level)
        step = 1 << level
        expected = np.asarray(image.convert("RGB"))[::step, ::step]
        assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png").convert("RGB")), expected)
    archive.streaming.export(outcome.series, "npy", tmp_path / "out.npy")
    assert np.array_equal(np.load(tmp_path / "out.npy")[0], values)


def test_interlaced_and_chunks_that_hold_no_pixels(read: Read) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (1, 1), dtype=np.uint8)
    lines = b"\0" + pixels.tobytes()
    extra = [
        make_chunk(b"gAMA", struct.pack(">I", 100000)),
        make_chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(1 << 20))),
        make_chunk(b"tEXt", b"Author\0Jane Doe"),
        make_chunk(b"tRNS", struct.pack(">H", 7)),
        make_chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0"),
    ]
    content = make_png(1, 1, 8, 0, lines, *extra, interlace=1) + b"more"
    series, frame = read(content)
    assert np.array_equal(frame, pixels)
    assert "Doe" not in str(series)
    text = " ".join(series.notes)
    for words in ("profile", "transparent", "orientation 6 is not applied", "4 bytes after the end"):
        assert words in text


def test_pixels_that_end_early_are_refused(one: One) -> None:
    short = make_png(50, 50, 8, 0, bytes(51 * 49))
    broken = MAGIC + short[8:33] + make_chunk(b"IDAT", b"x" * 200) + make_chunk(b"IEND", b"")
    for content in (short, broken):
        found = one(content)
        assert isinstance(found, SourceSeries)
        with pytest.raises(CorruptFileError, match="PNG data"):
            list(found.read_frames())


def test_a_file_larger_than_its_pixels(tmp_path: Path) -> None:
    content = make_png(5, 5, 8, 0, bytes(30), make_chunk(b"tEXt", bytes(5000)))
    (tmp_path / "picture").write_bytes(content)
    context = ReadContext(Limits(header_bytes=1000), tmp_path)
    (found,) = PngReader().read([tmp_path / "picture"], context)
    assert isinstance(found, Refusal)
    assert isinstance(found.error, LimitExceededError)


@pytest.mark.parametrize("kind", [b"Jane", b"\x1b[2J"])
def test_reasons_quote_nothing_of_the_file(kind: bytes, one: One) -> None:
    body = struct.pack(">IIBBBBB", 5, 4, 8, 0, 0, 0, 0)
    chunks = [make_chunk(b"IHDR", body), make_chunk(kind, b"x")[:-1] + b"?"]
    for content in (MAGIC + b"".join(chunks), MAGIC + chunks[0] + struct.pack(">I", 1 << 20) + kind):
        found = one(content + bytes(50))
        assert isinstance(found, Refusal)
        assert "unknown chunk" in str(found.error)


def test_decoders_are_not_quoted(one: One) -> None:
    body = struct.pack(">IIBBBBB", 5, 4, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", body), (b"IDAT", b"no deflate"), (b"IEND", b""))
    content = MAGIC + b"".join(make_chunk(kind, data) for kind, data in chunks)
    found = one(content)
    assert isinstance(found, SourceSeries)
    with pytest.raises(CorruptFileError) as caught:
        list(found.read_frames())
    assert str(caught.value) == "the PNG data are damaged: they cannot be unpacked"
