"""Stored values of one frame as grey pictures of eight bits, in each of which text may stand out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imarium.codec.color import FULL_YBR, ybr_full_to_rgb
from imarium.model import Series
from imarium.model.series import Frame

Picture = NDArray[np.uint8]
"""(rows, columns)."""

_SAMPLED = 1 << 18
_SPIKES = 3
"""Values that stand out of the histogram of one frame and are looked at on their own."""


def pictures(frame: Frame, series: Series) -> Iterator[Picture]:
    """Grey pictures of one frame of stored values: all values from the smallest to the largest, the middle
    values (percentiles 1 to 99) spread out, and for colours their brightness and their saturation."""
    if series.palette:
        table = np.asarray(series.palette, dtype=np.uint8)
        frame = table[np.clip(frame, 0, len(table) - 1).astype(np.intp)]
    if frame.ndim == 3 and frame.shape[2] >= 3:
        yield from _of_colours(colours_of(frame, series))
        return
    grey = frame[..., 0] if frame.ndim == 3 else frame
    values = np.abs(grey) if np.iscomplexobj(grey) else grey
    values = np.nan_to_num(np.asarray(values, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    sampled = values.reshape(-1)[:: max(1, values.size // _SAMPLED)]
    low, high = float(values.min()), float(values.max())
    inner_low, inner_high = (float(value) for value in np.percentile(sampled, (1, 99)))
    if high > low:
        yield _spread(values, low, high)
    # Where few values lie far out (text at the top of a 16-bit range), the image itself needs its own spread.
    if inner_high > inner_low and (inner_high - inner_low) < 0.8 * (high - low):
        yield _spread(values, inner_low, inner_high)


def _of_colours(colours: NDArray[np.uint8]) -> Iterator[Picture]:
    strongest, weakest = colours.max(axis=2), colours.min(axis=2)
    if strongest.max() > strongest.min():
        yield strongest
    saturation = strongest - weakest
    # Below this, JPEG's own colour noise shows and nothing else.
    if int(saturation.max()) > 40:
        yield saturation


def colours_of(frame: Frame, series: Series) -> NDArray[np.uint8]:
    """RGB of 8 bits: (rows, columns, 3). Colours that have no conversion here are shown as they are
    stored."""
    colours = frame[..., :3]
    if colours.dtype != np.uint8:
        top = float(2 ** (series.bits_stored or colours.dtype.itemsize * 8) - 1)
        colours = (np.clip(colours / top, 0, 1) * 255).astype(np.uint8)
    if series.photometric in FULL_YBR:
        colours = ybr_full_to_rgb(colours)
    return np.ascontiguousarray(colours)


def constant_masks(frame: Frame) -> Iterator[NDArray[np.bool_]]:
    """Pixels of each stored value (colour) that occurs far more often than its neighbours: how text without
    grey edges shows in an image with noise, however its tissue looks. Values of a fifth of the frame or more,
    which are background, are left out."""
    codes = _codes(frame)
    if codes is None:
        return
    values, counts = np.unique(codes, return_counts=True)
    if len(values) < 8:
        return
    usual = np.median(counts[counts > 1]) if (counts > 1).any() else 1.0
    around = np.maximum(np.roll(counts, 1), np.roll(counts, -1))
    around[0], around[-1] = counts[1], counts[-2]
    stands_out = (counts > 40) & (counts > 4 * around) & (counts > 4 * usual) & (counts < codes.size // 5)
    for index in sorted(np.flatnonzero(stands_out), key=lambda index: -int(counts[index]))[:_SPIKES]:
        yield codes == values[index]


def _codes(frame: Frame) -> NDArray[Any] | None:
    """One integer a pixel."""
    if frame.dtype.kind not in "iu":
        return None
    if frame.ndim == 2:
        return frame
    if frame.dtype != np.uint8 or frame.shape[2] > 4:
        return np.asarray(frame[..., 0])
    codes: NDArray[Any] = np.zeros(frame.shape[:2], np.uint32)
    for sample in range(frame.shape[2]):
        codes = (codes << 8) | frame[..., sample]
    return codes


def _spread(values: NDArray[np.float32], low: float, high: float) -> Picture:
    scaled = (values - np.float32(low)) * np.float32(255 / (high - low))
    return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)
