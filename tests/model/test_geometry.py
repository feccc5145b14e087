"""Affines, spacing and the turning for the screen."""

import copy
import json
import pickle

import numpy as np
import pytest

from imarium.model import Series, Volume, level_shape, radiological_turn, rescale_affine, spacing_of
from imarium.model.geometry import plausible

AXIAL_LPS = ((-0.7, 0, 0, 100), (0, -0.8, 0, 90), (0, 0, 2.5, -50), (0, 0, 0, 1))


def test_spacing_is_in_the_order_of_the_arrays_axes():
    assert spacing_of(AXIAL_LPS) == pytest.approx((2.5, 0.8, 0.7))


def test_level_shapes_round_up():
    assert level_shape(513, 1, 1) == (257, 1)
    assert level_shape(512, 3, 3) == (64, 1)


def test_outer_edges_stay_when_pixels_grow():
    grown = np.asarray(rescale_affine(AXIAL_LPS, 4, 2))
    for corner, factor in (((-0.5, -0.5), 1), ((511.5, 127.5), 1)):
        place = grown @ [corner[0], corner[1], 0, 1]
        original = [(corner[0] + 0.5) * 2 - 0.5, (corner[1] + 0.5) * 4 - 0.5, 0, factor]
        np.testing.assert_allclose(place, np.asarray(AXIAL_LPS) @ original)


@pytest.mark.parametrize(
    ("columns_go", "rows_go", "turn"),
    [
        ((-1, 0, 0), (0, -1, 0), (False, False, False)),  # axial, as DICOM stores it
        ((1, 0, 0), (0, 1, 0), (False, True, True)),  # axial, as NIfTI often does
        ((0, -1, 0), (0, 0, -1), (False, False, False)),  # sagittal, facing left
        ((0, 0, 1), (0, 1, 0), (True, True, True)),  # sagittal, lying
        ((-1, 0, 0), (0, 0, 1), (False, False, True)),  # coronal, upside down
    ],
)
def test_turning_for_the_screen(columns_go, rows_go, turn):
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = columns_go, rows_go
    assert radiological_turn(tuple(map(tuple, affine))) == turn


def test_facts_survive_json():
    facts = {"dimensions": (2, 10), "affine": AXIAL_LPS, "palette": ((1, 2, 3),), "notes": ("uneven",)}
    series = Series("1", "2", "dicom", 20, 4, 5, "uint8", window_center=40.0, window_width=400.0, **facts)
    again = Series.from_json(json.loads(json.dumps(series.to_json() | {"of_a_newer_version": 1})))
    assert again == series
    assert series.shape == (20, 4, 5)
    assert series.volume_shape == (2, 10, 4, 5)


def test_rescaled_values():
    series = Series("1", "2", "dicom", 1, 2, 2, "uint16", rescale_slope=2.0, rescale_intercept=-1024.0)
    volume = Volume.wrap(np.array([[[0, 1], [512, 1024]]], np.uint16), series)
    np.testing.assert_array_equal(volume.rescaled(), [[[-1024, -1022], [0, 1024]]])
    with pytest.raises(ValueError, match="whole volume"):
        volume[0].rescaled()


def test_frames_may_have_their_own_slopes():
    pairs = ((1.0, 0.0), (2.0, 0.5), (3.0, 0.0), (4.0, -1.0))
    series = Series("1", "2", "dicom", 4, 1, 2, "uint8", dimensions=(2, 2), frame_rescale=pairs)
    volume = Volume.wrap(np.array([[[[1, 2]], [[1, 2]]], [[[1, 2]], [[1, 2]]]], np.uint8), series)
    expected = [[[[1, 2]], [[2.5, 4.5]]], [[[3, 6]], [[3, 7]]]]
    assert volume.rescaled().dtype == np.float32
    np.testing.assert_array_equal(volume.rescaled(), expected)
    assert type(volume.rescaled()) is np.ndarray
    assert [series.rescale_of(index) for index in range(4)] == list(pairs)
    assert Series.from_json(json.loads(json.dumps(series.to_json()))) == series
    assert series.at_level(1).frame_rescale == pairs
    assert Series("1", "2", "dicom", 4, 1, 2, "uint8", rescale_slope=2.0).rescale_of(3) == (2.0, 0.0)


@pytest.fixture
def placed():
    series = Series("1", "2", "dicom", 2, 3, 4, "int16", affine=AXIAL_LPS)
    return Volume.wrap(np.arange(24, dtype=np.int16).reshape(2, 3, 4), series)


@pytest.mark.parametrize(
    "again",
    [
        Volume.copy,
        copy.copy,
        copy.deepcopy,
        lambda volume: pickle.loads(pickle.dumps(volume)),
        lambda volume: pickle.loads(pickle.dumps(volume, protocol=2)),
        lambda volume: copy.deepcopy({"a": [volume]})["a"][0],
    ],
)
def test_copies_lie_where_the_volume_does(placed, again):
    other = again(placed)
    assert type(other) is Volume
    assert other.series == placed.series
    assert other.spacing == placed.spacing
    np.testing.assert_array_equal(other.affine, placed.affine)
    np.testing.assert_array_equal(other, placed)
    other[0, 0, 0] = 99
    assert placed[0, 0, 0] == 0


def test_views_and_results_lie_nowhere(placed):
    views = (placed[0], placed[:], placed[:, ::2], placed.T, placed.reshape(-1), placed[placed > 3])
    for view in (*views, placed + 1, 1 - placed, placed > 3, np.sqrt(placed), placed.clip(0, 3)):
        assert view.affine is None
    for moved in (np.sort(placed, axis=None), np.sort(placed), np.partition(placed, 1)):
        assert getattr(moved, "affine", None) is None
    assert np.median(placed) == 11.5
    assert placed.affine is not None
    for result in (placed.sum(axis=0), placed.cumsum(), np.mean(placed, axis=(0, 1)), placed.max(axis=2)):
        assert type(result) is np.ndarray
    for scalar in (placed.max(), placed.sum(), np.min(placed), placed.mean(), placed.std(), placed[0].max()):
        assert isinstance(scalar, np.generic)
    assert placed.max() == 23
    placed += 1
    assert type(placed) is Volume
    assert placed.affine is not None


@pytest.mark.parametrize("size", [1e-9, 1e-3, 1.0, 1e9])
def test_affines_of_any_real_size_are_plausible(size):
    assert plausible(np.diag([size, -size, size, 1.0]))


@pytest.mark.parametrize("value", [0.0, 1e-10, 5e-324, 1.1e9, 1e200, np.inf, np.nan])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_affines_whose_spacing_overflows_or_vanishes_are_not(value, axis):
    matrix = np.eye(4)
    matrix[axis, axis] = value
    assert not plausible(matrix)
    if value > 1:
        moved = np.eye(4)
        moved[axis, 3] = value
        assert not plausible(moved)
