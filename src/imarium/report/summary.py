"""Results of many series, in sum and spread. Memory: a few numbers a series and level."""

from __future__ import annotations

import statistics
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from imarium.report.costs import Link
from imarium.report.fidelity import Fidelity
from imarium.report.results import Dataset, LevelResult, SeriesResult


class Spread:
    """Numbers of which mean and spread are asked for."""

    def __init__(self, values: Iterable[float] = ()) -> None:
        self.values = array("d", values)

    def __len__(self) -> int:
        return len(self.values)

    def add(self, value: float | None) -> None:
        """One more; None says nothing."""
        if value is not None:
            self.values.append(value)

    @property
    def mean(self) -> float | None:
        """None of no numbers."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the sample; None of fewer than two numbers."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def lowest(self) -> float | None:
        """None of no numbers."""
        return min(self.values, default=None)


@dataclass(slots=True)
class _Smallest:
    """Smallest levels of the series that have a certain number of levels."""

    series: int = 0
    bytes: int = 0
    requests: int = 0


@dataclass(slots=True)
class LevelSummary:
    """A level of many series."""

    level: int
    series: int = 0
    """That have the level. The others are read at their smallest one, and count so in bytes and requests."""
    bytes: int = 0
    requests: int = 0
    smallest: tuple[int, int] = (0, 0)
    """Rows and columns of the smallest image of this level."""
    largest: tuple[int, int] = (0, 0)
    share: Spread = field(default_factory=Spread)
    """Bytes of those of the full resolution, of each series that has the level."""
    ssim: Spread = field(default_factory=Spread)
    ssim_same_centres: Spread = field(default_factory=Spread)
    psnr: Spread = field(default_factory=Spread)
    labels_equal: Spread = field(default_factory=Spread)

    def add(self, level: LevelResult, share: float | None) -> None:
        """One series that has the level."""
        size = (level.rows, level.columns)
        sizes = (self.smallest, self.largest, size) if self.series else (size,)
        self.smallest, self.largest = min(sizes, key=_area), max(sizes, key=_area)
        self.series += 1
        self.bytes += level.bytes
        self.requests += level.requests
        self.share.add(share)
        found = level.fidelity or Fidelity()
        self.ssim.add(found.ssim)
        self.ssim_same_centres.add(found.ssim_same_centres)
        self.psnr.add(found.psnr)
        self.labels_equal.add(found.labels_equal)


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


class Group:
    """Many series, level by level."""

    def __init__(self) -> None:
        self.series = self.frames = self.index_bytes = self.sampled = self.read_bytes = self.failed = 0
        self._levels: list[LevelSummary] = []
        self._ends: dict[int, _Smallest] = {}

    def add(self, result: SeriesResult) -> None:
        """One more series."""
        self.series += 1
        self.frames += result.frames
        self.index_bytes += result.index_bytes
        self.sampled += result.sampled
        self.read_bytes += result.read_bytes
        self.failed += result.error is not None
        while len(self._levels) < len(result.levels):
            self._levels.append(LevelSummary(len(self._levels)))
        full = result.levels[0].bytes
        for into, level in zip(self._levels, result.levels, strict=False):
            into.add(level, level.bytes / full if full else None)
        end = self._ends.setdefault(len(result.levels), _Smallest())
        end.series += 1
        end.bytes += result.levels[-1].bytes
        end.requests += result.levels[-1].requests

    def levels(self) -> list[LevelSummary]:
        """All levels that any series has, full resolution first."""
        found = []
        for level in self._levels:
            ended = [end for count, end in self._ends.items() if count <= level.level]
            size = level.bytes + sum(end.bytes for end in ended)
            requests = level.requests + sum(end.requests for end in ended)
            found.append(replace(level, bytes=size, requests=requests))
        return found

    @property
    def compared(self) -> bool:
        """Whether any level has an SSIM."""
        return any(level.ssim for level in self._levels)

    def seconds(self, level: LevelSummary, link: Link) -> float:
        """For reading all series at a level, indexes too."""
        return link.seconds(level.bytes + self.index_bytes, level.requests)


class Summary:
    """All series, and those of each dataset."""

    def __init__(self) -> None:
        self.all = Group()
        self._datasets: dict[Dataset, Group] = {}

    def add(self, result: SeriesResult) -> None:
        """One more series."""
        self.all.add(result)
        self._datasets.setdefault(result.dataset, Group()).add(result)

    def datasets(self) -> list[tuple[Dataset, Group]]:
        """By collection and modality."""
        return sorted(self._datasets.items(), key=lambda item: item[0].order)
