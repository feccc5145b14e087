"""Blocks of frames, and packs of version 1."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imarium.codec import encode_frames
from imarium.errors import ImariumError, IntegrityError
from imarium.pack import LevelReader, PackWriter, SeriesIndex, read_directory, read_index, verify_series
from imarium.pack.layout import _pack_lengths, _unpack_lengths, block_frames_for, coalesced
from imarium.testing import series_of, smooth_frames

FRAMES = smooth_frames(11, 64, 48)
SERIES = series_of(FRAMES[0], frames=11, uid="1.2")
WEB_TESTS = Path(__file__).parents[2] / "web" / "tests"
VERSION_1, LABELS_0 = WEB_TESTS / "fixtures-v1", WEB_TESTS / "fixtures-labels-0"


def packed(folder, block_frames) -> bytes:
    with PackWriter(folder) as writer:
        writer.add(SERIES, 2, encode_frames(FRAMES, SERIES, 2, 2), {"a": b"b"}, block_frames)
        return writer.finish().path.read_bytes()


def opened(pack: bytes, uid: str):
    def fetch(start, stop):
        return pack[start:stop]

    return read_index(fetch, len(pack), uid), fetch


@pytest.mark.parametrize("block_frames", [1, 2, 4, 10, 11, 100])
def test_any_size_of_blocks_gives_the_same_values(tmp_path, block_frames):
    index, fetch = opened(packed(tmp_path, block_frames), "1.2")
    assert index.block_frames == block_frames
    verify_series(index, fetch)
    whole, _ = opened(packed(tmp_path, None), "1.2")
    for level in range(3):
        reader = LevelReader(index, fetch, level, 2)
        volume = np.asarray(reader.volume())
        if level == 0:
            np.testing.assert_array_equal(volume, FRAMES)
        np.testing.assert_array_equal(np.stack(list(reader.frames(3, 9))), volume[3:9])
        np.testing.assert_array_equal(reader.frame(10), volume[10])
        assert index.level_bytes(level) == whole.level_bytes(level)


def test_a_level_is_one_range_a_block_and_the_full_level_one_in_all(tmp_path):
    index, fetch = opened(packed(tmp_path, 4), "1.2")
    assert index.spans(0) == [index.body]
    spans = index.spans(2)
    assert len(spans) == 3
    assert [start for start, _ in spans] == [index.span(0, frame)[0] for frame in (0, 4, 8)]
    assert sum(stop - start for start, stop in spans) == index.level_bytes(2)
    asked = []

    def fetch_many(wanted):
        asked.append(list(wanted))
        return [fetch(*span) for span in wanted]

    LevelReader(index, fetch, 2, 1, fetch_many).volume()
    assert asked == [spans]
    # Frames 3 to 5 lie in two blocks; the parts of the frame 3 end its block, so the last runs on into 4.
    assert index.spans(1, 3, 6) == coalesced(
        [index.span(part, 3) for part in (0, 1)]
        + [(index.span(part, 4)[0], index.span(part, 5)[1]) for part in (0, 1)]
    )


@pytest.mark.parametrize(("level", "threads"), [(0, 1), (0, 2), (2, 2)])
def test_from_near_by_threads_fetch_what_they_decode(tmp_path, level, threads):
    index, fetch = opened(packed(tmp_path, 4), "1.2")
    asked = []

    def fetch_many(spans):
        asked.extend(spans)
        return [fetch(*span) for span in spans]

    def fetch_one(start, stop):
        asked.append((start, stop))
        return fetch(start, stop)

    near = LevelReader(index, fetch_one, level, threads, fetch_many, near=True).volume()
    np.testing.assert_array_equal(near, LevelReader(index, fetch, level).volume())
    # The frames 0 to 7 and the frames 8 to 10, each byte once.
    assert sorted(asked) == sorted([*index.spans(level, 0, 8), *index.spans(level, 8, 11)])
    assert sum(stop - start for start, stop in asked) == index.level_bytes(level)


def test_parts_follow_one_another_block_by_block(tmp_path):
    index, _ = opened(packed(tmp_path, 4), "1.2")
    position = index.body[0]
    for first in (0, 4, 8):
        for part in range(3):
            for frame in range(first, min(first + 4, 11)):
                assert index.span(part, frame)[0] == position
                position = index.span(part, frame)[1]
    assert position == index.body[1]


def test_a_block_is_written_before_the_next_is_encoded(tmp_path):
    sizes = []
    with PackWriter(tmp_path) as writer:

        def watched():
            for frame in encode_frames(FRAMES, SERIES, 2, 1):
                sizes.append(writer.size)
                yield frame

        writer.add(SERIES, 2, watched(), {}, 3)
    assert sizes[:3] == [16] * 3
    assert len(set(sizes)) == 4
    assert sizes == sorted(sizes)


def test_sizes_of_blocks():
    assert [block_frames_for(frames) for frames in (1, 128, 256, 257, 512, 513, 1000)] == [
        1, 128, 256, 129, 256, 171, 250,
    ]  # fmt: skip


@given(
    st.lists(
        st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 300), min_size=5, max_size=5),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=100, deadline=None)
def test_lengths_come_back(rows):
    lengths = np.array(rows, np.uint32)
    packed_lengths = _pack_lengths(lengths)
    assert len(packed_lengths) == 4 * lengths.size
    np.testing.assert_array_equal(_unpack_lengths(packed_lengths, *lengths.shape), lengths)


def test_lengths_as_the_document_says():
    assert _pack_lengths(np.array([[5, 3, 3 + 256]], np.uint32)) == bytes([10, 3, 0, 0, 0, 2] + [0] * 6)


def test_more_and_fewer_frames_than_announced_are_refused(tmp_path):
    encoded = list(encode_frames(FRAMES, SERIES, 2, 1))
    for wrong in (encoded[:-1], [*encoded, encoded[0]]):
        with PackWriter(tmp_path) as writer:
            with pytest.raises(IntegrityError, match="announced"):
                writer.add(SERIES, 2, wrong, {}, 4)
            assert writer.size == 16


@pytest.mark.parametrize(
    ("folder", "name"),
    [(folder, path.stem) for folder in (VERSION_1, LABELS_0) for path in sorted(folder.glob("*.pack"))],
)
def test_what_earlier_versions_wrote_is_read(folder, name):
    """Packs that earlier versions of the writer made, with what they decode to."""
    case = json.loads((folder / "cases.json").read_text())[name]
    pack, expected = (folder / f"{name}.pack").read_bytes(), (folder / f"{name}.bin").read_bytes()
    assert pack[8] == (1 if folder == VERSION_1 else 2)

    def fetch(start, stop):
        return pack[start:stop]

    (entry,) = read_directory(fetch, len(pack))
    assert list(entry.index) == case["index"]
    index = SeriesIndex.from_bytes(fetch(*entry.index))
    assert index.block_frames == index.series.frames
    verify_series(index, fetch)
    values = b""
    for level, shape in enumerate(case["shapes"]):
        volume = np.asarray(LevelReader(index, fetch, level).volume())
        assert list(volume.shape) == shape
        values += volume.tobytes()
    assert values == expected
    again = SeriesIndex.from_bytes(index.to_bytes())
    np.testing.assert_array_equal(again.lengths, index.lengths)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_packs_of_either_version_raise_no_other_error(data):
    original = data.draw(st.sampled_from(PACKS))
    damaged = bytearray(original)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(damaged[: data.draw(st.integers(0, len(damaged)) | st.just(len(damaged)))])

    def fetch(start, stop):
        return damaged[start:stop]

    try:
        for entry in read_directory(fetch, len(damaged)):
            verify_series(SeriesIndex.from_bytes(fetch(*entry.index)), fetch)
    except ImariumError:
        return
    # Whatever passes is whole but for the header and the reserved bytes, which carry nothing.
    assert damaged[16:-24] == original[16:-24]


PACKS = [path.read_bytes() for path in sorted(VERSION_1.glob("*.pack"))]
with tempfile.TemporaryDirectory() as _folder:
    PACKS.append(packed(Path(_folder), 4))
