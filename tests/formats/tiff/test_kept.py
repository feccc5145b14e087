"""TIFF and slides through the archive: no larger than the files, and exact, whatever their compression."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from imarium.archive import Archive
from imarium.codec import source as source_lane
from imarium.codec.tiles import Tiling, pack
from imarium.formats.base import ReadContext
from imarium.formats.tiff import TiffReader
from imarium.ingest.outcome import Status
from imarium.model import SourceCodestream, SourceSeries
from imarium.settings import Limits, Settings
from imarium.testing import smooth_frames

Array = NDArray[Any]
OVERHEAD = 1500
"""Bytes of the index, the tags and the pack of a single series."""


@pytest.fixture
def context(tmp_path: Path) -> ReadContext:
    return ReadContext(Limits(decoder_seconds=20), tmp_path)


def tissue(rows: int = 300, columns: int = 420) -> Array:
    """A picture in colour whose noise lossless codecs have to hold and lossy ones leave out."""
    planes = np.stack([smooth_frames(1, rows, columns, "uint8", seed)[0] for seed in range(3)], axis=-1)
    noise = np.random.default_rng(3).integers(0, 80, planes.shape, dtype=np.uint8)
    return planes // 2 + noise


def written(pixels: Array, **options: Any) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, metadata=None, **options)
    return out.getvalue()


def pages_of(content: bytes, context: ReadContext) -> SourceSeries:
    path = context.scratch / "picture.tif"
    path.write_bytes(content)
    (found,) = TiffReader().read([path], context)
    assert isinstance(found, SourceSeries)
    return found


def stored_bytes(archive: Archive, path: Path) -> tuple[int, list[str]]:
    """Bytes of all objects, and the series of a file that was taken."""
    outcomes = list(archive.ingest.run([path], collection="main"))
    assert {outcome.status for outcome in outcomes} == {Status.TAKEN}, [one.reason for one in outcomes]
    objects = archive.settings.objects
    size = sum(one.stat().st_size for one in objects.rglob("*") if one.is_file())
    return size, [outcome.series for outcome in outcomes if outcome.series]


KEPT: dict[str, tuple[Array, dict[str, Any]]] = {
    "tiles": (tissue(), {"photometric": "ycbcr", "tile": (128, 96)}),
    "strips": (tissue(), {"photometric": "rgb", "rowsperstrip": 16}),
    "one strip": (tissue(), {"photometric": "rgb"}),
    "grey": (tissue()[..., 0].copy(), {"photometric": "minisblack", "tile": (64, 64)}),
    "planes": (
        np.moveaxis(tissue(), -1, 0).copy(),
        {"photometric": "rgb", "planarconfig": "separate", "tile": (64, 64)},
    ),
    "pages": (np.stack([tissue(), tissue()[::-1]]), {"photometric": "rgb", "tile": (128, 128)}),
}


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000"])
def test_lossy_strips_and_tiles_do_not_grow(
    name: str, compression: str, archive: Archive, tmp_path: Path
) -> None:
    pixels, options = KEPT[name]
    arguments = {"level": 70} if compression == "jpeg" else {"level": 34, "codecformat": "j2k"}
    if compression == "jpeg2000":
        options = {**options, "photometric": "rgb" if name != "grey" else "minisblack"}
    content = written(pixels, compression=compression, compressionargs=arguments, **options)
    path = tmp_path / "slide.tif"
    path.write_bytes(content)
    size, (uid,) = stored_bytes(archive, path)
    assert size <= 1.02 * len(content) + OVERHEAD
    assert size < pixels.nbytes / 2
    expected = tifffile.imread(path)
    if name == "planes":
        expected = np.moveaxis(expected, 0, -1)
    volume = archive.streaming.volume(uid)
    assert np.array_equal(np.asarray(volume).reshape(expected.shape), expected)
    assert [outcome.error for outcome in archive.streaming.verify()] == [None]
    for level in range(1, archive.streaming.index(archive.catalog.get_series(uid)).levels):
        small = np.asarray(archive.streaming.volume(uid, level))
        assert small.dtype == np.uint8


def test_a_real_slide_does_not_grow(shared_data: Path, archive: Archive) -> None:
    path = shared_data / "microscopy" / "cmu-1-small-region.svs"
    size, series = stored_bytes(archive, path)
    assert size <= path.stat().st_size
    with tifffile.TiffFile(path) as file:
        for uid, page in zip(series, file.pages, strict=True):
            assert np.array_equal(np.asarray(archive.streaming.volume(uid))[0], page.asarray())


def test_the_tiles_are_those_of_the_file(context: ReadContext) -> None:
    content = written(tissue(), photometric="ycbcr", compression="jpeg", tile=(128, 96))
    found = pages_of(content, context)
    assert found.codestream is not None
    kept = found.codestream(0)
    assert kept is not None
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        tables = page.jpegtables or b""
    tiles = [content[start : start + size] for start, size in places]
    assert kept == SourceCodestream("tiles", pack(Tiling("jpeg", 128, 96, tables=tables), tiles))
    (frame,) = found.read_frames()
    assert source_lane.keep(frame, kept, 8) is not None
    assert found.packed_bytes is not None
    assert found.packed_bytes(0) == sum(size for _, size in places)


def test_the_planes_of_a_page_are_frames_with_tiles_of_their_own(context: ReadContext) -> None:
    planes = np.moveaxis(np.concatenate([tissue(), tissue()[::-1, :, :2]], axis=-1), -1, 0).copy()
    content = written(planes[:3], photometric="minisblack", planarconfig="separate", compression="jpeg")
    found = pages_of(content, context)
    assert found.series.frames == 3
    assert found.codestream is not None
    for number, frame in enumerate(found.read_frames()):
        kept = found.codestream(number)
        assert kept is not None
        assert source_lane.keep(frame, kept, 8) is not None


def test_what_is_not_kept(context: ReadContext) -> None:
    for options in ({"compression": "zlib"}, {"compression": "lzw"}, {}):
        found = pages_of(written(tissue(), photometric="rgb", **options), context)
        assert found.codestream is not None
        assert found.codestream(0) is None
        assert found.packed_bytes is not None
        assert (found.packed_bytes(0) is None) == (not options)


def test_strips_that_overlap_without_end_are_not_gathered(context: ReadContext) -> None:
    """Strips at a hundred places of one run of bytes: together larger than the pixels."""
    pixels = np.zeros((800, 64), np.uint8)
    strip = bytes(imagecodecs.jpeg8_encode(pixels[:8]))
    content = bytearray(written(pixels, compression="jpeg", rowsperstrip=8))
    with tifffile.TiffFile(io.BytesIO(bytes(content))) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        starts, sizes = page.tags[273].valueoffset, page.tags[279]
        width = {3: 2, 4: 4}[int(sizes.dtype)]
    run = (strip + bytes(7)) * 100 + bytes(2000)
    for number in range(100):
        start = (len(content) + number * (len(strip) + 7)).to_bytes(4, "little")
        content[starts + 4 * number : starts + 4 * number + 4] = start
        place = sizes.valueoffset + width * number
        content[place : place + width] = (2000 - number).to_bytes(width, "little")
    found = pages_of(bytes(content) + run, context)
    (frame,) = found.read_frames()
    assert not frame.any()
    assert found.codestream is not None
    assert found.codestream(0) is None


def repeated() -> Array:
    return np.tile(np.random.default_rng(0).integers(0, 256, (37, 41), dtype=np.uint8), (12, 12))


def floats() -> Array:
    rows, columns = np.mgrid[:400, :300]
    return (np.sin(rows / 37) + np.cos(columns / 51) * 3).astype(np.float32)


def steps() -> Array:
    return np.cumsum(np.random.default_rng(0).integers(-3, 4, (300, 300)), axis=1).astype(np.int32) * 70_000


@pytest.mark.parametrize("compression", ["zlib", "lzw", "zstd"])
@pytest.mark.parametrize("predictor", [False, True])
@pytest.mark.parametrize("make", [repeated, floats, steps, tissue], ids=lambda make: make.__name__)
def test_lossless_pages_do_not_grow(make: Any, predictor: bool, compression: str, tmp_path: Path) -> None:
    pixels = make()
    content = written(pixels, compression=compression, predictor=predictor)
    path = tmp_path / "page.tif"
    path.write_bytes(content)
    archive = Archive(Settings(home=tmp_path / "home", threads=2))
    try:
        size, (uid,) = stored_bytes(archive, path)
        assert size <= 1.02 * len(content) + OVERHEAD
        assert np.asarray(archive.streaming.volume(uid)).tobytes() == pixels.tobytes()
    finally:
        archive.close()
