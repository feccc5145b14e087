"""Which samples come when: a pure function of the seed, the epoch and who shares the work.

Samples are numbered from 0, those of a pack one after another. An epoch puts the packs in a random order and
cuts what results into one stretch for each rank. A stretch is walked in windows of a bounded number of
samples and bytes, and the samples of a window are shuffled: so a pack is read a window at a time, once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from imarium.errors import InvalidRequestError

Ids = NDArray[np.int64]
"""(samples,) numbers of samples."""

Split = Literal["pad", "drop", "exact"]
"""What becomes of samples that do not divide evenly among the ranks: some are given twice, some are left out,
or some ranks have one more."""


@dataclass(frozen=True, slots=True)
class Share:
    """Who walks: one of the workers of one of the ranks."""

    rank: int = 0
    ranks: int = 1
    worker: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        """Raises InvalidRequestError."""
        if not (0 <= self.rank < self.ranks and 0 <= self.worker < self.workers):
            raise InvalidRequestError(f"there is no rank {self.rank} of {self.ranks}; ranks count from 0")


@dataclass(frozen=True)
class Order:
    """The samples of a data set, and how epochs put them in order."""

    packs: Ids
    """(packs + 1,) the first sample of each pack, and at the end their number."""
    rows: Ids
    """(series + 1,) the first sample of each series, and at the end their number."""
    weights: NDArray[np.float64]
    """(series,) encoded bytes that a sample of each series takes."""
    seed: int
    shuffle: bool
    window: int
    """Samples that are shuffled together."""
    window_bytes: int
    """Encoded bytes of a window; at least one sample is in each."""
    split: Split = "pad"
    batch: int | None = None
    """If given, a rank's walk is dealt to its workers in batches of so many, in turn."""

    @property
    def samples(self) -> int:
        """Samples in all."""
        return int(self.packs[-1])

    def length(self, share: Share) -> int:
        """Samples of a rank in each epoch."""
        start, stop = self._stretch(share)
        return stop - start

    def walk(self, epoch: int, share: Share, used: int = 0, skip: int = 0) -> Iterator[Ids]:
        """The samples of a worker, window by window; none is empty.

        `used` samples of the rank are left out at the start and the rest dealt to the workers anew, which
        needs `batch`. `skip` samples of the worker's own are left out.
        """
        start, stop = self._stretch(share)
        if self.batch is None:
            size = stop - start
            first = start + size * share.worker // share.workers
            last = start + size * (share.worker + 1) // share.workers
            walk = self._windows(epoch, first, last)
        else:
            walk = _dealt(_after(self._windows(epoch, start, stop), used), self.batch, share)
        return _after(walk, skip)

    def _stretch(self, share: Share) -> tuple[int, int]:
        """Positions of a rank in the epoch; those beyond the last start again."""
        count, rank, ranks = self.samples, share.rank, share.ranks
        if self.split == "exact":
            return count * rank // ranks, count * (rank + 1) // ranks
        each = count // ranks if self.split == "drop" else -(-count // ranks)
        return each * rank, each * (rank + 1)

    def _windows(self, epoch: int, start: int, stop: int) -> Iterator[Ids]:
        if start == stop:
            return
        ids = self._sequence(epoch, start, stop)
        row = np.searchsorted(self.rows, ids, side="right") - 1
        ends = np.cumsum(self.weights[row])
        first = 0
        while first < len(ids):
            before = ends[first - 1] if first else 0.0
            last = int(np.searchsorted(ends, before + self.window_bytes, side="right"))
            last = min(max(last, first + 1), first + self.window)
            window = ids[first:last]
            if self.shuffle:
                window = self._random(epoch, 1, start + first).permutation(window)
            yield window
            first = last

    def _sequence(self, epoch: int, start: int, stop: int) -> Ids:
        """Samples at positions of the epoch, before windows are shuffled."""
        places = np.arange(start, stop) % self.samples
        if not self.shuffle:
            return places
        order = self._random(epoch, 0).permutation(len(self.packs) - 1)
        sizes = np.diff(self.packs)[order]
        begins = np.concatenate([[0], np.cumsum(sizes)])
        number = np.searchsorted(begins, places, side="right") - 1
        found: Ids = self.packs[order[number]] + places - begins[number]
        return found

    def _random(self, epoch: int, *place: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, epoch, *place])))


def _after(walk: Iterator[Ids], skip: int) -> Iterator[Ids]:
    """A walk without its first samples."""
    for window in walk:
        if skip < len(window):
            yield window[skip:]
        skip = max(0, skip - len(window))


def _dealt(walk: Iterator[Ids], batch: int, share: Share) -> Iterator[Ids]:
    """Every batch of a walk that is a worker's turn."""
    position = 0
    for window in walk:
        places = np.arange(position, position + len(window))
        mine = window[places // batch % share.workers == share.worker]
        position += len(window)
        if len(mine):
            yield mine


def facts_of(order: Order) -> dict[str, Any]:
    """What decides an order beside the samples, JSON-able: two orders with equal facts are the same."""
    return {
        "seed": order.seed,
        "shuffle": order.shuffle,
        "buffer": order.window,
        "buffer_bytes": order.window_bytes,
        "split": order.split,
        "batch_size": order.batch,
    }
