"""Affines, spacing and the turning for the screen."""

import json

import numpy as np
import pytest

from imarium.model import Series, Volume, level_shape, radiological_turn, rescale_affine, spacing_of

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
