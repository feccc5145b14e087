"""Where the frames of a pack's series lie, in arrays, so that a window of samples is planned in few steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imarium.codec.frames import Lane
from imarium.pack import SeriesIndex
from imarium.torch.checksums import joined

_INT32 = 1 << 31


class Plan:
    """A series at the level at which it is read."""

    __slots__ = ("heads", "index", "level", "memo", "shape")

    def __init__(self, index: SeriesIndex, level: int) -> None:
        self.index, self.level = index, level
        at = index.series.at_level(level)
        self.shape = at.frame_shape
        """Of a frame at the level."""
        self.heads = index.heads
        self.memo: Any = None
        """What a decoder found out about the series."""


@dataclass(frozen=True)
class Table:
    """Series of one pack."""

    plans: Sequence[Plan]
    parts: NDArray[np.int64]
    """(series,) parts that a frame has at its level; one where they lie one after another and need not be
    told apart."""
    first: NDArray[np.int64]
    """(series,) where the parts of its first frame begin in the arrays of parts."""
    first_frame: NDArray[np.int64]
    """(series,) where its frames begin in the arrays of frames."""
    starts: NDArray[np.int64]
    """(parts of all frames,) offsets in the pack, frame by frame."""
    lengths: NDArray[np.int64]
    checksums: NDArray[np.int64]
    plain: NDArray[np.bool_]
    """(frames,) whether a frame is integers that are coded as they are."""
    bounds: NDArray[np.int64]
    """(frames, 2) smallest and largest value of those that are plain."""

    @classmethod
    def of(cls, indexes: Sequence[SeriesIndex], levels: Sequence[int]) -> Table:
        """Of series at their levels. Raises LevelError."""
        plans = list(map(Plan, indexes, levels))
        parts = np.array([plan.index.parts_at(plan.level) for plan in plans], np.int64)
        frames = np.array([plan.index.series.frames for plan in plans], np.int64)
        params = np.concatenate([index.params for index in indexes])
        bounds = np.ascontiguousarray(params).view("<i8").reshape(-1, 2).astype(np.int64)
        lanes = np.concatenate([index.lanes for index in indexes])
        plain = (lanes == Lane.HTJ2K) & (bounds[:, 0] >= -_INT32) & (bounds[:, 1] < _INT32)
        first_frame = _before(frames)
        starts = _flat([index.starts for index in indexes], parts)
        lengths = _flat([index.lengths for index in indexes], parts)
        checksums = _flat([index.checksums for index in indexes], parts)
        whole = (frames == 1) & plain[np.minimum(first_frame, len(plain) - 1)]
        first = _before(parts * frames)
        lengths, checksums = _side_by_side(whole, parts, first, lengths, checksums)
        return cls(
            plans=plans,
            parts=np.where(whole, 1, parts),
            first=first,
            first_frame=first_frame,
            starts=starts,
            lengths=lengths,
            checksums=checksums,
            plain=plain,
            bounds=bounds,
        )

    def places(
        self, rows: NDArray[np.int64], frames: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the parts of frames of series are in the arrays, frame after frame; and how many each has."""
        counts = self.parts[rows]
        begins = self.first[rows] + frames * counts
        steps = np.arange(int(counts.sum())) - np.repeat(_before(counts), counts)
        return np.repeat(begins, counts) + steps, counts


def _before(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.cumsum(counts) - counts


def _flat(arrays: Sequence[NDArray[Any]], parts: NDArray[np.int64]) -> NDArray[np.int64]:
    """(parts, frames) of each series, cut to the parts of its level, frame by frame and one after another."""
    return np.concatenate(
        [array[:count].T.ravel() for array, count in zip(arrays, parts, strict=True)]
    ).astype(np.int64)


def _side_by_side(
    whole: NDArray[np.bool_],
    parts: NDArray[np.int64],
    first: NDArray[np.int64],
    lengths: NDArray[np.int64],
    checksums: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lengths and checksums in which the first part of a series of one frame stands for all its parts, which
    lie one after another in the pack."""
    (chosen,) = np.nonzero(whole)
    at = first[chosen]
    size, check = lengths[at], checksums[at].astype(np.uint32)
    for part in range(1, int(parts[chosen].max(initial=1))):
        (more,) = np.nonzero(parts[chosen] > part)
        added = lengths[at[more] + part]
        check[more] = joined(check[more], checksums[at[more] + part].astype(np.uint32), added)
        size[more] += added
    lengths, checksums = lengths.copy(), checksums.copy()
    lengths[at], checksums[at] = size, check
    return lengths, checksums
