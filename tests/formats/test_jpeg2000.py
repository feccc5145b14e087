"""JPEG 2000 and HTJ2K: exact against known pixels, Pillow and pydicom; bad codestreams are refused."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.encaps import generate_frames

from imarium.archive import Archive
from imarium.errors import CorruptFileError, ImariumError, LimitExceededError, UnsupportedFileError
from imarium.formats import jpeg2000
from imarium.formats.base import ReadContext, Refusal
from imarium.formats.jpeg2000 import Jpeg2000Reader, inspect_codestream
from imarium.ingest.outcome import Status
from imarium.model import Series, SourceSeries
from imarium.settings import Limits

RNG = np.random.default_rng(5)


@pytest.fixture
def context(tmp_path: Path) -> ReadContext:
    return ReadContext(Limits(decoder_seconds=20), tmp_path)


def _one(content: bytes, context: ReadContext) -> SourceSeries | Refusal:
    path = context.scratch / "picture"
    path.write_bytes(content)
    assert Jpeg2000Reader().recognises(path, content[:4096])
    (found,) = Jpeg2000Reader().read([path], context)
    return found


def _read(content: bytes, context: ReadContext) -> tuple[Series, np.ndarray[Any, Any]]:
    found = _one(content, context)
    assert isinstance(found, SourceSeries), found
    (frame,) = found.read_frames()
    assert frame.shape == found.series.frame_shape
    assert frame.dtype.name == found.series.dtype
    return found.series, frame


def _pixels(dtype: str, samples: int, bits: int | None = None) -> np.ndarray[Any, Any]:
    facts = np.iinfo(dtype)
    low, high = int(facts.min), int(facts.max)
    if bits:
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if low else (0, (1 << bits) - 1)
    shape = (37, 29) if samples == 1 else (37, 29, samples)
    pixels = RNG.integers(low, high + 1, shape).astype(dtype)
    pixels.flat[:2] = low, high
    return pixels


def _j2k(pixels: np.ndarray[Any, Any], **options: Any) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(pixels, **{"level": 0, "codecformat": "j2k"} | options))


def _ht(pixels: np.ndarray[Any, Any], **options: Any) -> bytes:
    return bytes(imagecodecs.htj2k_encode(pixels, **options))


@pytest.mark.parametrize("name", ["CT1", "MR1", "NM1"])
def test_real_codestreams_equal_their_raw_pixels(name: str, context: ReadContext, shared_data: Path) -> None:
    folder = shared_data / "htj2k-codestreams"
    series, frame = _read((folder / "j2c" / f"{name}.j2c").read_bytes(), context)
    raw = np.fromfile(folder / "raw" / f"{name}.RAW", "<i2").reshape(frame.shape)
    assert np.array_equal(frame, raw)
    assert (series.dtype, series.bits_stored, series.notes) == ("int16", 16, ())


@pytest.mark.parametrize("name", ["J2KR/CT1_J2KR", "J2KR/MR1_J2KR", "J2KI/CT1_J2KI", "J2KI/US1_J2KI"])
def test_real_codestreams_of_dicom_files(name: str, context: ReadContext, shared_data: Path) -> None:
    dataset = pydicom.dcmread(shared_data / "nema-wg04-codecs" / name)
    (codestream,) = generate_frames(dataset.PixelData, number_of_frames=1)
    series, frame = _read(codestream, context)
    assert (jpeg2000.LOSSY in series.notes) == name.startswith("J2KI")
    assert np.array_equal(frame, imagecodecs.jpeg2k_decode(codestream))
    if name.startswith("J2KR"):
        plain = pydicom.dcmread(shared_data / "nema-wg04-codecs" / "REF" / f"{name[5:8]}_UNC")
        mask = (1 << plain.BitsStored) - 1
        stored = np.frombuffer(plain.PixelData, "<u2").reshape(frame.shape)
        assert np.array_equal(frame.astype(np.uint16) & mask, stored & mask)


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
@pytest.mark.parametrize("encode", [_j2k, _ht])
def test_every_depth_and_number_of_components(
    encode: Any, dtype: str, samples: int, context: ReadContext
) -> None:
    pixels = _pixels(dtype, samples)
    series, frame = _read(encode(pixels), context)
    assert np.array_equal(frame, pixels)
    assert frame.dtype == pixels.dtype
    assert (series.samples, series.bits_stored) == (samples, 8 * pixels.itemsize)
    assert series.photometric == ("RGB" if samples > 2 else "MONOCHROME2")
    assert series.notes == ()


@pytest.mark.parametrize("dtype", ["uint32", "int32"])
def test_values_beyond_16_bits(dtype: str, context: ReadContext) -> None:
    pixels = _pixels(dtype, 1)
    series, frame = _read(_ht(pixels), context)
    assert np.array_equal(frame, pixels)
    assert (series.dtype, series.bits_stored) == (dtype, 32)


def _deep(dtype: str, bits: int, samples: int) -> np.ndarray[Any, Any]:
    """The extremes of so many bits, and noise."""
    low = -(1 << (bits - 1)) if dtype == "int32" else 0
    high = low + (1 << bits) - 1
    shape = (70, 60) if samples == 1 else (70, 60, samples)
    values = RNG.integers(low, high, shape, dtype=np.int64, endpoint=True)
    values[:20] = np.where(np.indices(shape).sum(axis=0) % 2, low, high)[:20]
    return values.astype(dtype)


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("bits", [17, 20, 23])
@pytest.mark.parametrize("dtype", ["uint32", "int32"])
def test_part_1_beyond_16_bits(dtype: str, bits: int, samples: int, context: ReadContext) -> None:
    pixels = _deep(dtype, bits, samples)
    series, frame = _read(_j2k(pixels, bitspersample=bits), context)
    assert np.array_equal(frame, pixels)
    assert (series.dtype, series.bits_stored, series.notes) == (dtype, bits, ())


@pytest.mark.parametrize(("bits", "options"), [(24, {}), (17, {"reversible": False, "level": 60})])
def test_what_part_1_cannot_hold_exactly(bits: int, options: Any, context: ReadContext) -> None:
    found = _one(_j2k(_deep("uint32", bits, 1), bitspersample=bits, **options), context)
    assert isinstance(found, Refusal)
    assert isinstance(found.error, UnsupportedFileError)
    assert f"of {bits} bits" in str(found.error)


def test_files_and_codestreams_are_the_same_picture(context: ReadContext) -> None:
    pixels = _pixels("uint8", 3)
    _, frame = _read(_j2k(pixels, codecformat="jp2"), context)
    assert np.array_equal(frame, pixels)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG2000", irreversible=True)
    found = _one(out.getvalue(), context)
    assert isinstance(found, SourceSeries)
    assert np.array_equal(next(iter(found.read_frames())), np.asarray(Image.open(io.BytesIO(out.getvalue()))))
    assert found.series.notes == (jpeg2000.LOSSY,)
    assert b"colr" in found.attachments[jpeg2000.BOXES]
    assert found.attachments[jpeg2000.HEADER].startswith(b"\xff\x4f\xff\x51")
    assert b"jp2c" not in found.attachments[jpeg2000.BOXES]


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _jp2(codestream: bytes, *header: bytes, brand: bytes = b"jp2 ", end: bytes = b"") -> bytes:
    signature = _box(b"jP  ", b"\r\n\x87\n")
    kind = _box(b"ftyp", brand + bytes(4) + brand)
    return signature + kind + _box(b"jp2h", b"".join(header)) + _box(b"jp2c", codestream) + end


def _colour(space: int) -> bytes:
    return _box(b"colr", b"\1\0\0" + struct.pack(">I", space))


def test_palettes_stay_indices(context: ReadContext) -> None:
    indices = RNG.integers(0, 16, (37, 29)).astype(np.uint8)
    colours = RNG.integers(0, 256, (16, 3)).astype(np.uint8)
    table = struct.pack(">HB", 16, 3) + b"\7\7\7" + colours.tobytes()
    mapping = _box(b"cmap", b"".join(struct.pack(">HBB", 0, 1, column) for column in range(3)))
    content = _jp2(_j2k(indices), _colour(16), _box(b"pclr", table), mapping)
    series, frame = _read(content, context)
    assert np.array_equal(frame, indices)
    assert (series.photometric, series.label_map) == ("PALETTE COLOR", True)
    assert np.array_equal(np.asarray(series.palette, dtype=np.uint8), colours)


def test_what_boxes_say_of_colours(context: ReadContext) -> None:
    grey, colour = _j2k(_pixels("uint8", 1)), _j2k(_pixels("uint8", 3))
    series, _ = _read(_jp2(colour, _colour(18)), context)
    assert series.photometric == "YBR_FULL"
    series, _ = _read(_jp2(grey, _box(b"colr", b"\2\0\0profile"), brand=b"jph "), context)
    assert any("profile" in note for note in series.notes)
    swapped = _box(b"cdef", struct.pack(">H9H", 3, 0, 0, 3, 1, 0, 2, 2, 0, 1))
    straight = _box(b"cdef", struct.pack(">H9H", 3, 0, 0, 1, 1, 0, 2, 2, 0, 3))
    _read(_jp2(colour, straight), context)
    for content in (
        _jp2(colour, _colour(12)),
        _jp2(_j2k(_pixels("uint16", 3)), _colour(18)),
        _jp2(colour, swapped),
        _jp2(grey, brand=b"mjp2"),
        _jp2(grey, end=_box(b"jp2c", grey)),
        _jp2(grey, _box(b"pclr", struct.pack(">HB", 2, 1) + b"\7\0\1")),
    ):
        found = _one(content, context)
        assert isinstance(found, Refusal)
        assert isinstance(found.error, UnsupportedFileError), found.error


def test_trailing_bytes_are_noted(context: ReadContext) -> None:
    pixels = _pixels("uint8", 1)
    series, frame = _read(_j2k(pixels) + b"more", context)
    assert np.array_equal(frame, pixels)
    assert series.notes == ("4 bytes after the end of the codestream are left out",)


@pytest.mark.parametrize("encode", [_j2k, _ht])
def test_every_truncation_is_refused(encode: Any, context: ReadContext) -> None:
    whole = encode(_pixels("uint16", 1))
    for size in [*range(4, 200, 7), len(whole) // 2, len(whole) - 3, len(whole) - 1]:
        found = _one(whole[:size], context)
        assert isinstance(found, Refusal), size
        assert isinstance(found.error, CorruptFileError), size


def test_lying_headers(context: ReadContext) -> None:
    content = _j2k(_pixels("uint8", 1))
    for position, value, error in (
        (8, struct.pack(">II", 1 << 20, 1 << 20), LimitExceededError),
        (8, struct.pack(">II", 0, 0), CorruptFileError),
        (24, struct.pack(">II", 0, 0), CorruptFileError),
        (40, struct.pack(">H", 0), CorruptFileError),
        (40, struct.pack(">H", 16384), CorruptFileError),
        (43, b"\2\2", UnsupportedFileError),
        (42, b"\x1f", UnsupportedFileError),
    ):
        wrong = bytearray(content)
        wrong[position : position + len(value)] = value
        found = _one(bytes(wrong), context)
        assert isinstance(found, Refusal), (position, value)
        assert isinstance(found.error, error), (position, found.error)
    small = ReadContext(Limits(frame_pixels=1000), context.scratch)
    assert isinstance(_one(content, small), Refusal)
    tiles = bytearray(content)
    tiles[8:40] = struct.pack(">8I", 4096, 4096, 0, 0, 1, 1, 0, 0)
    found = _one(bytes(tiles), context)
    assert isinstance(found, Refusal)
    assert "tiles" in str(found.error)


def _tiled() -> bytes:
    out = io.BytesIO()
    Image.fromarray(_pixels("uint8", 1)).save(out, "JPEG2000", tile_size=(16, 16), no_jp2=True)
    return out.getvalue()


def test_every_tile_has_to_be_there(context: ReadContext) -> None:
    """Decoders leave tiles blank that are missing."""
    content = _tiled()
    assert isinstance(_one(content, context), SourceSeries)
    first = content.index(b"\xff\x90")
    (length,) = struct.unpack(">I", content[first + 6 : first + 10])
    found = _one(content[:first] + content[first + length :], context)
    assert isinstance(found, Refusal)
    assert isinstance(found.error, CorruptFileError)
    assert "holds 5 of 6 tiles" in str(found.error)
    twice = content[:first] + content[first : first + length] * 2 + content[first + 2 * length :]
    for wrong in (content[: first + 4] + b"\0\x06" + content[first + 6 :], twice):
        found = _one(wrong, context)
        assert isinstance(found, Refusal)
        assert isinstance(found.error, CorruptFileError)


def test_boxes_and_codestream_agree_on_the_size(context: ReadContext) -> None:
    stream = _j2k(_pixels("uint8", 1))
    right = struct.pack(">II", 37, 29) + bytes(6)
    assert isinstance(_one(_jp2(stream, _box(b"ihdr", right), _colour(17)), context), SourceSeries)
    for rows, columns in ((38, 29), (37, 1 << 31), (29, 37)):
        wrong = struct.pack(">II", rows, columns) + bytes(6)
        found = _one(_jp2(stream, _box(b"ihdr", wrong), _colour(17)), context)
        assert isinstance(found, Refusal)
        assert isinstance(found.error, CorruptFileError)
        assert "its codestream has (37, 29)" in str(found.error)
    for size in (13, 15):
        found = _one(_jp2(stream, _box(b"ihdr", right.ljust(15)[:size]), _colour(17)), context)
        assert isinstance(found, Refusal)


SEEDS = [
    _j2k(_pixels("uint8", 1)),
    _ht(_pixels("int16", 1)),
    _j2k(_pixels("uint8", 3), codecformat="jp2"),
    _jp2(_j2k(_pixels("uint8", 1)), _colour(17), _box(b"pclr", struct.pack(">HB", 2, 3) + b"\7\7\7abcdef")),
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, len(SEEDS) - 1),
    edits=st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=4)), max_size=4),
    cut=st.integers(0, 3000),
)
def test_mutated_bytes_never_escape(
    seed: int, edits: list[tuple[int, bytes]], cut: int, tmp_path: Path
) -> None:
    content = bytearray(SEEDS[seed])
    for position, piece in edits:
        content[position : position + len(piece)] = piece
    if cut < 500:
        del content[len(content) - cut :]
    path = tmp_path / "picture"
    path.write_bytes(content)
    context = ReadContext(Limits(frame_pixels=1 << 20, decoder_seconds=20), tmp_path)
    (found,) = Jpeg2000Reader().read([path], context)
    if isinstance(found, Refusal):
        assert isinstance(found.error, ImariumError)
        return
    try:
        (frame,) = found.read_frames()
    except ImariumError:
        return
    assert frame.shape == found.series.frame_shape


def test_tile_headers_that_turn_lossy_are_seen() -> None:
    content = _j2k(_pixels("uint8", 1))
    tile = content.index(b"\xff\x90")
    length = int.from_bytes(content[tile + 6 : tile + 10], "big")
    main = content.index(b"\xff\x52")
    coding = bytearray(content[main : main + 14])
    coding[13] = 0
    inside = content[: tile + 6] + struct.pack(">I", length + 14 if length else 0)
    changed = inside + content[tile + 10 : tile + 12] + bytes(coding) + content[tile + 12 :]
    assert inspect_codestream(changed, Limits()).lossy
    assert not inspect_codestream(content, Limits()).lossy


def test_taken_in_and_out_again(archive: Archive, tmp_path: Path) -> None:
    pixels = _pixels("uint8", 3)
    source = tmp_path / "picture.j2k"
    source.write_bytes(_j2k(pixels))
    (outcome,) = archive.ingest.run([source], collection="main")
    assert outcome.series is not None, outcome
    (again,) = archive.ingest.run([source], collection="main")
    assert again.status is Status.KNOWN
    for name in ("png", "npy"):
        archive.streaming.export(outcome.series, name, tmp_path / f"out.{name}")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), pixels)
    assert np.array_equal(np.load(tmp_path / "out.npy")[0], pixels)
