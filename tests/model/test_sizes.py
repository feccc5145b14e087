"""Sizes and spacings as people ask for them."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from imarium.errors import InvalidRequestError, LevelError
from imarium.model import Series
from imarium.model.sizes import grid_of_spacing, parse_size


def series(slices=10, rows=100, columns=80, spacing=(3.0, 1.0, 1.0), **facts):
    slice_, row, column = spacing
    affine = ((column, 0, 0, 0), (0, row, 0, 0), (0, 0, slice_, 0), (0, 0, 0, 1))
    return Series("1", "1", "nifti", slices, rows, columns, "int16", affine=affine, **facts)


def test_sizes():
    assert parse_size("40", series()) == (50, 40)
    assert parse_size("30x70", series()) == (30, 70)
    assert parse_size("160", series(), upsample=True) == (200, 160)
    with pytest.raises(LevelError):
        parse_size("81", series())
    for text in ("", "0", "-1", "4x", "x4", "1e3", "4X4", " 4", "10000000"):
        with pytest.raises(InvalidRequestError):
            parse_size(text, series())


SPACING = st.floats(0.05, 50)


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(1, 300),
    st.tuples(SPACING, SPACING, SPACING),
    SPACING,
)
def test_the_extent_stays_and_the_spacing_is_the_nearest(slices, rows, columns, stored, asked):
    full = series(slices, rows, columns, stored)
    found = grid_of_spacing(asked, full, upsample=True)
    for count, before, step in zip(found, (slices, rows, columns), stored, strict=True):
        if before == 1 and count == 1:
            continue
        extent = before * step
        assume(extent > asked)
        assert abs(count - extent / asked) <= 0.5 + 1e-6
    made = full.at_slices(found[0]).at_size(*found[1:])
    sides = (made.dimensions[-1], made.rows, made.columns)
    for count, step, before, old in zip(
        sides, made.spacing, (slices, rows, columns), full.spacing, strict=True
    ):
        assert math.isclose(count * step, before * old, rel_tol=1e-9)


def test_spacings_that_cannot_be():
    with pytest.raises(LevelError, match="slices are 3 mm apart"):
        grid_of_spacing(1.0, series())
    assert grid_of_spacing((None, 2.0, 2.0), series()) == (10, 50, 40)
    assert grid_of_spacing(2.0, series(slices=1)) == (1, 50, 40)
    with pytest.raises(InvalidRequestError, match="how large"):
        grid_of_spacing(1.0, Series("1", "1", "png", 1, 9, 9, "uint8"))


def test_slices_that_do_not_mix():
    note = "Slice spacing is uneven: 1 to 3 mm between slices"
    with pytest.raises(InvalidRequestError, match="uneven"):
        series(notes=(note,)).at_slices(5)
    with pytest.raises(InvalidRequestError, match="rescale"):
        series(frame_rescale=((1.0, 0.0),) * 10).at_slices(5)
    assert series(notes=(note,)).at_slices(10).frames == 10
    moving = series(slices=20, dimensions=(2, 10)).at_slices(5)
    assert (moving.frames, moving.dimensions) == (10, (2, 5))
