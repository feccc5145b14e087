"""Pictures: exact against Pillow and against known pixels, bad files refused before memory is taken."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from imarium.archive import Archive
from imarium.errors import (
    CorruptFileError,
    ExportRefusedError,
    ImariumError,
    InvalidRequestError,
    LimitExceededError,
    RefusedFileError,
    UnsupportedFileError,
)
from imarium.formats import raster
from imarium.formats.base import ReadContext, Refusal
from imarium.formats.raster import JpegReader, PngReader, PngWriter
from imarium.model import Rendition, Series, SourceSeries
from imarium.settings import Limits

DATA = Path(os.environ.get("IMARIUM_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
COVID = sorted(
    path for path in DATA.glob("covid-ct/**/*") if path.suffix.lower() in (".png", ".jpg", ".jpeg")
)
REAL = sorted(DATA.glob("busi/*/*.png")) + COVID[::40]
MAGIC = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def context(tmp_path: Path) -> ReadContext:
    return ReadContext(Limits(), tmp_path)


def _reader(content: bytes) -> PngReader | JpegReader:
    readers = [
        reader for reader in (PngReader(), JpegReader()) if reader.recognises(Path("x"), content[:4096])
    ]
    assert len(readers) == 1
    return readers[0]


def _one(path: Path, context: ReadContext) -> SourceSeries | Refusal:
    content = path.read_bytes()
    reader = PngReader() if content[:1] == MAGIC[:1] else JpegReader()
    (found,) = reader.read([path], context)
    return found


def _read(path: Path, context: ReadContext) -> tuple[Series, np.ndarray[Any, Any]]:
    found = _one(path, context)
    assert isinstance(found, SourceSeries), found
    (frame,) = found.read_frames()
    assert frame.shape == found.series.frame_shape
    assert frame.dtype.name == found.series.dtype
    assert frame.flags.c_contiguous
    return found.series, frame


def _file(tmp_path: Path, content: bytes, name: str = "picture") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(
    columns: int,
    rows: int,
    depth: int,
    colour: int,
    lines: bytes,
    *extra: bytes,
    interlace: int = 0,
    end: bytes | None = None,
) -> bytes:
    """A PNG from scratch; `lines` are the filtered scan lines."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, depth, colour, 0, 0, interlace))
    data = _chunk(b"IDAT", zlib.compress(lines))
    return MAGIC + header + b"".join(extra) + data + (_chunk(b"IEND", b"") if end is None else end)


