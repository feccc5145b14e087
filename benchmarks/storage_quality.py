"""How near the levels of frames are to downsampling the full frames: the measure of `imarium report`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from imarium.archive import Archive
from imarium.catalog import SeriesRecord
from imarium.pack import SeriesIndex
from imarium.report.fidelity import Fidelity, fidelity
from storage_results import LevelQuality

Frames = list[NDArray[Any]]


def quality(
    archive: Archive,
    record: SeriesRecord,
    index: SeriesIndex,
    level: int,
    numbers: Sequence[int],
    frames: Frames,
) -> LevelQuality:
    at, series = index.series.at_level(level), index.series
    size = index.level_bytes(level)
    share = size / max(1, index.level_bytes(0))
    found = LevelQuality(level, at.rows, at.columns, size, share)
    if level == 0:
        return found
    reader = archive.streaming.reader(record, level)
    mean = Fidelity.mean(
        fidelity(frame, reader.frame(number), level, label_map=series.label_map)
        for number, frame in zip(numbers, frames, strict=True)
    )
    found.ssim, found.psnr = mean.ssim, mean.psnr
    found.ssim_same_centres, found.labels_equal = mean.ssim_same_centres, mean.labels_equal
    return found
