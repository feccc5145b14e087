"""Frames of any type through a general compressor, where the source would be smaller than anything else."""

import lzma
import zlib

import imagecodecs
import numpy as np
import pytest

from imarium.codec import Lane, decode_frame, encode_frame, squeeze
from imarium.codec.decoders import Codec
from imarium.codec.source import PARAMS, at_level, decode
from imarium.errors import IntegrityError
from imarium.testing import LaneConformance, series_of, smooth_frames

RNG = np.random.default_rng(5)


def repeated():
    """A pattern that repeats, with which wavelets do nothing."""
    return np.tile(RNG.integers(0, 256, (37, 41), dtype=np.uint8), (5, 5))


def steps():
    """32-bit integers of few different differences."""
    return np.cumsum(RNG.integers(-3, 4, (96, 80)), axis=1).astype(np.int32) * 70_000


def smooth_floats():
    rows, columns = np.mgrid[:120, :100]
    return (np.sin(rows / 37) + np.cos(columns / 51) * 3).astype(np.float32)


@pytest.mark.parametrize("make", [repeated, steps, smooth_floats], ids=lambda make: make.__name__)
def test_what_would_be_larger_than_its_source_is_squeezed(make):
    frame = make()
    series = series_of(frame)
    usual = encode_frame(frame, series, 2)
    predicted = np.diff(frame.view(f"u{frame.itemsize}"), axis=1, prepend=0).astype(f"u{frame.itemsize}")
    source = len(zlib.compress(predicted.tobytes(), 9))
    assert sum(map(len, usual.parts)) > source
    found = encode_frame(frame, series, 2, budget=source)
    assert found.lane is Lane.SOURCE
    assert sum(map(len, found.parts)) <= source
    decoded = decode_frame(found.lane, found.params, found.parts, series, 2, 0)
    assert decoded.tobytes() == frame.tobytes()


def test_levels_of_floats_are_those_of_the_preview():
    frame = smooth_frames(1, 96, 64)[0].astype(np.float32) * np.float32(1.37) + np.float32(0.1)
    frame += RNG.normal(size=frame.shape).astype(np.float32)
    frame[3, 4], frame[5, 6] = np.nan, np.inf
    series = series_of(frame)
    preview = encode_frame(frame, series, 2)
    assert preview.lane is Lane.FLOAT
    for level in (1, 2):
        parts = preview.parts[: 3 - level]
        expected = decode_frame(preview.lane, preview.params, parts, series, 2, level)
        np.testing.assert_array_equal(at_level(frame, level), expected)


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("uint64", (1 << 64) - 900, (1 << 64) - 1),
        ("int64", (1 << 63) - 900, (1 << 63) - 1),
        ("int64", -(1 << 63), -(1 << 63) + 900),
        ("int8", -128, 127),
    ],
)
def test_levels_of_integers_far_from_zero(dtype, low, high):
    offsets = RNG.integers(0, high - low, (40, 33), endpoint=True)
    frame = (offsets.astype(np.uint64) + np.uint64(low % (1 << 64))).astype(dtype)
    assert int(frame.min()) >= low
    near = at_level(offsets, 1)
    expected = [[int(value) + low for value in row] for row in near]
    assert at_level(frame, 1).tolist() == expected


@pytest.mark.parametrize("dtype", ["bool", "int64"])
def test_levels_of_what_has_no_average(dtype):
    frame = RNG.integers(0, 2, (40, 33)).astype(dtype)
    if dtype == "int64":
        frame *= 1 << 40
    np.testing.assert_array_equal(at_level(frame, 2), frame[::4, ::4])


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "float16", "uint32", "float64", "int64"])
@pytest.mark.parametrize("samples", [1, 3])
def test_every_filter_and_compressor_gives_the_values_back(dtype, samples):
    frame = RNG.integers(0, 2 if dtype == "bool" else 100, (13, 17, samples)).astype(dtype)
    frame = frame[..., 0] if samples == 1 else frame
    for variant in range(4):
        content = squeeze._filtered(np.ascontiguousarray(frame), variant)
        for codec, data in (
            (Codec.ZSTD, bytes(imagecodecs.zstd_encode(content))),
            (Codec.LZMA, lzma.compress(content)),
        ):
            found = squeeze.decode(codec, variant, data, frame.shape, frame.dtype)
            assert found.dtype == frame.dtype
            assert found.tobytes() == frame.tobytes()


def test_lzma_where_zstd_is_not_enough():
    frame = steps()
    quick = squeeze.encode(frame, 1 << 30)
    best = squeeze.encode(frame, 0)
    assert (quick[0], best[0]) == (Codec.ZSTD, Codec.LZMA)
    assert len(best[2]) < len(quick[2])


@pytest.mark.parametrize("codec", [Codec.ZSTD, Codec.LZMA])
def test_damaged_data_and_bombs_are_integrity_errors(codec):
    frame = steps()
    content = frame.tobytes()
    packed = {Codec.ZSTD: imagecodecs.zstd_encode, Codec.LZMA: lzma.compress}[codec]
    params = PARAMS.pack(codec, 0, 0, 0)
    assert np.array_equal(decode(params, bytes(packed(content)), frame.shape, frame.dtype), frame)
    for data in (
        b"",
        b"no",
        bytes(packed(content))[:-9],
        bytes(packed(content[:-4])),
        bytes(packed(content + b"more")),
        bytes(packed(bytes(1 << 26))),
    ):
        with pytest.raises(IntegrityError):
            decode(params, data, frame.shape, frame.dtype)
    with pytest.raises(IntegrityError):
        decode(PARAMS.pack(codec, 4, 0, 0), bytes(packed(content)), frame.shape, frame.dtype)


def test_complex_numbers_are_left_to_their_lane():
    assert squeeze.encode(np.zeros((20, 20), np.complex64), 10) is None


class TestOverBudget(LaneConformance):
    """Any type and any values, of a source that could not be smaller."""

    budget = 0.0