def _saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def test_real_data_are_there() -> None:
    if not REAL:
        pytest.skip(f"NO REAL DATA: set IMARIUM_TEST_DATA, nothing found in {DATA}")
    assert len(REAL) > 25


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name[:30])
def test_real_pictures_equal_pillow(path: Path, context: ReadContext, tmp_path: Path) -> None:
    assert _reader(path.read_bytes()).name in ("png", "jpeg")
    series, frame = _read(path, context)
    with Image.open(path) as image:
        mode = "L" if image.mode == "1" else image.mode
        assert series.format == (image.format or "").lower()
        assert series.label_map == (image.mode == "1")
        assert np.array_equal(frame, np.asarray(image.convert(mode)))
    assert (series.modality, series.affine, series.frames) == (None, None, 1)
    assert any("lossy" in note for note in series.notes) == (series.format == "jpeg")
    out = tmp_path / "out.png"
    assert PngWriter().write(Rendition(series, series, [frame], {}), out) == [out]
    assert np.array_equal(_read(out, context)[1], frame)


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_depths_and_colours_go_round(dtype: str, samples: int, context: ReadContext, tmp_path: Path) -> None:
    shape = (13, 9) if samples == 1 else (13, 9, samples)
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
    # Made here, without the library that reads it.
    big_endian = pixels.astype(pixels.dtype.newbyteorder(">"))
    lines = b"".join(b"\0" + row.tobytes() for row in big_endian)
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[samples]
    content = _png(9, 13, 8 * pixels.itemsize, colour, lines)
    series, frame = _read(_file(tmp_path, content), context)
    assert np.array_equal(frame, pixels)
    assert (series.samples, series.bits_stored) == (samples, 8 * pixels.itemsize)
    assert series.photometric == ("RGB" if samples > 2 else "MONOCHROME2")
    out = tmp_path / "out.png"
    PngWriter().write(Rendition(series, series, [frame], {}), out)
    again, same = _read(out, context)
    assert np.array_equal(same, pixels)
    assert again.bits_stored == series.bits_stored


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_shallow_grey_equals_pillow(depth: int, context: ReadContext, tmp_path: Path) -> None:
    values = np.random.default_rng(depth).integers(0, 256, (7, -(-11 * depth // 8)), dtype=np.uint8)
    content = _png(11, 7, depth, 0, b"".join(b"\0" + row.tobytes() for row in values))
    series, frame = _read(_file(tmp_path, content), context)
    assert np.array_equal(frame, np.asarray(Image.open(io.BytesIO(content)).convert("L")))
    assert set(np.unique(frame)) <= {value * 255 // (2**depth - 1) for value in range(2**depth)}
    assert (series.bits_stored, series.label_map) == (depth, depth == 1)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("grey", [False, True])
def test_palettes_equal_pillow(
    depth: int, transparent: bool, grey: bool, context: ReadContext, tmp_path: Path
) -> None:
    rng = np.random.default_rng(depth)
    colours = rng.integers(0, 256, (2**depth, 3), dtype=np.uint8)
    if grey:
        colours[:] = colours[:, :1]
    extra = [_chunk(b"PLTE", colours.tobytes())]
    if transparent:
        extra.append(_chunk(b"tRNS", bytes([0, 128])))
    values = rng.integers(0, 256, (7, -(-11 * depth // 8)), dtype=np.uint8)
    content = _png(11, 7, depth, 3, b"".join(b"\0" + row.tobytes() for row in values), *extra)
    series, frame = _read(_file(tmp_path, content), context)
    image = Image.open(io.BytesIO(content))
    if transparent:
        assert np.array_equal(frame, np.asarray(image.convert("RGBA")))
        assert (series.samples, series.palette, series.bits_stored) == (4, None, 8)
        return
    assert np.array_equal(frame, np.asarray(image))
    assert (series.photometric, series.label_map, series.samples) == ("PALETTE COLOR", True, 1)
    assert (series.bits_stored, series.notes) == (depth, ())
    assert series.palette == tuple(map(tuple, colours.tolist()))
    assert np.array_equal(raster.render_8bit(frame, series), np.asarray(image.convert("RGB")))
    for full in (False, True):
        out = tmp_path / "out.png"
        PngWriter(full=full).write(Rendition(series, series, [frame], {}), out)
        assert np.array_equal(np.asarray(Image.open(out).convert("RGB")), np.asarray(image.convert("RGB")))
        again, same = _read(out, context)
        assert np.array_equal(same, frame)
        assert (again.palette, again.bits_stored) == (series.palette, series.bits_stored)


@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_short_palettes_whose_colours_are_all_opaque(
    depth: int, interlace: bool, context: ReadContext, tmp_path: Path
) -> None:
    """tRNS that hides nothing is no transparency; indices beyond the palette stay what they are."""
    extra = [_chunk(b"PLTE", bytes(range(6))), _chunk(b"tRNS", b"\xff\xff")]
    lines = b"\0\xc0" if interlace else b"\0\xc0\0\x00"
    content = _png(1, 1 if interlace else 2, depth, 3, lines, *extra, interlace=int(interlace))
    series, frame = _read(_file(tmp_path, content), context)
    assert frame[0, 0] == 0xC0 >> 8 - depth
    assert series.palette == ((0, 1, 2), (3, 4, 5))


def test_chunks_are_kept(context: ReadContext, tmp_path: Path) -> None:
    extra = [
        _chunk(b"gAMA", struct.pack(">I", 45455)),
        _chunk(b"pHYs", struct.pack(">IIB", 3000, 3000, 1)),
        _chunk(b"tEXt", b"Author\0Jane Doe"),
        _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 100)),
        _chunk(b"iTXt", b"Title\0\0\0\0\0heart"),
        _chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(100))),
        _chunk(b"tRNS", struct.pack(">H", 7)),
    ]
    found = _one(_file(tmp_path, _png(1, 1, 8, 0, b"\0\5", *extra, _chunk(b"prIv", b"x"))), context)
    assert isinstance(found, SourceSeries)
    assert found.attachments == {raster.CHUNKS: b"".join(extra)}
    found = _one(_file(tmp_path, _png(1, 1, 8, 0, b"\0\5")), context)
    assert isinstance(found, SourceSeries)
    assert found.attachments == {}


def test_kept_chunks_are_bounded(context: ReadContext, tmp_path: Path) -> None:
    small, large = _chunk(b"tEXt", b"a\0" + bytes(500_000)), _chunk(b"tEXt", b"a\0" + bytes(2_000_000))
    found = _one(_file(tmp_path, _png(1, 1, 8, 0, b"\0\5", large, *[small] * 20)), context)
    assert isinstance(found, SourceSeries)
    assert found.attachments[raster.CHUNKS] == small * 8
    assert found.series.notes == ("PNG: chunks that are too long are left out",)


def test_segments_are_kept(context: ReadContext, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a heart"
    content = _saved(
        Image.new("L", (20, 10)), "JPEG", exif=exif, comment=b"Jane Doe", icc_profile=b"profile" * 20000
    )
    found = _one(_file(tmp_path, content), context)
    assert isinstance(found, SourceSeries)
    kept = found.attachments[raster.SEGMENTS]
    for words in (b"JFIF", b"a heart", b"Jane Doe", b"profileprofile", b"\xff\xfe\0\x0aJane"):
        assert words in kept
    assert kept in content
    assert "JPEG: a colour profile is in the file; values are kept as stored" in found.series.notes
    assert "Doe" not in str(found.series)


def test_palettes_through_the_archive(archive: Archive, tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(0, 7, (64, 70)).astype(np.uint8)
    image = Image.fromarray(values, "P")
    image.putpalette(np.random.default_rng(3).integers(0, 256, 21).astype(np.uint8).tobytes())
    source = _file(tmp_path, _saved(image), "source.png")
    (outcome,) = archive.ingest.run([source], collection="main")
    assert outcome.series is not None, outcome
    for level in (0, 1):
        archive.streaming.export(outcome.series, "png", tmp_path / "out.png", level=level)
        step = 1 << level
        expected = np.asarray(image.convert("RGB"))[::step, ::step]
        assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png").convert("RGB")), expected)
    archive.streaming.export(outcome.series, "npy", tmp_path / "out.npy")
    assert np.array_equal(np.load(tmp_path / "out.npy")[0], values)


def test_interlaced_and_chunks_that_hold_no_pixels(context: ReadContext, tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (1, 1), dtype=np.uint8)
    lines = b"\0" + pixels.tobytes()
    extra = [
        _chunk(b"gAMA", struct.pack(">I", 100000)),
        _chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(1 << 20))),
        _chunk(b"tEXt", b"Author\0Jane Doe"),
        _chunk(b"tRNS", struct.pack(">H", 7)),
        _chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0"),
    ]
    content = _png(1, 1, 8, 0, lines, *extra, interlace=1) + b"more"
    series, frame = _read(_file(tmp_path, content), context)
    assert np.array_equal(frame, pixels)
    assert "Doe" not in str(series)
    text = " ".join(series.notes)
    for words in ("profile", "transparent", "orientation 6 is not applied", "4 bytes after the end"):
        assert words in text


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_equals_pillow(mode: str, options: dict[str, Any], context: ReadContext, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (37, 41, 3), dtype=np.uint8)).convert(mode)
    content = _saved(image, "JPEG", **options)
    series, frame = _read(_file(tmp_path, content), context)
    assert np.array_equal(frame, np.asarray(Image.open(io.BytesIO(content))))
    assert series.notes == ("JPEG: lossy before it came here",)
    assert series.photometric == ("RGB" if mode == "RGB" else "MONOCHROME2")


def test_jpeg_fill_bytes_are_skipped(context: ReadContext, tmp_path: Path) -> None:
    content = _saved(Image.new("L", (20, 10), 77), "JPEG")
    series, frame = _read(_file(tmp_path, content[:2] + b"\xff" * 9 + content[2:]), context)
    assert series.shape == (1, 10, 20)
    assert frame.min() == frame.max()


def test_jpeg_orientation_is_noted_not_applied(context: ReadContext, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = _saved(Image.new("L", (20, 10)), "JPEG", exif=exif) + b"trailing"
    series, frame = _read(_file(tmp_path, content), context)
    assert frame.shape == (10, 20)
    assert series.notes[1:] == (
        "EXIF orientation 6 is not applied",
        "8 bytes after the end of the JPEG are left out",
    )


def test_uid_is_of_the_content(context: ReadContext, tmp_path: Path) -> None:
    content = _saved(Image.new("L", (20, 10)))
    one, _ = _read(_file(tmp_path, content, "a"), context)
    other, _ = _read(_file(tmp_path, content, "b"), context)
    assert one == other
    assert one.uid.startswith("2.25.")
    assert one.study_uid != one.uid


def _bad() -> Iterator[tuple[str, bytes, type[ImariumError], str]]:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60), dtype=np.uint8))
    png, jpeg = _saved(noise), _saved(noise, "JPEG")
    yield "png cut", png[: len(png) // 2], CorruptFileError, "truncated"
    yield "png without end", png[:-12], CorruptFileError, "truncated"
    yield "png magic only", png[:8], CorruptFileError, "truncated"
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 1
    yield "png bit flipped", bytes(flipped), CorruptFileError, "checksum"
    yield "png no pixels", MAGIC + png[8:33] + _chunk(b"IEND", b""), CorruptFileError, "no IDAT"
    yield "png of 100,000", _png(100_000, 100_000, 16, 6, b""), LimitExceededError, "100000 x 100000"
    yield "png of 2**31", _png(2**31, 2**31, 8, 0, b""), LimitExceededError, "frame_pixels"
    yield "png of nothing", _png(0, 5, 8, 0, b""), CorruptFileError, "0 x 5"
    yield "png empty promise", _png(16000, 16000, 8, 0, b""), CorruptFileError, "cannot hold"
    yield "png odd depth", _png(5, 5, 3, 0, bytes(100)), CorruptFileError, "3 bits"
    yield "png odd colour", _png(5, 5, 8, 5, bytes(100)), CorruptFileError, "colour type 5"
    yield "png no palette", _png(5, 5, 8, 3, bytes(30)), CorruptFileError, "PLTE"
    yield "png bad palette", _png(5, 5, 8, 3, bytes(30), _chunk(b"PLTE", bytes(4))), CorruptFileError, "PLTE"
    yield "png animated", _png(5, 5, 8, 0, bytes(30), _chunk(b"acTL", bytes(8))), UnsupportedFileError, "anim"
    yield "jpeg cut", jpeg[: len(jpeg) // 2], CorruptFileError, "truncated"
    yield "jpeg without end", jpeg[:-2], CorruptFileError, "truncated"
    yield "jpeg start only", jpeg[:3], CorruptFileError, "truncated"
    frame = jpeg.index(b"\xff\xc0")
    huge = jpeg[: frame + 5] + b"\xff\xff\xff\xff" + jpeg[frame + 9 :]
    yield "jpeg of 65,535", huge, LimitExceededError, "65535 x 65535"
    promise = jpeg[: frame + 5] + b"\x3f\xff\x3f\xff" + jpeg[frame + 9 :]
    yield "jpeg empty promise", promise, CorruptFileError, "cannot hold"
    yield "jpeg 12 bits", jpeg[: frame + 4] + b"\x0c" + jpeg[frame + 5 :], UnsupportedFileError, "12 bits"
    yield "jpeg lossless", jpeg.replace(b"\xff\xc0", b"\xff\xc3", 1), UnsupportedFileError, "lossless"
    yield "jpeg arithmetic", jpeg.replace(b"\xff\xc0", b"\xff\xc9", 1), UnsupportedFileError, "arithmetic"
    no_height = jpeg[: frame + 5] + b"\0\0" + jpeg[frame + 7 :]
    yield "jpeg without height", no_height, UnsupportedFileError, "height"
    yield "jpeg cmyk", _saved(noise.convert("CMYK"), "JPEG"), UnsupportedFileError, "CMYK"
    scan = jpeg.index(b"\xff\xda")
    scans = jpeg[:-2] + jpeg[scan:-2] * 300 + b"\xff\xd9"
    yield "jpeg of many scans", scans, LimitExceededError, "scans"
    yield "jpeg fill bytes", jpeg[:2] + b"\xff" * 100000, CorruptFileError, "truncated"
    restart = jpeg[:2] + b"\xff\xd0\0\2" + jpeg[2:]
    yield "jpeg restart outside a scan", restart, CorruptFileError, "damaged"
    yield "jpeg marker lost", jpeg[:2] + b"\xff\xe0\0\2" + b"xx" + jpeg[2:], CorruptFileError, "marker"


BAD = {name: rest for name, *rest in _bad()}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_without_memory(name: str, context: ReadContext, tmp_path: Path) -> None:
    content, kind, words = BAD[name]
    path = _file(tmp_path, content)
    tracemalloc.start()
    found = _one(path, context)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(found, Refusal), found
    assert type(found.error) is kind
    assert words in str(found.error)
    assert peak < 8 << 20


def test_files_of_endless_parts_are_refused(
    context: ReadContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raster, "_PARTS", 100)
    png, jpeg = (_saved(Image.new("L", (20, 10)), kind) for kind in ("PNG", "JPEG"))
    for content, word in (
        (png[:33] + _chunk(b"teXt", b"") * 100 + png[33:], "chunks"),
        (jpeg[:2] + b"\xff\xfe\0\2" * 100 + jpeg[2:], "segments"),
    ):
        found = _one(_file(tmp_path, content), context)
        assert isinstance(found, Refusal)
        assert isinstance(found.error, LimitExceededError)
        assert word in str(found.error)


def test_pixels_that_end_early_are_refused(context: ReadContext, tmp_path: Path) -> None:
    short = _png(50, 50, 8, 0, bytes(51 * 49))
    broken = MAGIC + short[8:33] + _chunk(b"IDAT", b"x" * 200) + _chunk(b"IEND", b"")
    for content in (short, broken):
        found = _one(_file(tmp_path, content), context)
        assert isinstance(found, SourceSeries)
        with pytest.raises(CorruptFileError, match="PNG data"):
            list(found.read_frames())


def test_files_that_go_away(context: ReadContext, tmp_path: Path) -> None:
    path = _file(tmp_path, _saved(Image.new("L", (20, 10))))
    found = _one(path, context)
    assert isinstance(found, SourceSeries)
    path.write_bytes(_saved(Image.new("L", (20, 11))))
    with pytest.raises(CorruptFileError, match="changed"):
        list(found.read_frames())
    path.unlink()
    with pytest.raises(CorruptFileError, match="vanished"):
        list(found.read_frames())
    (gone,) = PngReader().read([path], context)
    assert isinstance(gone, Refusal)
    assert type(gone.error) is RefusedFileError
    (empty,) = PngReader().read([_file(tmp_path, b"")], context)
    assert isinstance(empty, Refusal)
    assert "empty" in str(empty.error)


def test_a_file_larger_than_its_pixels(tmp_path: Path) -> None:
    content = _png(5, 5, 8, 0, bytes(30), _chunk(b"tEXt", bytes(5000)))
    found = _one(_file(tmp_path, content), ReadContext(Limits(header_bytes=1000), tmp_path))
    assert isinstance(found, Refusal)
    assert isinstance(found.error, LimitExceededError)


def _seeds() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    seeds = [_saved(image.convert(mode)) for mode in ("1", "L", "P", "RGBA")]
    seeds.append(bytes(imagecodecs.png_encode(pixels.astype(np.uint16) * 257)))
    return [*seeds, _saved(image, "JPEG"), _saved(image.convert("L"), "JPEG", progressive=True)]


SEEDS = _seeds()


def _repaired(content: bytes) -> bytes:
    """Correct CRCs, so that mutations get past them."""
    out, position = bytearray(content[:8]), 8
    while position + 12 <= len(content):
        (length,) = struct.unpack(">I", content[position : position + 4])
        if position + 12 + length > len(content):
            break
        out += _chunk(
            bytes(content[position + 4 : position + 8]), content[position + 8 : position + 8 + length]
        )
        position += 12 + length
    return bytes(out + content[position:])


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, len(SEEDS) - 1),
    edits=st.lists(st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=4)), max_size=4),
    cut=st.integers(0, 3000),
    repair=st.booleans(),
)
def test_mutated_bytes_never_escape(
    seed: int, edits: list[tuple[int, bytes]], cut: int, repair: bool, tmp_path: Path
) -> None:
    content = bytearray(SEEDS[seed])
    for position, piece in edits:
        at = position % len(content)
        content[at : at + len(piece)] = piece
    if cut < 500:
        del content[len(content) - cut :]
    data = _repaired(bytes(content)) if repair and content[:1] == MAGIC[:1] else bytes(content)
    limits = Limits(frame_pixels=1 << 20, header_bytes=1 << 16)
    for reader in (PngReader(), JpegReader()):
        reader.recognises(Path("x"), data[:4096])
        (found,) = reader.read([_file(tmp_path, data)], ReadContext(limits, tmp_path))
        if isinstance(found, SourceSeries):
            try:
                (frame,) = found.read_frames()
            except ImariumError:
                continue
            assert frame.shape == found.series.frame_shape
        else:
            assert isinstance(found.error, ImariumError)


