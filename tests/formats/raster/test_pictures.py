"""Pictures of both formats: real ones, and bad ones, which are refused before memory is taken."""

from __future__ import annotations

import os
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import imagecodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from imarium.errors import (
    CorruptFileError,
    ImariumError,
    LimitExceededError,
    RefusedFileError,
    UnsupportedFileError,
)
from imarium.formats.base import ReadContext, Refusal
from imarium.formats.raster import JpegReader, PngReader, PngWriter, jpeg, png
from imarium.model import Rendition, Series, SourceSeries
from imarium.settings import Limits
from imarium.testing.png_files import MAGIC, make_chunk, make_png, saved

Read: TypeAlias = Callable[[bytes | Path], tuple[Series, np.ndarray[Any, Any]]]
One: TypeAlias = Callable[[bytes | Path], SourceSeries | Refusal]

DATA = Path(os.environ.get("IMARIUM_TEST_DATA") or Path(__file__).parents[4] / "shared" / "data")
COVID = sorted(
    path for path in DATA.glob("covid-ct/**/*") if path.suffix.lower() in (".png", ".jpg", ".jpeg")
)
REAL = sorted(DATA.glob("busi/*/*.png")) + COVID[::40]


def _reader(content: bytes) -> PngReader | JpegReader:
    readers = [
        reader for reader in (PngReader(), JpegReader()) if reader.recognises(Path("x"), content[:4096])
    ]
    assert len(readers) == 1
    return readers[0]


def test_real_data_are_there() -> None:
    if not REAL:
        pytest.skip(f"NO REAL DATA: set IMARIUM_TEST_DATA, nothing found in {DATA}")
    assert len(REAL) > 25


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name[:30])
def test_real_pictures_equal_pillow(path: Path, tmp_path: Path, read: Read) -> None:
    assert _reader(path.read_bytes()).name in ("png", "jpeg")
    series, frame = read(path)
    with Image.open(path) as image:
        mode = "L" if image.mode == "1" else image.mode
        assert series.format == (image.format or "").lower()
        assert series.label_map == (image.mode == "1")
        assert np.array_equal(frame, np.asarray(image.convert(mode)))
    assert (series.modality, series.affine, series.frames) == (None, None, 1)
    assert any("lossy" in note for note in series.notes) == (series.format == "jpeg")
    out = tmp_path / "out.png"
    assert PngWriter().write(Rendition(series, series, [frame], {}), out) == [out]
    assert np.array_equal(read(out)[1], frame)


def test_uid_is_of_the_content(tmp_path: Path, read: Read) -> None:
    content = saved(Image.new("L", (20, 10)))
    (tmp_path / "another").write_bytes(content)
    series, _ = read(content)
    assert read(tmp_path / "another")[0] == series
    assert series.uid.startswith("2.25.")
    assert series.study_uid != series.uid


