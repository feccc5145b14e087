"""Packs: what is written comes back, from any offset, and damage is found."""

import itertools
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imarium.codec import decode_frame, decompositions_for, encode_frames, pixel_digest
from imarium.errors import (
    ImariumError,
    IntegrityError,
    InvalidRequestError,
    LevelError,
    NotFoundError,
    RefusedFileError,
    StorageError,
)
from imarium.pack import (
    Held,
    LevelReader,
    PackWriter,
    SeriesIndex,
    read_attachments,
    read_directory,
    read_index,
    verify_series,
)
from imarium.pack import reader as pack_reader
from imarium.testing import series_of, smooth_frames

FRAMES = smooth_frames(20, 128, 96)
AFFINE = ((1.5, 0, 0, -10), (0, 1.5, 0, -20), (0, 0, 3.0, 5), (0, 0, 0, 1))
SERIES = series_of(FRAMES[0], frames=20, uid="1.2.3.4", affine=AFFINE, dimensions=(2, 10))
COLOUR = np.stack([smooth_frames(1, 40, 50, "uint8", seed)[0] for seed in range(3)], axis=-1)[None]
ATTACHMENTS = {"nifti/header": bytes(348), "dicom/0": b"\x00\xffx" * 1000}


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> bytes:
    with PackWriter(tmp_path_factory.mktemp("pack")) as writer:
        writer.add(SERIES, 3, encode_frames(FRAMES, SERIES, 3, 2), ATTACHMENTS)
        colour = series_of(COLOUR[0], uid="9.9")
        depth = decompositions_for(40, 50)
        writer.add(colour, depth, encode_frames(COLOUR, colour, depth, 1), {})
        return writer.finish().path.read_bytes()


def verify_pack(fetch, size):
    for entry in read_directory(fetch, size):
        verify_series(SeriesIndex.from_bytes(fetch(*entry.index)), fetch)


def fetch_of(data: bytes):
    return lambda start, stop: data[start:stop]


def test_several_series_come_back_exactly(pack):
    fetch = fetch_of(pack)
    assert [entry.uid for entry in read_directory(fetch, len(pack))] == ["1.2.3.4", "9.9"]
    index = read_index(fetch, len(pack), "1.2.3.4")
    assert index.series == SERIES
    assert read_attachments(fetch, index) == ATTACHMENTS
    volume = LevelReader(index, fetch, 0, 2).volume()
    np.testing.assert_array_equal(volume, FRAMES.reshape(2, 10, 128, 96))
    colour = LevelReader(read_index(fetch, len(pack), "9.9"), fetch, 0).volume()
    np.testing.assert_array_equal(colour, COLOUR)


def test_a_level_of_all_frames_is_one_fetch_of_just_its_bytes(pack):
    index = read_index(fetch_of(pack), len(pack), "1.2.3.4")
    fetched = []

    def fetch(start, stop):
        fetched.append((start, stop))
        return pack[start:stop]

    low = LevelReader(index, fetch, 3).volume()
    assert low.shape == (2, 10, 16, 12)
    assert fetched == index.spans(3)
    assert index.level_bytes(3) < index.level_bytes(0) * 0.08
    sizes = [index.level_bytes(level) for level in range(4)]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("level", [0, 2])
def test_some_frames_equal_those_of_the_volume(pack, level):
    index = read_index(fetch_of(pack), len(pack), "1.2.3.4")
    reader = LevelReader(index, fetch_of(pack), level, 2)
    whole = np.asarray(reader.volume()).reshape(20, *reader.series.frame_shape)
    np.testing.assert_array_equal(np.stack(list(reader.frames(5, 12))), whole[5:12])
    np.testing.assert_array_equal(reader.frame(19), whole[19])


def test_geometry_of_levels(pack):
    index = read_index(fetch_of(pack), len(pack), "1.2.3.4")
    volume = LevelReader(index, fetch_of(pack), 2).volume()
    assert volume.spacing == (3.0, 6.0, 6.0)
    # The first voxel of level 2 covers pixels 0 to 3, so its centre lies 1.5 pixels further.
    np.testing.assert_allclose(volume.affine[:3, 3], [-10 + 1.5 * 1.5, -20 + 1.5 * 1.5, 5])
    assert volume[0].affine is None  # a view lies elsewhere
    assert (volume + 1).affine is None


