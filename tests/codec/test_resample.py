"""Resampling keeps edges, means and labels."""

import numpy as np
import pytest

from imarium.codec import resample


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
