"""What a manifest's series are to a data set: how many samples, at which level, of which shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from imarium.errors import InvalidRequestError, LevelError
from imarium.manifest import Manifest
from imarium.pack import Span
from imarium.torch.order import Ids

Kind = Literal["image", "slice", "volume"]
Size = int | tuple[int, int] | tuple[int, int, int]

KINDS = ("image", "slice", "volume")
_MOST_SIDE = 1 << 16


@dataclass(frozen=True)
class Items:
    """The series of a manifest in arrays of one value a series, so that millions of them fit in memory."""

    uids: pa.ChunkedArray
    packs: tuple[str, ...]
    """Keys of packs, in the order of the manifest."""
    pack: NDArray[np.int32]
    """Which of them holds a series."""
    index: NDArray[np.int64]
    """(series, 2) span of its index."""
    frames: NDArray[np.int32]
    """Of the whole series."""
    depth: NDArray[np.int32]
    """Frames of a sample."""
    level: NDArray[np.int8]
    """What is read."""
    shape: NDArray[np.int32]
    """(series, 2) rows and columns at that level."""
    fitted: NDArray[np.int32]
    """(series, 2) rows and columns after resampling, before anything is cropped."""
    channels: NDArray[np.int32]
    """Values a pixel, as stored."""
    weights: NDArray[np.float64]
    """Encoded bytes a sample, at that level."""
    samples: Ids
    """(series + 1,) the first sample of each, and at the end their number."""

    @classmethod
    def of(
        cls, manifest: Manifest, kind: Kind, level: int | None, size: Size | None, *, upsample: bool
    ) -> Items:
        """Raises InvalidRequestError and LevelError for what the series do not have."""
        table = manifest.table.combine_chunks()
        if not len(manifest):
            raise InvalidRequestError("the selection holds no series")
        frames = _numbers(table["frames"], np.int32)
        depth = np.ones(len(frames), np.int32)
        if kind == "volume":
            depth = np.array([dimensions[-1] for dimensions in table["dimensions"].to_pylist()], np.int32)
            depth = np.where(frames % np.maximum(depth, 1) == 0, np.maximum(depth, 1), frames)
        several = int((frames > 1).sum())
        if kind == "image" and several:
            raise InvalidRequestError(
                f"{several} of {len(frames)} series have more than one frame, and are no single images; "
                'ask for kind="slice" or kind="volume"'
            )
        levels = _Levels(table)
        chosen, fitted = levels.chosen(level, _in_plane(size), upsample=upsample)
        packs, pack = _runs(table["pack"])
        counts = frames // depth
        return cls(
            uids=table["series"],
            packs=packs,
            pack=pack,
            index=_spans(table["index"]),
            frames=frames,
            depth=depth,
            level=chosen,
            shape=levels.shapes(chosen),
            fitted=fitted,
            channels=_numbers(table["samples"], np.int32),
            weights=levels.bytes(chosen) * depth / np.maximum(frames, 1),
            samples=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
        )

    def first_samples(self) -> Ids:
        """(packs + 1,) the first sample of each pack, and at the end their number."""
        starts = np.searchsorted(self.pack, np.arange(len(self.packs) + 1))
        return self.samples[starts]

    def places(self, ids: Ids) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Of samples: their series, their first frames, and how many frames they have."""
        rows = np.searchsorted(self.samples, ids, side="right") - 1
        depth = self.depth[rows].astype(np.int64)
        return rows, (ids - self.samples[rows]) * depth, depth

    def uid(self, row: int) -> str:
        """Of a series."""
        return str(self.uids[row].as_py())

    def index_span(self, row: int) -> Span:
        """Where the pack holds the index of a series."""
        start, stop = self.index[row].tolist()
        return start, stop