def _bad() -> Iterator[tuple[str, bytes, type[ImariumError], str]]:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60), dtype=np.uint8))
    png, jpeg = saved(noise), saved(noise, "JPEG")
    colours, frames = make_chunk(b"PLTE", bytes(4)), make_chunk(b"acTL", bytes(8))
    yield "png cut", png[: len(png) // 2], CorruptFileError, "truncated"
    yield "png without end", png[:-12], CorruptFileError, "truncated"
    yield "png magic only", png[:8], CorruptFileError, "truncated"
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 1
    yield "png bit flipped", bytes(flipped), CorruptFileError, "checksum"
    yield "png no pixels", MAGIC + png[8:33] + make_chunk(b"IEND", b""), CorruptFileError, "no IDAT"
    yield "png of 100,000", make_png(100_000, 100_000, 16, 6, b""), LimitExceededError, "100000 x 100000"
    yield "png of 2**31", make_png(2**31, 2**31, 8, 0, b""), LimitExceededError, "frame_pixels"
    yield "png of nothing", make_png(0, 5, 8, 0, b""), CorruptFileError, "0 x 5"
    yield "png empty promise", make_png(16000, 16000, 8, 0, b""), CorruptFileError, "cannot hold"
    yield "png odd depth", make_png(5, 5, 3, 0, bytes(100)), CorruptFileError, "3 bits"
    yield "png odd colour", make_png(5, 5, 8, 5, bytes(100)), CorruptFileError, "colour type 5"
    yield "png no palette", make_png(5, 5, 8, 3, bytes(30)), CorruptFileError, "PLTE"
    yield "png bad palette", make_png(5, 5, 8, 3, bytes(30), colours), CorruptFileError, "PLTE"
    yield "png animated", make_png(5, 5, 8, 0, bytes(30), frames), UnsupportedFileError, "anim"
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
    yield "jpeg cmyk", saved(noise.convert("CMYK"), "JPEG"), UnsupportedFileError, "CMYK"
    scan = jpeg.index(b"\xff\xda")
    scans = jpeg[:-2] + jpeg[scan:-2] * 300 + b"\xff\xd9"
    yield "jpeg of many scans", scans, LimitExceededError, "scans"
    yield "jpeg fill bytes", jpeg[:2] + b"\xff" * 100000, CorruptFileError, "truncated"
    restart = jpeg[:2] + b"\xff\xd0\0\2" + jpeg[2:]
    yield "jpeg restart outside a scan", restart, CorruptFileError, "damaged"
    yield "jpeg marker lost", jpeg[:2] + b"\xff\xe0\0\2" + b"xx" + jpeg[2:], CorruptFileError, "marker"


BAD = {name: rest for name, *rest in _bad()}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_without_memory(name: str, one: One) -> None:
    content, kind, words = BAD[name]
    tracemalloc.start()
    found = one(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(found, Refusal), found
    assert type(found.error) is kind
    assert words in str(found.error)
    assert peak < 8 << 20


def test_files_of_endless_parts_are_refused(monkeypatch: pytest.MonkeyPatch, one: One) -> None:
    monkeypatch.setattr(png, "MOST_PARTS", 100)
    monkeypatch.setattr(jpeg, "MOST_PARTS", 100)
    chunks, segments = (saved(Image.new("L", (20, 10)), kind) for kind in ("PNG", "JPEG"))
    for content, word in (
        (chunks[:33] + make_chunk(b"teXt", b"") * 100 + chunks[33:], "chunks"),
        (segments[:2] + b"\xff\xfe\0\2" * 100 + segments[2:], "segments"),
    ):
        found = one(content)
        assert isinstance(found, Refusal)
        assert isinstance(found.error, LimitExceededError)
        assert word in str(found.error)


def test_files_that_go_away(context: ReadContext, tmp_path: Path, one: One) -> None:
    path = tmp_path / "picture"
    found = one(saved(Image.new("L", (20, 10))))
    assert isinstance(found, SourceSeries)
    path.write_bytes(saved(Image.new("L", (20, 11))))
    with pytest.raises(CorruptFileError, match="changed"):
        list(found.read_frames())
    path.unlink()
    with pytest.raises(CorruptFileError, match="vanished"):
        list(found.read_frames())
    (gone,) = PngReader().read([path], context)
    assert isinstance(gone, Refusal)
    assert type(gone.error) is RefusedFileError
    path.touch()
    (empty,) = PngReader().read([path], context)
    assert isinstance(empty, Refusal)
    assert "empty" in str(empty.error)


def _seeds() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    seeds = [saved(image.convert(mode)) for mode in ("1", "L", "P", "RGBA")]
    seeds.append(bytes(imagecodecs.png_encode(pixels.astype(np.uint16) * 257)))
    return [*seeds, saved(image, "JPEG"), saved(image.convert("L"), "JPEG", progressive=True)]


SEEDS = _seeds()


def _repaired(content: bytes) -> bytes:
    """Correct CRCs, so that mutations get past them."""
    out, position = bytearray(content[:8]), 8
    while position + 12 <= len(content):
        (length,) = struct.unpack(">I", content[position : position + 4])
        if position + 12 + length > len(content):
            break
        out += make_chunk(
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
    path = tmp_path / "picture"
    path.write_bytes(data)
    for reader in (PngReader(), JpegReader()):
        reader.recognises(Path("x"), data[:4096])
        (found,) = reader.read([path], ReadContext(limits, tmp_path))
        if isinstance(found, SourceSeries):
            try:
                (frame,) = found.read_frames()
            except ImariumError:
                continue
            assert frame.shape == found.series.frame_shape
        else:
            assert isinstance(found.error, ImariumError)
