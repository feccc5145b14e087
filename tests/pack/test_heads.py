"""Headers of codestreams: taken off, kept once, and put back exactly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imarium.codec import encode_frame, encode_frames
from imarium.codec.frames import EncodedFrame, Lane
from imarium.errors import ImariumError
from imarium.pack import LevelReader, PackWriter, SeriesIndex, read_index, verify_series
from imarium.pack.heads import HeadCollector, Heads, head_length
from imarium.testing import series_of, smooth_frames

FRAMES = smooth_frames(9, 64, 48)
SERIES = series_of(FRAMES[0], frames=9, uid="1.2")


def packed(folder, series, encoded, decompositions=2):
    with PackWriter(folder) as writer:
        writer.add(series, decompositions, encoded, {})
        pack = writer.finish().path.read_bytes()
    return read_index(lambda a, b: pack[a:b], len(pack), series.uid), lambda a, b: pack[a:b]


def test_the_header_ends_where_the_first_tile_part_begins():
    (part, *_) = encode_frame(FRAMES[0], SERIES, 2).parts
    length = head_length(part)
    assert part[length : length + 4] == b"\xff\x90\x00\x0a"
    assert part[:4] == b"\xff\x4f\xff\x51"
    assert all(head_length(part[:cut]) == 0 for cut in range(length))


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\x4f", b"\x28\xb5\x2f\xfd" * 9, b"\xff\x4f\xff\x51\x00\x01\xff\x90", b"\xff\x4f\x00\x51" * 9,
     b"\xff\x4f" + b"\xff\x64\xff\xff" * 40000, b"\xff\xd8\xff\xe0\x00\x10JFIF"],
)  # fmt: skip
def test_what_is_no_codestream_has_no_header(data):
    assert head_length(data) == 0


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_looked_at_safely(data):
    length = head_length(b"\xff\x4f" + data)
    assert length == 0 or (b"\xff\x4f" + data)[length : length + 2] == b"\xff\x90"


def test_every_codestream_is_restored_byte_for_byte(tmp_path):
    encoded = list(encode_frames(FRAMES, SERIES, 2, 2))
    index, fetch = packed(tmp_path, SERIES, encoded)
    assert index.heads is not None
    for number, frame in enumerate(encoded):
        stored = [fetch(*index.span(part, number)) for part in range(3)]
        assert stored[0][:2] == b"\xff\x90"
        assert index.heads.of(number) + stored[0] == frame.parts[0]
        assert tuple(stored[1:]) == frame.parts[1:]
    verify_series(index, fetch)
    assert 0 < len(index.heads.positions) < len(index.heads.template) / 4
    again = SeriesIndex.from_bytes(index.to_bytes())
    assert [again.heads.of(n) for n in range(9)] == [index.heads.of(n) for n in range(9)]


def test_smallest_levels_get_smaller(tmp_path):
    encoded = list(encode_frames(FRAMES, SERIES, 2, 2))
    index, _ = packed(tmp_path, SERIES, encoded)
    before = sum(len(frame.parts[0]) for frame in encoded)
    assert index.level_bytes(2) < before * 0.9
    without = SeriesIndex(**{**vars(index), "heads": None})
    added = len(index.to_bytes()) - len(without.to_bytes())
    assert index.level_bytes(2) + added < before * 0.95


def test_frames_without_a_header_or_with_another_keep_their_bytes(tmp_path):
    """Values beyond int32, which go to another lane; headers of another length."""
    frames = np.zeros((6, 40, 40), np.uint32)
    frames[:] = np.random.default_rng(0).integers(0, 500, frames.shape)
    frames[0, 0, 0] = frames[3, 5, 5] = 1 << 31
    series = series_of(frames[0], frames=6, uid="5")
    encoded = list(encode_frames(frames, series, 1, 1))
    comment = b"\xff\x64\x00\x06\x00\x01ab"  # COM, within the main header
    odd = encoded[4]
    end = head_length(odd.parts[0])
    part = odd.parts[0][:end] + comment + odd.parts[0][end:]
    encoded[4] = EncodedFrame(odd.lane, odd.params, odd.digest, (part, *odd.parts[1:]))
    index, fetch = packed(tmp_path, series, encoded, 1)
    assert [frame.lane for frame in encoded].count(Lane.POLYPHASE) == 2
    assert index.heads.headed.tolist() == [0, 1, 1, 0, 0, 1]
    for number, frame in enumerate(encoded):
        assert index.heads.of(number) + fetch(*index.span(0, number)) == frame.parts[0]
    np.testing.assert_array_equal(LevelReader(index, fetch, 0).volume(), frames)


def test_series_without_headers_and_single_frames_have_none(tmp_path):
    one = series_of(FRAMES[0], uid="1")
    assert packed(tmp_path, one, encode_frames(FRAMES[:1], one, 2, 1))[0].heads is None
    labels = (FRAMES > 0).astype(np.uint8)
    series = series_of(labels[0], frames=9, uid="2", label_map=True)
    index, fetch = packed(tmp_path, series, encode_frames(labels, series, 2, 1))
    assert index.heads is None
    verify_series(index, fetch)


def test_floats_have_headers_too(tmp_path):
    floats = FRAMES + np.random.default_rng(0).normal(size=FRAMES.shape).astype(np.float32)
    series = series_of(floats[0], frames=9, uid="3")
    index, fetch = packed(tmp_path, series, encode_frames(floats, series, 2, 1))
    assert index.heads is not None
    verify_series(index, fetch)
    assert LevelReader(index, fetch, 2).volume().shape == (9, 16, 12)


@given(st.integers(1, 5), st.integers(2, 6), st.data())
@settings(max_examples=100, deadline=None)
def test_any_headers_come_back(length, frames, data):
    comment = b"\xff\x4f\xff\x64" + (length + 2).to_bytes(2, "big")
    headed = st.binary(min_size=length, max_size=length).map(lambda text: comment + text + b"\xff\x90")
    bodies = [data.draw(headed | st.binary(max_size=9)) for _ in range(frames)]
    collector = HeadCollector(frames)
    stored = [collector.without_head(part) for part in bodies]
    heads = collector.finish()
    if heads is None:
        assert stored == bodies
        return
    heads = Heads.from_bytes(heads.to_bytes(), len(heads.template), frames)
    assert [heads.of(number) + part for number, part in enumerate(stored)] == bodies


@given(st.binary(max_size=60), st.integers(-1, 70), st.integers(1, 8))
@settings(max_examples=200, deadline=None)
def test_only_our_errors_leave(data, length, frames):
    try:
        heads = Heads.from_bytes(data, length, frames)
    except ImariumError:
        return
    assert all(len(heads.of(frame)) in (0, length) for frame in range(frames))
