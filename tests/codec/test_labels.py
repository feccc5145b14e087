"""The labels lane itself: maps in patches, tables, pixels of several samples, damage."""

import gzip
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from imarium.codec import Lane, decode_frame, decompositions_for, encode_frame, labels, polyphase
from imarium.errors import IntegrityError
from imarium.testing import series_of

TYPES = ("bool", "uint8", "int16", "uint32", "int64", "float16", "float32", "float64")


@st.composite
def maps(draw):
    """(frame, decompositions): discs of a few values on a ground, some stray pixels, of any size and type."""
    rows, columns = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    count = draw(st.sampled_from([None, None, 2, 3, 4]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    y, x = np.mgrid[:rows, :columns]
    ranks = np.zeros((rows, columns), np.intp)
    for label in range(1, draw(st.integers(1, 9))):
        middle, radius = rng.random(2) * (rows, columns), rng.random() * 30
        ranks[np.hypot(y - middle[0], x - middle[1]) < radius] = label
    stray = rng.random((rows, columns)) < draw(st.sampled_from([0, 0.003, 0.2]))
    ranks[stray] = rng.integers(0, 9, np.count_nonzero(stray))
    dtype = np.dtype(draw(st.sampled_from(TYPES)))
    table = rng.integers(0, 256, (9, (count or 1) * dtype.itemsize), np.uint8)
    if dtype.kind == "b":
        table %= 2
    frame = table.view(dtype)[ranks] if count else table.view(dtype)[:, 0][ranks]
    return frame, draw(st.integers(0, decompositions_for(rows, columns)))


def level_of(found, frame, depth, level):
    params, parts = found
    return labels.decode(params, parts[: depth + 1 - level], depth, frame.shape, frame.dtype)


@given(maps())
@settings(max_examples=150, deadline=None)
def test_every_level_is_every_second_row_and_column(drawn):
    frame, depth = drawn
    found = labels.encode(frame, depth)
    assume(found is not None)
    assert len(found[1]) == depth + 1
    for level in range(depth + 1):
        step = 1 << level
        got = level_of(found, frame, depth, level)
        assert got.dtype == frame.dtype
        assert got.tobytes() == frame[::step, ::step].tobytes()


@given(st.lists(st.integers(0, 255), min_size=1, max_size=256, unique=True), st.integers(0, 7))
@settings(max_examples=100, deadline=None)
def test_any_table_comes_back(values, shift):
    frame = np.array(values, np.uint64)[None] << np.uint64(8 * shift)
    params, parts = labels.encode(frame, 0)
    np.testing.assert_array_equal(labels.decode(params, parts, 0, frame.shape, frame.dtype), frame)


def test_hundreds_of_labels():
    frame = np.arange(400, dtype=np.uint32).reshape(20, 20).repeat(32, 0).repeat(32, 1) * 7
    encoded = encode_frame(frame, series_of(frame, label_map=True), 5)
    assert encoded.lane is Lane.LABELS
    assert 3 * sum(map(len, encoded.parts)) < len(gzip.compress(frame.tobytes()))


def test_more_labels_than_a_table_holds():
    most = np.append(np.zeros((1 << 20) + 1, np.int32), np.arange(65_535)).reshape(1088, 1024)
    found = labels.encode(most, 4)
    np.testing.assert_array_equal(level_of(found, most, 4, 0), most)
    most[0, 0] = -1
    assert labels.encode(most, 4) is None


def test_noise_is_not_worth_it():
    assert labels.encode(np.random.default_rng(0).integers(0, 9, (300, 300)), 4) is None


def discs(rows, columns, *middles):
    y, x = np.mgrid[:rows, :columns]
    return sum((np.hypot(y - middle[0], x - middle[1]) < 25) * (k + 1) for k, middle in enumerate(middles))


def test_colours_of_patches_are_one_value_each():
    ranks = discs(128, 96, (40, 40), (90, 60))
    colours = np.array([[0, 0, 0], [250, 3, 9], [7, 200, 9], [90, 90, 200]], np.uint8)
    frame = colours[ranks]
    series = series_of(frame)  # whose source does not say that these are labels
    encoded = encode_frame(frame, series, 3)
    assert encoded.lane is Lane.LABELS
    assert encoded.params[:2] == labels.TOGETHER
    alone = labels.encode(ranks.astype(np.uint8), 3)
    assert sum(map(len, encoded.parts)) < sum(map(len, alone[1])) + 16
    low = decode_frame(encoded.lane, encoded.params, encoded.parts[:2], series, 3, 2)
    np.testing.assert_array_equal(low, frame[::4, ::4])


def test_maps_laid_over_one_another_are_coded_apart():
    """As in probabilistic atlases: labels and their probabilities as samples of one pixel."""
    rng = np.random.default_rng(0)
    one, other = discs(128, 96, (40, 40), (90, 60)), discs(128, 96, (60, 50), (60, 90))
    chance = np.where(other > 0, rng.integers(1, 90, other.shape), 0)
    frame = np.stack([one, one + other * 5, chance], -1).astype(np.int16)
    params, parts = labels.encode(frame, 3)
    assert params == labels.APART
    np.testing.assert_array_equal(level_of((params, parts), frame, 3, 1), frame[::2, ::2])
    series = series_of(frame, label_map=True)
    assert encode_frame(frame, series, 3).params[:2] == labels.APART
    assert sum(map(len, parts)) < 0.8 * sum(map(len, polyphase.encode(frame, 3)))


@pytest.mark.parametrize("samples", [None, 3])
@pytest.mark.parametrize("value", [0, 7])
def test_a_slice_of_one_label_costs_next_to_nothing(samples, value):
    shape = (512, 512) if samples is None else (512, 512, samples)
    frame = np.full(shape, value, np.uint8)
    _, parts = labels.encode(frame, 5)
    assert 1 <= len(parts[0]) <= 4  # there is always something to ask for
    assert not any(parts[1:])


def test_a_small_organ_costs_less_than_a_byte_a_pixel_of_its_edge():
    """What does not change over a large slice costs nothing, at any level."""
    frame = np.zeros((512, 512), np.uint8)
    frame[200:205, 300:306] = 1
    _, parts = labels.encode(frame, 5)
    assert sum(map(len, parts)) < 20


def test_small_frames_of_labels_that_do_not_say_so():
    frame = np.zeros((23, 38), np.int16)
    frame[5:15, 7:30] = 1
    encoded = encode_frame(frame, series_of(frame), 0)
    assert encoded.lane is Lane.LABELS
    assert sum(map(len, encoded.parts)) < 20


def test_what_these_labels_are_must_be_known():
    frame = np.zeros((8, 8), np.uint8)
    _, parts = labels.encode(frame, 0)
    for params in (b"\2\0", b"\1\2"):
        with pytest.raises(IntegrityError, match="upgrade"):
            labels.decode(params, parts, 0, frame.shape, frame.dtype)
    with pytest.raises(IntegrityError):
        labels.decode(labels.TOGETHER, [b""], 0, frame.shape, frame.dtype)
    with pytest.raises(IntegrityError):
        labels.decode(labels.TOGETHER, parts, 0, (8, 8, 3), np.dtype(np.float64))
    with pytest.raises(IntegrityError):
        labels.decode(b"\0\0", parts, 0, (8, 8, 3), np.dtype(np.uint8))


@given(maps(), st.data())
@settings(max_examples=150, deadline=5000)
def test_damage_is_an_integrity_error_or_other_labels_and_soon(drawn, data):
    frame, depth = drawn
    encoded = labels.encode(frame, depth)
    assume(encoded is not None)
    params, parts = encoded[0], list(encoded[1])
    for _ in range(data.draw(st.integers(1, 3))):
        number = data.draw(st.integers(0, depth))
        parts[number] = data.draw(
            st.one_of(
                st.binary(max_size=60),
                st.integers(0, len(parts[number])).map(lambda stop, part=parts[number]: part[:stop]),
                st.just(b"\xff" * 200),
            )
        )
    begin = data.draw(st.sampled_from([params, labels.TOGETHER, labels.APART, b"\0\0"]))
    with suppress(IntegrityError):
        found = labels.decode(begin, parts, depth, frame.shape, frame.dtype)
        assert found.shape == frame.shape
        assert found.dtype == frame.dtype