class _Levels:
    """The column `levels` of a manifest as flat arrays."""

    def __init__(self, table: pa.Table) -> None:
        lists = table["levels"].combine_chunks()
        flat = lists.flatten()
        self._counts = _numbers(pc.list_value_length(lists), np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self._counts)])[:-1]
        self._rows = _numbers(flat.field("rows"), np.int32)
        self._columns = _numbers(flat.field("columns"), np.int32)
        self._bytes = _numbers(flat.field("bytes"), np.int64)

    def chosen(
        self, level: int | None, size: tuple[int, int] | int | None, *, upsample: bool
    ) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
        """Level of each series, and (series, 2) the shape that its frames get."""
        if size is None:
            number = level or 0
            missing = int((self._counts <= number).sum())
            if number < 0 or missing:
                raise LevelError(
                    f"{missing} of {len(self._counts)} series have no level {number}; the smallest that all "
                    f"have is {int(self._counts.min()) - 1}"
                )
            found = np.full(len(self._counts), number, np.int8)
            return found, self.shapes(found)
        full = self.shapes(np.zeros(len(self._counts), np.int8))
        if isinstance(size, int):
            shorter = full.min(axis=1, keepdims=True)
            fitted = np.rint(full * (size / shorter)).astype(np.int32)
        else:
            fitted = np.broadcast_to(np.array(size, np.int32), full.shape)
        small = int((full < fitted).any(axis=1).sum())
        if small and not upsample:
            raise LevelError(
                f"{small} of {len(full)} series are smaller than {_text(size)} at full resolution; ask for "
                "less, choose other series, or say upsample=True"
            )
        wanted = np.repeat(np.minimum(fitted, full), self._counts, axis=0)
        fits = (self._rows >= wanted[:, 0]) & (self._columns >= wanted[:, 1])
        place = np.arange(len(fits)) - np.repeat(self._starts, self._counts)
        best = np.maximum.reduceat(np.where(fits, place, 0), self._starts)
        return best.astype(np.int8), np.ascontiguousarray(fitted)

    def shapes(self, levels: NDArray[np.int8]) -> NDArray[np.int32]:
        """(series, 2) rows and columns at levels."""
        at = self._starts + levels
        return np.stack([self._rows[at], self._columns[at]], axis=1)

    def bytes(self, levels: NDArray[np.int8]) -> NDArray[np.int64]:
        """Encoded bytes of all frames at levels."""
        return self._bytes[self._starts + levels]


def check_size(size: Size | None, level: int | None, kind: Kind) -> None:
    """Raises InvalidRequestError for what is no size."""
    if kind not in KINDS:
        raise InvalidRequestError(f"kinds of samples are {', '.join(KINDS)}, not {kind!r}")
    if size is None:
        return
    if level is not None:
        raise InvalidRequestError("ask for a size or for a level, not for both")
    sides = (size,) if isinstance(size, int) else tuple(size)
    whole = all(isinstance(side, int) and 1 <= side <= _MOST_SIDE for side in sides)
    if not whole or len(sides) > (3 if kind == "volume" else 2):
        raise InvalidRequestError(
            "a size is the shorter side in pixels, or (rows, columns), or for volumes (slices, rows, columns)"
        )


def _in_plane(size: Size | None) -> tuple[int, int] | int | None:
    if size is None or isinstance(size, int):
        return size
    return size[-2], size[-1]


def _text(size: tuple[int, int] | int) -> str:
    return f"{size} pixels" if isinstance(size, int) else f"{size[0]}x{size[1]}"


def _runs(column: pa.ChunkedArray) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Runs of equal keys: a pack that comes twice, in a table that is not sorted, counts as two."""
    keys: Sequence[str] = column.to_pylist()
    packs: list[str] = []
    numbers = np.empty(len(keys), np.int32)
    for place, key in enumerate(keys):
        if not packs or packs[-1] != key:
            packs.append(key)
        numbers[place] = len(packs) - 1
    return tuple(packs), numbers


def _numbers(values: Any, dtype: Any) -> NDArray[Any]:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    return np.asarray(values.to_numpy(zero_copy_only=False)).astype(dtype)


def _spans(column: pa.ChunkedArray) -> NDArray[np.int64]:
    struct = column.combine_chunks()
    return np.stack([_numbers(struct.field(name), np.int64) for name in ("start", "stop")], axis=1)
