"""What DICOM says of text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imarium.deid.pixels.boxes import Box, TextBox
from imarium.deid.pixels.hints import needs_review, outside_regions
from imarium.testing import series_of

US = series_of(np.zeros((40, 60), np.uint8), 5, modality="US")


@given(
    st.lists(
        st.tuples(st.integers(-5, 70), st.integers(-5, 50), st.integers(0, 70), st.integers(0, 50)),
        max_size=4,
    )
)
def test_boxes_and_regions_cover_every_pixel_once(regions):
    counted = np.zeros((40, 60), int)
    inside = np.zeros((40, 60), bool)
    for left, top, right, bottom in regions:
        inside[max(0, top) : bottom + 1, max(0, left) : right + 1] = True
    found = outside_regions(regions, US)
    for one in found:
        assert (one.box.first, one.box.stop) == (0, 5)
        counted[one.box.top : one.box.bottom, one.box.left : one.box.right] += 1
    assert (counted == (~inside if inside.any() else 0)).all()


@pytest.mark.parametrize(
    ("modality", "said", "found", "expected"),
    [
        ("CT", None, [], False),
        ("CT", "YES", [], True),
        ("CT", "NO", [TextBox(Box(0, 0, 1, 1), "read", 1.0)], True),
        ("US", None, [], True),
        ("US", "NO", [], False),
    ],
)
def test_who_has_to_look(modality, said, found, expected):
    series = series_of(np.zeros((4, 4), np.uint8), modality=modality)
    assert needs_review(series, said, found) is expected
