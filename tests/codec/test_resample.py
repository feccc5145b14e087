"""Resampling keeps edges, means and labels."""

import numpy as np
import pytest

from imarium.codec import resample, resample_stack


def test_a_ramp_stays_a_ramp():
    ramp = np.tile(np.arange(512, dtype=np.float32), (512, 1))
    small = resample(ramp, 224, 224)
    expected = (np.arange(224) + 0.5) * 512 / 224 - 0.5
    np.testing.assert_allclose(small[100, 2:-2], expected[2:-2], atol=0.05)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float64"])
def test_constants_stay_and_types_stay(dtype):
    frame = np.full((100, 60), 77, dtype)
    small = resample(frame, 33, 20)
    assert small.dtype == frame.dtype
    np.testing.assert_allclose(small, 77, rtol=1e-12)


def test_colour_is_resampled_by_channel():
    frame = np.zeros((10, 10, 3), np.uint8)
    frame[..., 1] = 200
    assert (resample(frame, 5, 7) == [0, 200, 0]).all()


def test_nearest_never_invents_a_label():
    labels = np.array([[0, 7], [7, 9]], np.uint8).repeat(50, 0).repeat(50, 1)
    assert set(np.unique(resample(labels, 33, 33, nearest=True))) == {0, 7, 9}


def test_same_size_is_the_same_array():
    frame = np.ones((4, 4))
    assert resample(frame, 4, 4) is frame


def test_a_stack_is_its_frames_where_slices_stay():
    stack = np.random.default_rng(0).integers(0, 1000, (5, 30, 40)).astype(np.int16)
    expected = np.stack([resample(frame, 13, 17) for frame in stack])
    np.testing.assert_array_equal(resample_stack(stack, 5, 13, 17, threads=2), expected)


def test_a_stack_along_its_slices_is_a_frame_turned():
    stack = np.random.default_rng(0).normal(size=(20, 6, 7))
    expected = np.stack([resample(stack[:, row], 8, 7) for row in range(6)], axis=1)
    np.testing.assert_allclose(resample_stack(stack, 8, 6, 7), expected, atol=1e-12)


@pytest.mark.parametrize("slices", [1, 3, 10, 25])
def test_labels_of_a_stack_are_never_mixed(slices):
    stack = np.random.default_rng(0).choice([0, 7, 200], (10, 9, 9)).astype(np.uint8)
    made = resample_stack(stack, slices, 5, 9, nearest=True)
    assert made.shape == (slices, 5, 9)
    assert set(np.unique(made)) <= {0, 7, 200}


def test_colour_of_a_stack():
    stack = np.zeros((4, 10, 10, 3), np.uint8)
    stack[..., 1] = 200
    assert (resample_stack(stack, 3, 5, 7) == [0, 200, 0]).all()
