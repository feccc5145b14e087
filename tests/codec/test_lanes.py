"""Every kind of pixel through the one conformance suite."""

from contextlib import suppress

import numpy as np
import pytest

from imarium.codec import Lane, choose_lane, decode_frame, decompositions_for, encode_frame, encode_frames
from imarium.errors import IntegrityError
from imarium.testing import LaneConformance, series_of, smooth_frames


class TestIntegers(LaneConformance):
    dtypes = ("int8", "uint8", "int16", "uint16", "int32", "uint32")


class TestFloats(LaneConformance):
    dtypes = ("float16", "float32", "float64")
    lanes = (Lane.FLOAT, Lane.POLYPHASE)


class TestLabelMaps(LaneConformance):
    dtypes = ("bool", "uint8", "uint16", "int32")
    facts = {"label_map": True}  # noqa: RUF012
    lanes = (Lane.POLYPHASE,)


class TestEverythingElse(LaneConformance):
    dtypes = ("bool", "int64", "uint64", "complex64", "complex128")
    lanes = (Lane.POLYPHASE,)


@pytest.mark.parametrize(
    ("dtype", "lane"),
    [("int16", Lane.HTJ2K), ("uint8", Lane.HTJ2K), ("uint32", Lane.HTJ2K), ("float32", Lane.FLOAT)],
)
def test_pictures_take_the_lane_with_good_low_levels(dtype, lane):
    frame = smooth_frames(1, 128, 128, dtype)[0]
    series = series_of(frame)
    assert encode_frame(frame, series, 3).lane is lane
    assert choose_lane(series, 3)[1]


def test_unsigned_data_does_not_wrap_at_low_levels():
    """A wavelet undershoots at edges; coded as unsigned, those pixels come back as 65535."""
    frame = np.zeros((256, 256), np.uint16)
    frame[100:140, 60:200] = 4000
    series = series_of(frame)
    encoded = encode_frame(frame, series, 4)
    assert encoded.lane is Lane.HTJ2K
    for level in range(1, 5):
        low = decode_frame(encoded.lane, encoded.params, encoded.parts[: 5 - level], series, 4, level)
        assert low.max() <= 4000
        assert low[0, 0] == 0


def test_large_magnitudes_leave_sixteen_bits():
    """Beyond +-11,100 an int16 wavelet overflows at some level; the lane switches to 32 bits."""
    frame = np.where(np.indices((256, 256)).sum(0) % 64 < 32, 32767, -32768).astype(np.int16)
    series = series_of(frame)
    encoded = encode_frame(frame, series, 4)
    low = decode_frame(encoded.lane, encoded.params, encoded.parts[:1], series, 4, 4)
    assert encoded.lane is Lane.HTJ2K
    assert -9000 < low.mean() < 9000


def test_what_a_level_shows():
    """A smoothed picture whose samples lie on every 2^k-th pixel, where the 5/3 low-pass is centred.

    docs/design/geometry-of-levels.md tells what the affine says instead, and why.
    """
    frame = smooth_frames(1, 256, 256)[0]
    series = series_of(frame)
    encoded = encode_frame(frame, series, 4)
    low = decode_frame(encoded.lane, encoded.params, encoded.parts[:3], series, 4, 2).astype(float)
    on_pixels = np.abs(low - frame[::4, ::4]).mean()
    on_box_centres = np.abs(low - frame.reshape(64, 4, 64, 4).mean((1, 3))).mean()
    assert on_pixels < 25  # of an amplitude of 850, with noise of 17
    assert on_pixels < on_box_centres


def test_few_bytes_for_low_levels():
    frame = smooth_frames(1, 512, 512)[0]
    encoded = encode_frame(frame, series_of(frame), 5)
    sizes = np.cumsum([len(part) for part in encoded.parts])
    assert sizes[2] < sizes[-1] * 0.05


@pytest.mark.parametrize(
    ("rows", "columns", "count"),
    [(1, 1, 0), (31, 512, 1), (30, 512, 0), (512, 512, 5), (4000, 3000, 5), (64, 64, 2)],
)
def test_number_of_decompositions(rows, columns, count):
    assert decompositions_for(rows, columns) == count


def test_a_damaged_part_is_an_integrity_error_or_other_pixels_never_a_crash():
    frame = smooth_frames(1, 64, 64)[0]
    series = series_of(frame)
    encoded = encode_frame(frame, series, 2)
    rng = np.random.default_rng(1)
    for _ in range(50):
        parts = [bytearray(part) for part in encoded.parts]
        part = parts[rng.integers(3)]
        part[rng.integers(len(part))] ^= 1 << rng.integers(8)
        with suppress(IntegrityError):
            decode_frame(encoded.lane, encoded.params, [bytes(part) for part in parts], series, 2, 0)


def test_frames_must_be_as_announced():
    frames = smooth_frames(3, 32, 32)
    series = series_of(frames[0], frames=4)
    with pytest.raises(IntegrityError, match="3 frames were read where 4"):
        list(encode_frames(frames, series, 1, 2))
    wrong = [frames[0], frames[1].astype(np.int32)]
    with pytest.raises(IntegrityError, match="frame 1 is int32"):
        list(encode_frames(wrong, series_of(frames[0], frames=2), 1, 2))
