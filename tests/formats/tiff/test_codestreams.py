"""TIFF in WebP, LERC and LZMA, and in inks: exact against tifffile; damage and lies are refused."""

from __future__ import annotations

import io
import lzma
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from imarium.archive import Archive
from imarium.codec import source as source_lane
from imarium.errors import CorruptFileError, ImariumError, LimitExceededError, UnsupportedFileError
from imarium.formats.base import ReadContext, Refusal
from imarium.formats.tiff import TiffReader
from imarium.ingest.outcome import Status
from imarium.model import Series, SourceSeries
from imarium.settings import Limits

Array = NDArray[Any]
RNG = np.random.default_rng(19)


@pytest.fixture
def context(tmp_path: Path) -> ReadContext:
    return ReadContext(Limits(decoder_seconds=20), tmp_path)


def written(pixels: Array, **options: Any) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, metadata=None, **options)
    return out.getvalue()


def found(content: bytes, context: ReadContext) -> SourceSeries:
    path = context.scratch / "picture.tif"
    path.write_bytes(content)
    (only,) = TiffReader().read([path], context)
    if isinstance(only, Refusal):
        raise only.error
    return only


def read(content: bytes, context: ReadContext) -> tuple[Series, Array]:
    only = found(content, context)
    return only.series, np.stack(list(only.read_frames()))


def noise(dtype: str, *shape: int) -> Array:
    if dtype.startswith("f"):
        return RNG.normal(size=shape).astype(dtype)
    facts = np.iinfo(dtype)
    return RNG.integers(facts.min, facts.max, shape, dtype=dtype, endpoint=True)


def first_segment(content: bytes) -> tuple[int, int]:
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        return page.dataoffsets[0], page.databytecounts[0]


TILINGS: list[dict[str, Any]] = [{}, {"tile": (32, 48)}, {"rowsperstrip": 16}]


@pytest.mark.parametrize("options", TILINGS)
@pytest.mark.parametrize("packing", [None, "deflate", "zstd"])
@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]
)
def test_lerc(dtype: str, packing: str | None, options: dict[str, Any], context: ReadContext) -> None:
    pixels = noise(dtype, 70, 90)
    arguments = {"compression": packing} if packing else {}
    content = written(pixels, compression="lerc", compressionargs=arguments, **options)
    series, frames = read(content, context)
    assert frames[0].tobytes() == pixels.tobytes()
    assert (series.dtype, series.notes) == (dtype, ())


def test_lerc_in_colour_and_with_loss(context: ReadContext) -> None:
    pixels = noise("uint8", 70, 90, 3)
    series, frames = read(written(pixels, photometric="rgb", compression="lerc"), context)
    assert np.array_equal(frames[0], pixels)
    assert series.photometric == "RGB"
    for dtype, packing in (("float32", None), ("uint16", "zstd")):
        arguments = {"level": 2.0} | ({"compression": packing} if packing else {})
        pixels = noise(dtype, 70, 90)
        content = written(pixels, compression="lerc", compressionargs=arguments)
        series, frames = read(content, context)
        assert not np.array_equal(frames[0], pixels)
        start, size = first_segment(content)
        blob = content[start : start + size]
        expected = imagecodecs.lerc_decode(imagecodecs.zstd_decode(blob) if packing else blob)
        assert np.array_equal(frames[0], expected)
        assert series.notes == ("LERC: lossy before it came here",)


def test_lerc_without_a_value_for_every_pixel_is_refused(context: ReadContext) -> None:
    pixels = noise("float32", 40, 40)
    blob = bytes(imagecodecs.lerc_encode(pixels, masks=RNG.random((40, 40)) < 0.7))
    content = written(pixels, compression="lerc")
    start, size = first_segment(content)
    content = content[:start] + blob[:size].ljust(size, b"\0") + content[start + size :]
    with pytest.raises(UnsupportedFileError, match="no value"):
        read(content, context)


@pytest.mark.parametrize(
    ("place", "value"), [(6, 3), (6, 9), (14, 1 << 20), (18, 41), (22, 2), (34, 1 << 20), (38, 3), (38, 9)]
)
def test_lerc_headers_that_lie(place: int, value: int, context: ReadContext) -> None:
    content = written(noise("float32", 40, 40), compression="lerc")
    start, _ = first_segment(content)
    lie = content[: start + place] + struct.pack("<i", value) + content[start + place + 4 :]
    with pytest.raises((CorruptFileError, UnsupportedFileError)):
        read(lie, context)


@pytest.mark.parametrize("options", TILINGS)
@pytest.mark.parametrize("samples", [3, 4])
@pytest.mark.parametrize("level", [None, 70])
def test_webp(level: int | None, samples: int, options: dict[str, Any], context: ReadContext) -> None:
    pixels = noise("uint8", 70, 90, samples)
    content = written(
        pixels,
        photometric="rgb",
        compression="webp",
        compressionargs={"level": level, "lossless": False} if level else {"lossless": True},
        extrasamples=["unassalpha"] if samples == 4 else None,
        **options,
    )
    series, frames = read(content, context)
    assert np.array_equal(frames[0], tifffile.imread(io.BytesIO(content)))
    assert series.notes == (("WebP: lossy before it came here",) if level else ())


