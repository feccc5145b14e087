"""How near the levels of a frame are to downsampling the full frame (docs/design/storage.md).

The reference is what people do who have the full resolution: bilinear interpolation with antialiasing to the
level's size, by Pillow. Both are scaled so that the full frame's values span 0 to 1.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_WINDOW, _LEAST_WINDOW = 7, 3
_K1, _K2 = 0.01, 0.03


@dataclass(frozen=True, slots=True)
class Fidelity:
    """One level of a frame or, as means, of several. None where a measure says nothing."""

    ssim: float | None = None
    """Structural similarity (Wang et al. 2004) with a window of 7x7 pixels; 1 is equal."""
    ssim_same_centres: float | None = None
    """The same against downsampling to the level's own grid, whose pixels are centred where the level's are
    (docs/design/geometry-of-levels.md): without the shift, which is no loss."""
    psnr: float | None = None
    """Peak signal-to-noise ratio in dB; None where the level equals the reference."""
    labels_equal: float | None = None
    """Label maps, which have no SSIM: share of pixels with the label of the full frame's nearest pixel."""

    @classmethod
    def mean(cls, several: Iterable[Fidelity]) -> Fidelity:
        """The means of each measure, over those that have it."""
        found = list(several)
        return cls(
            _mean([item.ssim for item in found]),
            _mean([item.ssim_same_centres for item in found]),
            _mean([item.psnr for item in found]),
            _mean([item.labels_equal for item in found]),
        )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def fidelity(frame: NDArray[Any], shown: NDArray[Any], level: int, *, label_map: bool = False) -> Fidelity:
    """Of `shown`, level `level` of `frame`; both (rows, columns) or (rows, columns, samples), stored values.

    Colour counts by all samples. What is not finite counts as 0. Nothing is said of frames of one value, of
    complex numbers, and, but for PSNR, of levels of less than 3 pixels a side.
    """
    rows, columns = shown.shape[:2]
    if label_map:
        return Fidelity(labels_equal=float(np.mean(shown == nearest(frame, rows, columns))))
    scale = None if frame.dtype.kind == "c" else _Scale.of(frame)
    if scale is None:
        return Fidelity()
    found = [
        _compared(full, low, level, scale) for full, low in zip(_planes(frame), _planes(shown), strict=True)
    ]
    error = statistics.fmean(item.error for item in found)
    psnr = -10 * math.log10(error) if error > 0 else None
    if min(rows, columns) < _LEAST_WINDOW:
        return Fidelity(psnr=psnr)
    return Fidelity(
        statistics.fmean(item.ssim for item in found), statistics.fmean(item.centred for item in found), psnr
    )


def _planes(frame: NDArray[Any]) -> list[NDArray[Any]]:
    """One a sample."""
    return [frame] if frame.ndim == 2 else [frame[..., sample] for sample in range(frame.shape[2])]


@dataclass(frozen=True, slots=True)
class _Plane:
    """One sample's figures."""

    ssim: float
    centred: float
    error: float


def _compared(full: NDArray[Any], shown: NDArray[Any], level: int, scale: _Scale) -> _Plane:
    unit = scale.unit(full).astype(np.float32)  # of a whole slide, each copy counts
    low, (rows, columns) = scale.unit(shown), shown.shape
    reference = downsampled(unit, rows, columns)
    error = float(np.mean((reference - low) ** 2))
    if min(rows, columns) < _LEAST_WINDOW:
        return _Plane(0.0, 0.0, error)
    return _Plane(ssim(reference, low), ssim(downsampled_on_grid(unit, rows, columns, level), low), error)


@dataclass(frozen=True, slots=True)
class _Scale:
    """Turns values so that the finite ones of a frame span 0 to 1."""

    low: float
    high: float

    @classmethod
    def of(cls, frame: NDArray[Any]) -> _Scale | None:
        """None if the frame has not two finite values that differ."""
        if frame.dtype.kind == "f" and not np.isfinite(frame).all():
            frame = frame[np.isfinite(frame)]
        if frame.size == 0 or frame.min() == frame.max():
            return None
        return cls(float(frame.min()), float(frame.max()))

    def unit(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """The values, turned; what is not finite becomes 0, or 1 if it is infinite and positive."""
        unit = values.astype(np.float64)
        # Halves, since the extent of the largest floats is infinite; halving the others changes nothing.
        unit /= 2
        unit -= self.low / 2
        unit /= self.high / 2 - self.low / 2
        return np.nan_to_num(unit, copy=False, nan=0.0, posinf=1.0, neginf=0.0)


def ssim(reference: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Mean structural similarity of two images of (rows, columns), 3x3 at least, whose values span 0 to 1.

    Over all windows of 7x7 pixels (of the largest odd size that fits, in smaller images) that lie within the
    image, weighted evenly, with the variances of samples: what scikit-image computes by default.
    """
    side = min(_WINDOW, (min(reference.shape) - 1) // 2 * 2 + 1)
    count = side * side
    mean_x, mean_y = (_sums(plane, side) / count for plane in (reference, other))
    unbiased = count / (count - 1)
    variance_x = unbiased * (_sums(reference * reference, side) / count - mean_x * mean_x)
    variance_y = unbiased * (_sums(other * other, side) / count - mean_y * mean_y)
    covariance = unbiased * (_sums(reference * other, side) / count - mean_x * mean_y)
    c1, c2 = _K1**2, _K2**2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x * mean_x + mean_y * mean_y + c1) * (variance_x + variance_y + c2)
    )
    return float(similarity.mean())


def _sums(plane: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Sums of all windows of side x side pixels within a plane."""
    rows, columns = plane.shape[0] - side + 1, plane.shape[1] - side + 1
    lines = plane[:rows].copy()
    for first in range(1, side):
        lines += plane[first : first + rows]
    sums = lines[:, :columns].copy()
    for first in range(1, side):
        sums += lines[:, first : first + columns]
    return sums


def downsampled(frame: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float64]:
    """Bilinear with antialiasing, outer edges aligned: Pillow's, which widens its kernel as it shrinks."""
    made = Image.fromarray(frame).resize((columns, rows), Image.Resampling.BILINEAR)
    return np.asarray(made, np.float64)


def downsampled_on_grid(
    frame: NDArray[np.float32], rows: int, columns: int, level: int
) -> NDArray[np.float64]:
    """The same with pixel n centred on pixel 2^level * n of the frame, where the level's is."""
    step = 1 << level
    padded = Image.fromarray(np.pad(frame, (step, 2 * step), mode="edge"))
    start = step + 0.5 - step / 2
    box = (start, start, start + columns * step, start + rows * step)
    return np.asarray(padded.resize((columns, rows), Image.Resampling.BILINEAR, box=box), np.float64)


def nearest(frame: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """The pixels of a frame that lie nearest to those of a smaller grid with the same outer edges."""
    row = ((np.arange(rows) + 0.5) * frame.shape[0] / rows).astype(int)
    column = ((np.arange(columns) + 0.5) * frame.shape[1] / columns).astype(int)
    result: NDArray[Any] = frame[np.ix_(row, column)]
    return result