def test_what_does_not_exist_is_refused(pack):
    index = read_index(fetch_of(pack), len(pack), "1.2.3.4")
    with pytest.raises(LevelError, match=r"levels 0 \(full\) to 3"):
        LevelReader(index, fetch_of(pack), 4)
    with pytest.raises(LevelError):
        index.spans(-1)
    with pytest.raises(InvalidRequestError):
        index.spans(0, 5, 21)
    with pytest.raises(LevelError, match="larger than the full"):
        index.level_for_size(129, 96)
    with pytest.raises(NotFoundError):
        read_index(fetch_of(pack), len(pack), "none")
    assert index.level_for_size(64, 48) == 1
    assert index.level_for_size(65, 48) == 0
    assert index.level_for_size(1, 1) == 3


def test_the_index_is_small():
    frames = smooth_frames(128, 64, 64)
    series = series_of(frames[0], frames=128)
    with PackWriter(Path("/tmp")) as writer:
        index = writer.add(series, 2, encode_frames(frames, series, 2, 2), {})
        assert len(index.to_bytes()) < 128 * 80


def test_index_round_trip(pack):
    index = read_index(fetch_of(pack), len(pack), "1.2.3.4")
    again = SeriesIndex.from_bytes(index.to_bytes())
    assert again.series == index.series
    np.testing.assert_array_equal(again.lengths, index.lengths)
    np.testing.assert_array_equal(again.digests, index.digests)


def test_any_flipped_bit_in_the_body_or_the_index_is_found(pack):
    rng = np.random.default_rng(0)
    for position in rng.integers(16, len(pack), 60):
        damaged = bytearray(pack)
        damaged[position] ^= 1 << rng.integers(8)
        fetch = fetch_of(bytes(damaged))
        if bytes(damaged[-24:-8]) != pack[-24:-8]:
            continue  # reserved zeros of the footer carry nothing
        with pytest.raises(ImariumError):
            verify_pack(fetch, len(pack))


@pytest.mark.parametrize("kept", [0, 10, 47, 48, 1000])
def test_a_cut_pack_is_no_pack(pack, kept):
    cut = pack[:kept]
    with pytest.raises(IntegrityError):
        read_directory(fetch_of(cut), len(cut))


def test_a_short_answer_is_noticed(pack):
    index = read_index(fetch_of(pack), len(pack), "1.2.3.4")
    with pytest.raises(IntegrityError, match="were asked for"):
        LevelReader(index, lambda start, stop: pack[start : stop - 1], 0).volume()


def test_a_bomb_in_place_of_an_index_is_not_inflated():
    bomb = imagecodecs.zstd_encode(bytes(1 << 29))
    assert len(bomb) < 1 << 20
    tracemalloc.start()
    with pytest.raises(IntegrityError):
        SeriesIndex.from_bytes(bomb)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_another_major_version_is_refused(pack):
    other = bytearray(pack)
    other[-28:-26] = (3).to_bytes(2, "little")
    with pytest.raises(ImariumError, match="format version 3"):
        read_directory(fetch_of(bytes(other)), len(other))


