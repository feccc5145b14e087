"""How near the levels of frames are to downsampling the full frames."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import structural_similarity

from imarium.archive import Archive
from imarium.catalog import SeriesRecord
from imarium.pack import SeriesIndex
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
    if level == 0 or frames[0].dtype.kind == "c":
        return found
    reader = archive.streaming.reader(record, level)
    ssim: list[float] = []
    psnr: list[float] = []
    centred: list[float] = []
    equal: list[float] = []
    for number, frame in zip(numbers, frames, strict=True):
        got = reader.frame(number)
        if series.label_map:
            equal.append(float(np.mean(got == nearest(frame, at.rows, at.columns))))
            continue
        full, low_values = unit_range(frame, got)
        if full is None:
            continue  # one value all over: nothing to compare
        channels = -1 if full.ndim == 3 else None
        window = min(7, min(at.rows, at.columns) // 2 * 2 - 1)
        if window < 3:
            continue
        for reference, into in (
            (downsampled(full, at.rows, at.columns), ssim),
            (downsampled_on_grid(full, at.rows, at.columns, level), centred),
        ):
            into.append(
                float(
                    structural_similarity(
                        reference, low_values, data_range=1.0, win_size=window, channel_axis=channels
                    )
                )
            )
        error = float(np.mean((downsampled(full, at.rows, at.columns) - low_values) ** 2))
        if error > 0:
            psnr.append(-10 * math.log10(error))
    found.ssim, found.psnr = _mean(ssim), _mean(psnr)
    found.ssim_same_centres, found.labels_equal = _mean(centred), _mean(equal)
    return found


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def unit_range(
    frame: NDArray[Any], level: NDArray[Any]
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64]]:
    """Both so that the full frame's finite values span 0 to 1; what is not finite becomes 0."""
    full, low_values = frame.astype(np.float64), level.astype(np.float64)
    finite = full[np.isfinite(full)]
    if finite.size == 0 or finite.min() == finite.max():
        return None, low_values
    low, extent = finite.min(), finite.max() - finite.min()
    return (
        np.nan_to_num((full - low) / extent, nan=0.0, posinf=1.0, neginf=0.0),
        np.nan_to_num((low_values - low) / extent, nan=0.0, posinf=1.0, neginf=0.0),
    )


def downsampled(frame: NDArray[np.float64], rows: int, columns: int) -> NDArray[np.float64]:
    """Bilinear with antialiasing, outer edges aligned: Pillow's, which widens its kernel as it shrinks."""
    return _by_sample(frame, lambda plane: plane.resize((columns, rows), Image.Resampling.BILINEAR))


def downsampled_on_grid(
    frame: NDArray[np.float64], rows: int, columns: int, level: int
) -> NDArray[np.float64]:
    """The same with pixel n centred on pixel 2^level * n of the frame, where the level's is."""
    step = 1 << level
    margin = [(step, 2 * step), (step, 2 * step), (0, 0)][: frame.ndim]
    padded = np.pad(frame, margin, mode="edge")
    start = step + 0.5 - step / 2
    box = (start, start, start + columns * step, start + rows * step)
    return _by_sample(padded, lambda plane: plane.resize((columns, rows), Image.Resampling.BILINEAR, box=box))


def _by_sample(
    frame: NDArray[np.float64], resize: Callable[[Image.Image], Image.Image]
) -> NDArray[np.float64]:
    def one(plane: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(resize(Image.fromarray(plane.astype(np.float32))), np.float64)

    if frame.ndim == 2:
        return one(frame)
    return np.stack([one(frame[..., sample]) for sample in range(frame.shape[2])], axis=-1)


def nearest(frame: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    row = ((np.arange(rows) + 0.5) * frame.shape[0] / rows).astype(int)
    column = ((np.arange(columns) + 0.5) * frame.shape[1] / columns).astype(int)
    result: NDArray[Any] = frame[np.ix_(row, column)]
    return result
