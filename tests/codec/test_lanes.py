"""Every kind of pixel through the one conformance suite."""

import gzip
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from imarium.codec import Lane, choose_lane, decode_frame, decompositions_for, encode_frame, encode_frames
from imarium.codec.frames import stays_encoded
from imarium.errors import IntegrityError
from imarium.testing import LaneConformance, series_of, smooth_frames


class TestIntegers(LaneConformance):
    dtypes = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
    lanes = (Lane.HTJ2K, Lane.POLYPHASE, Lane.LABELS, Lane.SOURCE)


class TestFloats(LaneConformance):
    dtypes = ("float16", "float32", "float64")
    lanes = (Lane.LABELS, Lane.AFFINE, Lane.RANKED, Lane.FLOAT, Lane.POLYPHASE)


class TestLabelMaps(LaneConformance):
    dtypes = ("bool", "uint8", "uint16", "int32", "float32")
    facts = {"label_map": True}  # noqa: RUF012
    lanes = (Lane.LABELS, Lane.POLYPHASE, Lane.SOURCE)


class TestComplexNumbers(LaneConformance):
    dtypes = ("complex64", "complex128")
    lanes = (Lane.COMPLEX, Lane.POLYPHASE)


def roundtrip(frame, **facts):
    """(encoded frame, series, decompositions), after a check that every bit comes back."""
    series = series_of(frame, **facts)
    depth = decompositions_for(series.rows, series.columns)
    encoded = encode_frame(frame, series, depth)
    decoded = decode_frame(encoded.lane, encoded.params, encoded.parts, series, depth, 0)
    assert decoded.tobytes() == frame.tobytes()
    return encoded, series, depth


def level_of(encoded, series, depth, level):
    parts = encoded.parts[: depth + 1 - level]
    return decode_frame(encoded.lane, encoded.params, parts, series, depth, level)


def size_of(encoded):
    return sum(map(len, encoded.parts))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    ("slope", "intercept"),
    [(1.0, 0.0), (0.1, 0.0), (2.5, -1024.0), (1 / 4095, 0.0), (-0.003, 0.0), (1e-7, 0.0)],
)
def test_floats_that_are_integers_times_a_slope_are_stored_as_integers(dtype, slope, intercept):
    steps = smooth_frames(1, 128, 96)[0] // (8 if dtype == "float16" else 1)
    with np.errstate(over="ignore"):
        frame = (steps.astype(np.float64) * slope + intercept).astype(dtype)
    encoded, series, depth = roundtrip(frame)
    if dtype != "float16" or slope == 1.0:  # float16 has too few bits to tell other lattices
        assert encoded.lane is Lane.AFFINE
        assert size_of(encoded) < 1.05 * size_of(encode_frame(steps, series_of(steps), depth)) + 64
    small = level_of(encoded, series, depth, 2).astype(float)
    assert np.abs(small - frame[::4, ::4].astype(float)).mean() < 60 * abs(slope) + 0.05 * abs(intercept)