# Writing


def _series(**changes: Any) -> Series:
    values: dict[str, Any] = {
        "uid": "2.25.1",
        "study_uid": "2.25.2",
        "format": "dicom",
        "frames": 3,
        "rows": 4,
        "columns": 5,
        "dtype": "int16",
    }
    return Series(**(values | changes))


def _frames(series: Series, top: int = 100) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(1)
    low = 0 if np.dtype(series.dtype).kind == "u" else -top
    return [rng.integers(low, top, series.frame_shape).astype(series.dtype) for _ in range(series.frames)]


def test_rendered_frames_go_to_a_folder(tmp_path: Path) -> None:
    series = _series(rescale_intercept=-50.0)
    frames = _frames(series)
    for window in (None, (0.0, 50.0)):
        out = tmp_path / f"{window}"
        paths = PngWriter(window).write(Rendition(series, series, frames, {}), out)
        assert [path.name for path in paths] == ["00001.png", "00002.png", "00003.png"]
        used = window or raster.default_window(frames, series)
        for path, frame in zip(paths, frames, strict=True):
            expected = raster.render_8bit(frame, series, used)
            assert np.array_equal(np.asarray(Image.open(path)), expected)
        assert sorted(out.iterdir()) == paths


def test_the_series_window_is_used(tmp_path: Path) -> None:
    series = _series(frames=1, window_center=10.0, window_width=40.0)
    frames = _frames(series)
    out = tmp_path / "a.png"
    assert PngWriter().write(Rendition(series, series, frames, {}), out) == [out]
    expected = raster.render_8bit(frames[0], series, (10.0, 40.0))
    assert np.array_equal(np.asarray(Image.open(out)), expected)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int8", "int16", "int32", "uint32", "int64", "uint64"])
