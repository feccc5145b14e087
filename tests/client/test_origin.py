"""What an origin is asked for."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imarium.client.origin import joined, pieces_of_index, pieces_of_levels, pieces_of_row, together
from imarium.errors import LevelError
from imarium.model import Selection, Series
from imarium.pack import SeriesIndex

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12)


def index_of(lengths: np.ndarray, block_frames: int) -> SeriesIndex:
    parts, frames = lengths.shape
    return SeriesIndex(
        series=Series("1.2", "1.2", "png", frames, 64, 64, "uint8"),
        decompositions=parts - 1,
        block_frames=block_frames,
        body=(16, 16 + int(lengths.sum())),
        attachments=(0, 0),
        attachments_crc=0,
        params=np.zeros((frames, 16), np.uint8),
        digests=np.zeros((frames, 32), np.uint8),
        lengths=lengths.astype(np.uint32),
        checksums=np.zeros((parts, frames), np.uint32),
        lanes=np.zeros(frames, np.uint8),
    )


@given(SPANS)
def test_joined_spans_cover_the_same_bytes(spans):
    found = joined(spans)
    assert {n for a, b in found for n in range(a, b)} == {n for a, b in spans for n in range(a, b)}
    assert all(before[1] < after[0] for before, after in pairwise(found))


@settings(deadline=None)
@given(st.integers(2, 5), st.integers(1, 12), st.integers(1, 5), st.randoms(use_true_random=False))
def test_pieces_are_the_same_from_an_index_and_from_the_ranges_of_levels(parts, frames, block, random):
    lengths = np.array([[random.randint(1, 9) for _ in range(frames)] for _ in range(parts)])
    index = index_of(lengths, block)
    levels = [index.spans(level) for level in range(index.levels)]
    for level in range(index.levels):
        pieces = pieces_of_levels(levels, level)
        assert pieces == pieces_of_index(index, level)
        assert joined(pieces) == levels[level]
        assert set(pieces) <= set(pieces_of_levels(levels, 0))


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 8), st.integers(1, 4), st.randoms(use_true_random=False))
def test_parts_that_are_empty_change_no_bytes(parts, frames, block, random):
    lengths = np.array([[random.randint(0, 2) for _ in range(frames)] for _ in range(parts)])
    lengths[0] += 1
    index = index_of(lengths, block)
    levels = [index.spans(level) for level in range(index.levels)]
    for level in range(index.levels):
        assert joined(pieces_of_levels(levels, level)) == levels[level]
        assert joined(pieces_of_index(index, level)) == levels[level]


def test_pieces_of_a_row(live, uid):
    (row,) = (row for rows in live.archive.manifests.rows(Selection()) for row in rows)
    index = live.archive.streaming.index(live.archive.catalog.get_series(uid))
    assert pieces_of_row(row, 1) == pieces_of_index(index, 1)
    with pytest.raises(LevelError):
        pieces_of_row(row, 3)


def test_the_first_error_ends_the_others():
    ended = []

    async def lasting():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async def failing():
        await asyncio.sleep(0)
        raise LevelError("no")

    with pytest.raises(LevelError):
        asyncio.run(together([lasting(), failing()]))
    assert ended == [True]
