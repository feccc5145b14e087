"""The measure of fidelity against scikit-image's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from imarium.report.fidelity import Fidelity, downsampled_on_grid, fidelity, nearest, ssim


def theirs(reference, other):
    """What scikit-image says with the largest window that fits, 7 pixels at most."""
    side = min(7, (min(reference.shape[:2]) - 1) // 2 * 2 + 1)
    return structural_similarity(reference, other, data_range=1.0, win_size=side)


@pytest.mark.parametrize("shape", [(3, 3), (4, 9), (6, 6), (7, 7), (8, 31), (64, 48)])
def test_ssim_is_that_of_scikit_image(shape):
    noise = np.random.default_rng(7)
    reference = noise.random(shape)
    other = reference + noise.normal(0, 0.2, shape)
    assert ssim(reference, other) == pytest.approx(theirs(reference, other), abs=1e-12)
    assert ssim(reference, reference) == pytest.approx(1.0)


@given(
    arrays.arrays(np.float64, (9, 11), elements=st.floats(-1, 2)),
    arrays.arrays(np.float64, (9, 11), elements=st.floats(-1, 2)),
)
def test_ssim_of_anything(reference, other):
    assert ssim(reference, other) == pytest.approx(theirs(reference, other), abs=1e-9)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32"])
def test_figures_of_a_level(dtype):
    noise = np.random.default_rng(1)
    frame = (1000 * noise.random((48, 40)) ** 2).astype(dtype)
    shown = frame[::4, ::4]
    found = fidelity(frame, shown, 2)
    low, extent = float(frame.min()), float(frame.max()) - float(frame.min())
    unit = Image.fromarray(((frame - low) / extent).astype(np.float32))
    reference = np.asarray(unit.resize((10, 12), Image.Resampling.BILINEAR), np.float64)
    scaled = (shown - low) / extent
    assert found.ssim == pytest.approx(theirs(reference, scaled), abs=1e-6)
    assert found.psnr == pytest.approx(peak_signal_noise_ratio(reference, scaled, data_range=1.0), abs=1e-4)
    assert found.labels_equal is None


def test_the_same_centres():
    """On a ramp, downsampling to the level's grid gives every fourth value, and a level of those has no
    error but at the edges; plain downsampling lies one and a half pixels off."""
    ramp = np.tile(np.arange(160, dtype=np.float32), (160, 1))
    on_grid = downsampled_on_grid(ramp, 40, 40, 2)
    np.testing.assert_allclose(on_grid[4:-4, 4:-4], ramp[::4, ::4][4:-4, 4:-4], atol=1e-3)
    found = fidelity(ramp, ramp[::4, ::4], 2)
    assert found.ssim_same_centres > found.ssim


def test_label_maps_are_compared_with_the_nearest_pixel():
    frame = np.arange(64, dtype=np.uint8).reshape(8, 8)
    right = nearest(frame, 4, 4)
    np.testing.assert_array_equal(right, frame[1::2, 1::2])
    wrong = right.copy()
    wrong[0, :2] += 1
    assert fidelity(frame, right, 1, label_map=True) == Fidelity(labels_equal=1.0)
    assert fidelity(frame, wrong, 1, label_map=True) == Fidelity(labels_equal=14 / 16)


def test_what_is_not_finite_counts_as_the_smallest_value_or_the_largest():
    frame = np.random.default_rng(2).random((32, 32)).astype(np.float32)
    frame[0, 0], frame[1, 1], frame[2, 2] = np.nan, np.inf, -np.inf
    shown = frame[::2, ::2]
    finite = frame[np.isfinite(frame)]
    mended = np.nan_to_num(frame, nan=finite.min(), posinf=finite.max(), neginf=finite.min())
    assert fidelity(frame, shown, 1) == fidelity(mended, mended[::2, ::2], 1)


def test_the_largest_floats():
    frame = np.full((16, 16), -np.finfo(np.float64).max)
    frame[::3] = np.finfo(np.float64).max
    found = fidelity(frame, frame[::2, ::2], 1)
    assert -1 <= found.ssim <= 1
    assert np.isfinite(found.psnr)


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((16, 16), np.int16),
        np.full((16, 16), np.nan),
        np.random.default_rng(3).random((16, 16)) * 1j,
    ],
    ids=["one value", "no number", "complex"],
)
def test_nothing_is_said(frame):
    assert fidelity(frame, frame[::2, ::2], 1) == Fidelity()


def test_levels_too_small_for_a_window_have_psnr_alone():
    frame = np.random.default_rng(4).random((2, 40))
    found = fidelity(frame, frame[::2, ::2], 1)
    assert found.ssim is None
    assert found.ssim_same_centres is None
    assert found.psnr > 0


def test_what_equals_the_reference_has_no_psnr():
    frame = np.random.default_rng(5).integers(0, 200, (16, 16)).astype(np.uint8)
    frame[0, :2] = 0, 128  # whose extent is a power of two: scaling is exact
    frame = np.minimum(frame, 128)
    found = fidelity(frame, frame, 0)
    assert found.psnr is None
    assert found.ssim == pytest.approx(1.0)


def test_means_are_over_what_is_known():
    several = [Fidelity(0.5, None, 30.0), Fidelity(1.0, None, None), Fidelity()]
    assert Fidelity.mean(several) == Fidelity(0.75, None, 30.0, None)
    assert Fidelity.mean([]) == Fidelity()