def test_full_depth_gives_back_stored_values(dtype: str, tmp_path: Path) -> None:
    series = _series(dtype=dtype)
    frames = _frames(series, 100 if dtype.endswith("8") and len(dtype) < 6 else 30000)
    paths = PngWriter(full=True).write(Rendition(series, series, frames, {}), tmp_path / "a")
    for path, frame in zip(paths, frames, strict=True):
        image = Image.open(path)
        offset = int(image.info.get("imarium:offset", 0))
        assert image.mode == "I;16"
        assert np.array_equal(np.asarray(image).astype(np.int64) + offset, frame)
        assert (offset < 0) == (np.dtype(dtype).kind == "i")


@pytest.mark.parametrize(
    ("changes", "full"),
    [
        ({"dtype": "float32"}, True),
        ({"dtype": "uint8", "samples": 3, "photometric": "RGB"}, True),
        ({"dtype": "float32", "samples": 3, "photometric": "RGB"}, False),
        ({"format": "png", "dtype": "int16"}, False),
    ],
)
def test_refused_exports(changes: dict[str, Any], full: bool, tmp_path: Path) -> None:
    series = _series(**changes)
    with pytest.raises(ExportRefusedError):
        PngWriter(full=full).write(Rendition(series, series, _frames(series), {}), tmp_path / "a")


