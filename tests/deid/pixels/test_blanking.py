"""Blanking: nothing of the text is left, and nothing else changed."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imarium.codec.color import ybr_full_to_rgb
from imarium.deid.pixels.blanking import blank_value, blanked, blanked_source
from imarium.deid.pixels.boxes import Box
from imarium.errors import InvalidRequestError
from imarium.model import SourceSeries
from imarium.model.series import SourceCodestream
from imarium.testing import DTYPES, frames_of, series_of


def boxes(most: int = 90) -> st.SearchStrategy[Box]:
    places = st.tuples(*[st.integers(0, most)] * 4, st.integers(0, 3), st.integers(1, 3))
    return places.map(
        lambda sides: Box(
            sides[0],
            sides[1],
            sides[0] + 1 + sides[2],
            sides[1] + 1 + sides[3],
            sides[4],
            sides[4] + sides[5],
        )
    )


@given(frames_of(DTYPES), st.lists(boxes(), max_size=4))
def test_all_inside_and_nothing_outside_changes(frame, chosen):
    series = series_of(frame, 4)
    value = blank_value(series)
    before = frame.tobytes()
    made = list(blanked([frame] * 4, chosen, series))
    assert frame.tobytes() == before
    for index, after in enumerate(made):
        inside = np.zeros(frame.shape[:2], bool)
        for box in chosen:
            if box.first <= index < box.stop:
                inside[box.top : box.bottom, box.left : box.right] = True
        assert after.dtype == frame.dtype
        assert after[~inside].tobytes() == frame[~inside].tobytes()
        expected = np.broadcast_to(value[0] if frame.ndim == 2 else value, after[inside].shape)
        assert after[inside].tobytes() == expected.tobytes()


def test_frames_without_a_box_are_not_copied():
    frame = np.ones((8, 8), np.uint8)
    first, second = blanked([frame, frame], [Box(0, 0, 2, 2, 1, 2)], series_of(frame, 2))
    assert first is frame
    assert second is not frame


@pytest.mark.parametrize(
    ("facts", "dtype", "samples", "expected"),
    [
        ({}, "uint16", 1, [0]),
        ({"photometric": "MONOCHROME1", "bits_stored": 12}, "uint16", 1, [4095]),
        ({"modality": "CT"}, "int16", 1, [-1024]),
        ({"modality": "CT", "rescale_intercept": -1024.0}, "uint16", 1, [0]),
        ({"modality": "MR", "bits_stored": 12}, "int16", 1, [-2048]),
        ({"photometric": "RGB"}, "uint8", 3, [0, 0, 0]),
        ({"photometric": "YBR_FULL"}, "uint8", 3, [0, 128, 128]),
        ({"photometric": "RGB"}, "uint8", 4, [0, 0, 0, 255]),
        ({"palette": ((9, 9, 9), (200, 0, 0), (0, 0, 1))}, "uint8", 1, [2]),
        ({}, "float32", 1, [0.0]),
        ({"label_map": True}, "int16", 1, [0]),
    ],
)
def test_blank_is_black(facts, dtype, samples, expected):
    frame = np.zeros((4, 4, samples) if samples > 1 else (4, 4), dtype)
    series = replace(series_of(frame), **facts)
    assert blank_value(series).tolist() == expected


def test_blank_ybr_shows_black():
    frame = np.full((4, 4, 3), 200, np.uint8)
    series = series_of(frame, photometric="YBR_FULL")
    (made,) = blanked([frame], [Box(0, 0, 4, 4)], series)
    assert (ybr_full_to_rgb(made) == 0).all()


def test_a_value_of_ones_own():
    frame = np.zeros((4, 4), np.int16)
    (made,) = blanked([frame], [Box(1, 1, 2, 2)], series_of(frame), np.asarray([77]))
    assert made[1, 1] == 77
    assert made.sum() == 77
    with pytest.raises(InvalidRequestError, match="1 numbers"):
        list(blanked([frame], [], series_of(frame), np.asarray([1, 2])))
    with pytest.raises(InvalidRequestError, match="int16"):
        list(blanked([frame], [], series_of(frame), np.asarray([70_000])))


def test_frames_of_another_shape_are_refused():
    frame = np.zeros((4, 4), np.int16)
    with pytest.raises(InvalidRequestError, match="none of a series"):
        list(blanked([frame.T[:3]], [], series_of(frame)))


def test_blanked_frames_lose_the_codestream_of_their_source():
    frame = np.full((8, 8), 9, np.uint8)
    stream = SourceCodestream("jpeg", b"holds what was blanked")
    source = SourceSeries(series_of(frame, 3), (), lambda: iter([frame] * 3), codestream=lambda _: stream)
    made = blanked_source(source, [Box(0, 0, 4, 4, 1, 2)])
    assert made.codestream is not None
    assert [made.codestream(index) for index in range(3)] == [stream, None, stream]
    assert [int(one.sum()) for one in made.read_frames()] == [576, 432, 576]