def test_leaving_the_writer_leaves_nothing_behind(tmp_path):
    with PackWriter(tmp_path) as writer:
        writer.add(SERIES, 3, encode_frames(FRAMES, SERIES, 3, 1), {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken", [0, 7])
def test_a_series_that_fails_leaves_no_trace_in_its_pack(tmp_path, broken):
    """The others are written as if it had never been there, byte for byte."""
    other = series_of(FRAMES[0], frames=20, uid="5.5")

    def failing():
        for number, frame in enumerate(encode_frames(FRAMES, other, 3, 2)):
            if number == broken:
                raise RefusedFileError("broken")
            yield frame

    digests = set()
    for fails in (True, False):
        with PackWriter(tmp_path) as writer:
            writer.add(SERIES, 3, encode_frames(FRAMES, SERIES, 3, 2), ATTACHMENTS)
            if fails:
                with pytest.raises(RefusedFileError):
                    writer.add(other, 3, failing(), {})
            third = series_of(FRAMES[0], frames=20, uid="6.6")
            writer.add(third, 3, encode_frames(FRAMES, third, 3, 2), {})
            pack = writer.finish()
            content = pack.path.read_bytes()
            assert blake3(content).hexdigest() == pack.digest
            assert len(content) == pack.size
            digests.add(pack.digest)
            verify_pack(fetch_of(content), len(content))
    assert len(digests) == 1


def test_a_full_disk_takes_back_what_was_half_written(tmp_path, monkeypatch):
    real, calls = os.writev, []

    def short_then_full(descriptor, pieces):
        calls.append(1)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return real(descriptor, [memoryview(pieces[0])[:10]])

    with PackWriter(tmp_path) as writer:
        writer.add(SERIES, 3, encode_frames(FRAMES, SERIES, 3, 2), ATTACHMENTS)
        size = writer.size
        monkeypatch.setattr(os, "writev", short_then_full)
        with pytest.raises(StorageError, match="make room"):
            writer.add(replace(SERIES, uid="5.5"), 3, encode_frames(FRAMES, SERIES, 3, 2), {})
        monkeypatch.undo()
        assert writer.size == size
        pack = writer.finish()
        content = pack.path.read_bytes()
    assert blake3(content).hexdigest() == pack.digest
    verify_pack(fetch_of(content), len(content))


@given(st.lists(st.integers(0, 19), max_size=30), st.sampled_from([1, 3000, 1 << 20]))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_frames_as_they_are_stored_in_any_order(pack, monkeypatch, numbers, at_once):
    monkeypatch.setattr(pack_reader, "_BATCH_BYTES", at_once)
    index = read_index(fetch_of(pack), len(pack), "1.2.3.4")
    stored = list(LevelReader(index, fetch_of(pack), 0).encoded(numbers))
    for number, frame in zip(numbers, stored, strict=True):
        values = decode_frame(frame.lane, frame.params, frame.parts, SERIES, 3, 0)
        np.testing.assert_array_equal(values, FRAMES[number])
        assert frame.digest == pixel_digest(values)


def test_a_pack_of_stored_frames_is_the_same_pack(pack, tmp_path):
    index = read_index(fetch_of(pack), len(pack), "1.2.3.4")
    stored = LevelReader(index, fetch_of(pack), 0).encoded(range(20))
    with PackWriter(tmp_path) as writer:
        again = writer.add(SERIES, 3, stored, ATTACHMENTS)
        copy = writer.finish().path.read_bytes()
    assert again.to_bytes() == index.to_bytes()
    assert copy[slice(*index.body)] == pack[slice(*index.body)]


def test_damaged_and_unknown_frames_are_not_passed_on(pack):
    index = read_index(fetch_of(pack), len(pack), "1.2.3.4")
    for part in range(4):
        damaged = bytearray(pack)
        damaged[index.span(part, 7)[0]] ^= 4
        taken = LevelReader(index, fetch_of(bytes(damaged)), 0).encoded(range(20))
        with pytest.raises(IntegrityError, match=f"part {part} of frame 7"):
            list(taken)
    later = replace(index, lanes=np.full(20, 99, np.uint8))
    with pytest.raises(IntegrityError, match="lane 99 is unknown"):
        next(LevelReader(later, fetch_of(pack), 0).encoded([3]))
    with pytest.raises(InvalidRequestError, match="full resolution"):
        next(LevelReader(index, fetch_of(pack), 1).encoded([3]))
    with pytest.raises(InvalidRequestError, match="do not exist"):
        next(LevelReader(index, fetch_of(pack), 0).encoded([20]))


@given(
    st.lists(st.integers(0, 60), min_size=2, max_size=8, unique=True), st.integers(0, 60), st.integers(0, 60)
)
def test_held_bytes_are_cut_over_ranges_that_touch(edges, start, stop):
    content = bytes(range(60))
    edges = sorted(edges)
    spans = list(itertools.pairwise(edges))[:: 1 if len(edges) % 2 else 2]
    held = Held(spans, [content[first:last] for first, last in spans])
    start, stop = min(start, stop), max(start, stop)
    found = held.cut(start, stop)
    there = {n for first, last in spans for n in range(first, last)}
    if set(range(start, stop)) <= there:
        assert found == content[start:stop]
    else:
        assert len(found) < stop - start
    with pytest.raises(IntegrityError):
        Held([(0, 5)], [b"1234"])