def test_floats_of_few_values_are_stored_as_ranks():
    table = np.sort(np.random.default_rng(3).normal(size=40)).astype(np.float32)
    table[-1] = np.nan
    frame = table[np.clip(smooth_frames(1, 128, 96)[0] // 40 + 20, 0, 39)]
    frame[5, 5], frame[5, 6] = -0.0, 0.0
    encoded, series, depth = roundtrip(frame)
    assert encoded.lane is Lane.RANKED
    assert np.isin(level_of(encoded, series, depth, 2)[:20, :20].view(np.uint32), frame.view(np.uint32)).all()


def test_other_floats_keep_every_bit_beside_a_preview():
    frame = np.random.default_rng(3).normal(size=(96, 64)).astype(np.float32)
    frame[0, :3] = np.nan, np.inf, -0.0
    assert roundtrip(frame)[0].lane is Lane.FLOAT


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_numbers_have_levels(dtype):
    real, imaginary = smooth_frames(2, 128, 96, "float32") * np.float32(1.37)
    frame = (real + 1j * imaginary).astype(dtype)
    encoded, series, depth = roundtrip(frame)
    assert encoded.lane is Lane.COMPLEX
    small = level_of(encoded, series, depth, 1)
    assert np.abs(small - frame[::2, ::2]).mean() < 60


@pytest.mark.parametrize(
    ("dtype", "base"),
    [
        ("int64", 0),
        ("int64", 5_000_000_000),
        ("int64", -(1 << 62)),
        ("uint64", 1000),
        ("uint64", 1 << 62),
        ("uint32", 3_000_000_000),
    ],
)
def test_wide_integers_that_lie_close_together_take_the_wavelet(dtype, base):
    frame = smooth_frames(1, 128, 96)[0].astype(np.int64) + base
    encoded, series, depth = roundtrip(frame.astype(dtype))
    assert encoded.lane is Lane.HTJ2K
    small = level_of(encoded, series, depth, 1).astype(object)
    assert max(abs(int(one) - int(other)) for one, other in zip(small.flat, frame[::2, ::2].flat)) < 500  # noqa: B905


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64", "bool"])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 200), (33, 31), (96, 130), (257, 64)])
def test_labels_are_never_mixed(dtype, rows, columns):
    y, x = np.mgrid[:rows, :columns]
    frame = ((np.hypot(y - rows / 2, x - columns / 2) < columns / 3) + (x > columns / 2)).astype(dtype)
    encoded, series, depth = roundtrip(frame, label_map=True)
    assert encoded.lane is Lane.LABELS
    for level in range(depth + 1):
        step = 1 << level
        np.testing.assert_array_equal(level_of(encoded, series, depth, level), frame[::step, ::step])


def test_label_maps_are_a_third_of_what_gzip_makes_of_them():
    y, x = np.mgrid[:256, :256]
    organs = sum(
        ((y - 128 - 60 * np.sin(k)) ** 2 / (20 + 4 * k) ** 2 + (x - 128 - 60 * np.cos(k)) ** 2 / 30**2 < 1)
        * k
        for k in range(1, 6)
    ).astype(np.uint8)
    encoded, _, _ = roundtrip(organs, label_map=True)
    assert 3 * size_of(encoded) < len(gzip.compress(organs.tobytes(), 6))


def test_coloured_noise_that_claims_to_be_a_label_map_is_kept_whole():
    smooth = smooth_frames(4, 200, 96, "uint8").transpose(1, 2, 0).copy()
    encoded, series, depth = roundtrip(smooth, label_map=True)
    assert encoded.lane is Lane.SOURCE
    np.testing.assert_array_equal(level_of(encoded, series, depth, 1), smooth[::2, ::2])


def test_what_only_claims_to_be_a_label_map_is_still_exact():
    noise = np.random.default_rng(0).integers(0, 200, (256, 256)).astype(np.uint8)
    assert roundtrip(noise, label_map=True)[0].lane is Lane.POLYPHASE


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_label_maps_whose_source_does_not_say_so(dtype):
    y, x = np.mgrid[:128, :128]
    frame = ((np.hypot(y - 60, x - 50) < 30) * 3 + (x > 90) * 1.5).astype(dtype)
    encoded, series, depth = roundtrip(frame)
    assert encoded.lane is Lane.LABELS
    np.testing.assert_array_equal(level_of(encoded, series, depth, 2), frame[::4, ::4])


def test_a_picture_with_a_constant_row_is_still_a_picture():
    frame = smooth_frames(1, 128, 96, "uint8")[0]
    frame[60:70] = 0
    assert roundtrip(frame)[0].lane is Lane.HTJ2K


def test_masks_are_stored_as_labels_whatever_their_type_says():
    frame = np.zeros((128, 128), np.uint8)
    frame[40:90, 30:77] = 255
    encoded, series, depth = roundtrip(frame)
    assert encoded.lane is Lane.LABELS
    assert set(np.unique(level_of(encoded, series, depth, 2))) == {0, 255}


@pytest.mark.parametrize(
    ("dtype", "lane"),
    [("int16", Lane.HTJ2K), ("uint8", Lane.HTJ2K), ("uint32", Lane.HTJ2K), ("float32", Lane.FLOAT)],
)
def test_pictures_take_the_lane_with_good_low_levels(dtype, lane):
    frame = smooth_frames(1, 128, 128, dtype)[0]
    series = series_of(frame)
    assert encode_frame(frame, series, 3).lane is lane
    assert choose_lane(series, 3) is lane


def test_unsigned_data_does_not_wrap_at_low_levels():
    """A wavelet undershoots at edges; coded as unsigned, those pixels come back as 65535."""
    frame = np.zeros((256, 256), np.uint16)
    frame[100:140, 60:200] = 3861 + np.arange(140)  # a ramp: no wavelet sees frames of few values
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
    frame[::2] //= 1 + np.arange(256, dtype=np.int16) % 2
    frame[128] = np.arange(256)  # many values, so that it is no label map
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


def damaged(frame, **facts):
    encoded, series, depth = roundtrip(frame, **facts)
    rng = np.random.default_rng(1)
    for _ in range(150):
        parts = [bytearray(part) for part in encoded.parts]
        part = parts[rng.choice([number for number, part in enumerate(parts) if part])]
        if rng.random() < 0.3:
            del part[rng.integers(len(part)) :]
        else:
            part[rng.integers(len(part))] ^= 1 << rng.integers(8)
        with suppress(IntegrityError):
            found = decode_frame(
                encoded.lane, encoded.params, [bytes(part) for part in parts], series, depth, 0
            )
            assert found.shape == frame.shape


def test_damage_to_any_lane_is_an_integrity_error_or_other_pixels_never_a_crash():
    smooth = smooth_frames(2, 64, 64)
    damaged((smooth[0] // 300).astype(np.int16), label_map=True)
    damaged((smooth[0] * 0.25).astype(np.float32))
    damaged(np.sort(np.random.default_rng(0).normal(size=9))[np.clip(smooth[0] // 200 + 4, 0, 8)])
    damaged(np.random.default_rng(0).normal(size=(40, 50)))
    damaged((smooth[0] + 1j * smooth[1]).astype(np.complex64))


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


def test_frames_that_are_encoded_already_pass_through():
    values = smooth_frames(6, 48, 32)
    series = series_of(values[0], frames=6)
    encoded = list(encode_frames(values, series, 1, 2))
    mixed = [frame if number % 3 else values[number] for number, frame in enumerate(encoded)]
    again = list(encode_frames(mixed, series, 1, 2))
    assert again == encoded
    assert [one is other for one, other in zip(again, encoded, strict=True)] == [False, True, True] * 2
    with pytest.raises(IntegrityError, match="5 frames were read where 6"):
        list(encode_frames(encoded[1:], series, 1, 2))


@pytest.mark.parametrize(
    ("facts", "stays"),
    [
        ({"frames": 9, "bits_stored": 12, "window_center": 3.0, "rescale_slope": 2.0, "uid": "9"}, True),
        ({"dtype": "int32"}, False),
        ({"rows": 32, "columns": 48}, False),
        ({"samples": 3}, False),
        ({"label_map": True}, False),
        ({"photometric": "MONOCHROME1"}, False),
    ],
)
def test_facts_that_change_what_an_encoded_frame_means(facts, stays):
    series = series_of(smooth_frames(1, 48, 32)[0])
    assert stays_encoded(series, replace(series, **facts)) is stays
    assert stays_encoded(replace(series, **facts), series) is stays