def test_ranges_and_options_that_are_refused(tmp_path: Path) -> None:
    series = _series(dtype="int32")
    with pytest.raises(ExportRefusedError, match="65536"):
        PngWriter(full=True).write(Rendition(series, series, _frames(series, 10**6), {}), tmp_path / "a")
    with pytest.raises(InvalidRequestError):
        PngWriter((40, 400), full=True)
    with pytest.raises(InvalidRequestError):
        PngWriter((40, 0)).write(Rendition(series, series, _frames(series), {}), tmp_path / "a")


def test_frames_with_slopes_of_their_own(tmp_path: Path) -> None:
    series = Series(
        "1", "2", "dicom", 2, 1, 3, "int16",
        frame_rescale=((1.0, 0.0), (100.0, 0.0)), window_center=100.0, window_width=201.0,
    )  # fmt: skip
    frame = np.array([[0, 1, 2]], dtype=np.int16)
    paths = PngWriter().write(Rendition(series, series, [frame, frame], {}), tmp_path / "out")
    assert [imagecodecs.png_decode(path.read_bytes()).tolist() for path in paths] == [
        [[1, 2, 3]],
        [[1, 128, 255]],
    ]


@pytest.mark.parametrize("kind", [b"Jane", b"\x1b[2J"])
def test_reasons_quote_nothing_of_the_file(kind: bytes, context: ReadContext, tmp_path: Path) -> None:
    body = struct.pack(">IIBBBBB", 5, 4, 8, 0, 0, 0, 0)
    chunks = [_chunk(b"IHDR", body), _chunk(kind, b"x")[:-1] + b"?"]
    for content in (MAGIC + b"".join(chunks), MAGIC + chunks[0] + struct.pack(">I", 1 << 20) + kind):
        found = _one(_file(tmp_path, content + bytes(50)), context)
        assert isinstance(found, Refusal)
        assert "unknown chunk" in str(found.error)


def test_decoders_are_not_quoted(context: ReadContext, tmp_path: Path) -> None:
    body = struct.pack(">IIBBBBB", 5, 4, 8, 0, 0, 0, 0)
    content = MAGIC + _chunk(b"IHDR", body) + _chunk(b"IDAT", b"no deflate") + _chunk(b"IEND", b"")
    found = _one(_file(tmp_path, content), context)
    assert isinstance(found, SourceSeries)
    with pytest.raises(CorruptFileError) as caught:
        list(found.read_frames())
    assert str(caught.value) == "the PNG data are damaged: they cannot be unpacked"