def test_webp_whose_alpha_is_left_out(context: ReadContext) -> None:
    pixels = np.dstack([noise("uint8", 40, 40, 3), np.full((40, 40), 255, np.uint8)])
    content = written(
        pixels,
        photometric="rgb",
        extrasamples=["unassalpha"],
        compression="webp",
        compressionargs={"lossless": True},
    )
    start, size = first_segment(content)
    opaque = bytes(imagecodecs.webp_encode(np.ascontiguousarray(pixels[..., :3]), lossless=True))
    assert len(opaque) <= size
    only = found(content[:start] + opaque.ljust(size, b"\0") + content[start + size :], context)
    (frame,) = only.read_frames()
    assert np.array_equal(frame, pixels)


def test_lossy_webp_is_kept_as_it_is(archive: Archive, tmp_path: Path) -> None:
    pixels = noise("uint8", 300, 310, 3) // 4 + 90
    path = tmp_path / "slide.tif"
    path.write_bytes(
        written(
            pixels,
            photometric="rgb",
            compression="webp",
            compressionargs={"level": 40, "lossless": False},
            tile=(128, 128),
        )
    )
    (outcome,) = archive.ingest.run([path], collection="main")
    assert outcome.status is Status.TAKEN
    assert outcome.stored_bytes <= 1.02 * path.stat().st_size + 1500
    assert outcome.series is not None
    volume = np.asarray(archive.streaming.volume(outcome.series))
    assert np.array_equal(volume[0], tifffile.imread(path))


@pytest.mark.parametrize("options", TILINGS)
@pytest.mark.parametrize("predictor", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32"])
def test_lzma(
    dtype: str, byteorder: str, predictor: bool, options: dict[str, Any], context: ReadContext
) -> None:
    pixels = noise(dtype, 70, 90)
    content = written(pixels, compression="lzma", predictor=predictor, byteorder=byteorder, **options)
    _, frames = read(content, context)
    assert frames[0].tobytes() == pixels.tobytes()


def test_lzma_that_grows_without_end_takes_no_memory(context: ReadContext) -> None:
    content = written(np.zeros((40, 40), np.uint8), compression="lzma")
    bomb = lzma.compress(bytes(200 << 20), preset=0)
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        start, size = page.tags[273].valueoffset, page.tags[279].valueoffset
        width = {3: 2, 4: 4}[int(page.tags[279].dtype)]
    lie = bytearray(content)
    lie[start : start + 4] = len(content).to_bytes(4, "little")
    lie[size : size + width] = min(len(bomb), (1 << 8 * width) - 1).to_bytes(width, "little")
    tracemalloc.start()
    _, frames = read(bytes(lie) + bomb, context)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not frames.any()
    assert peak < 20 << 20


@pytest.mark.parametrize("bits", ["uint8", "uint16"])
@pytest.mark.parametrize("options", [*TILINGS, {"compression": "lzw"}, {"planarconfig": "separate"}])
def test_inks_are_frames(bits: str, options: dict[str, Any], context: ReadContext) -> None:
    pixels = noise(bits, 70, 90, 4)
    planar = "planarconfig" in options
    stored = np.ascontiguousarray(np.moveaxis(pixels, -1, 0)) if planar else pixels
    series, frames = read(written(stored, photometric="separated", **options), context)
    assert np.array_equal(np.moveaxis(frames, 0, -1), pixels)
    assert (series.frames, series.photometric) == (4, "MONOCHROME1")
    assert any("inks" in note and "not converted" in note for note in series.notes)


def test_truncated_segments_are_refused(context: ReadContext) -> None:
    for compression, pixels in (
        ("lerc", noise("float32", 40, 40)),
        ("webp", noise("uint8", 40, 40, 3)),
        ("lzma", noise("uint8", 40, 40)),
    ):
        content = written(pixels, compression=compression)
        start, size = first_segment(content)
        # The pixels of a lossless WebP may end in any bits.
        for kept in (0, 1, 20) if compression == "webp" else (0, 1, 20, size // 2, size - 40):
            damaged = content[: start + kept] + bytes(size - kept) + content[start + size :]
            with pytest.raises((CorruptFileError, UnsupportedFileError, LimitExceededError)):
                read(damaged, context)


SEEDS = [
    written(noise("float32", 20, 24), compression="lerc"),
    written(noise("uint16", 20, 24), compression="lerc", compressionargs={"compression": "zstd"}),
    written(noise("uint8", 20, 24), compression="lerc", compressionargs={"compression": "deflate"}),
    written(noise("uint8", 20, 24, 3), compression="webp", compressionargs={"lossless": True}),
    written(noise("uint8", 20, 24, 3), compression="webp", compressionargs={"level": 60, "lossless": False}),
    written(noise("uint16", 20, 24), compression="lzma", predictor=True),
    written(noise("uint8", 20, 24, 4), photometric="separated", compression="zlib"),
]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, len(SEEDS) - 1),
    edits=st.lists(
        st.tuples(st.integers(0, 1200), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4
    ),
)
def test_mutated_bytes_never_escape(seed: int, edits: list[tuple[int, bytes]], tmp_path: Path) -> None:
    content = bytearray(SEEDS[seed])
    for position, piece in edits:
        at = position % len(content)
        content[at : at + len(piece)] = piece
    path = tmp_path / "picture"
    path.write_bytes(content)
    limits = Limits(frame_pixels=1 << 18, frame_bytes=1 << 21, decoder_seconds=20)
    for one in TiffReader().read([path], ReadContext(limits, tmp_path)):
        if isinstance(one, Refusal):
            assert isinstance(one.error, ImariumError)
            continue
        try:
            for number, frame in enumerate(one.read_frames()):
                assert frame.shape == one.series.frame_shape
                assert one.codestream is not None
                kept = one.codestream(number)
                if kept is not None:
                    source_lane.keep(frame, kept, one.series.bits_stored)
        except ImariumError:
            continue
