"""Stored values to what a screen shows: eight bits, grey or RGB.

Grey values follow the pipeline of PS3.4 N.2: rescale (PS3.3 C.11.1), then the linear VOI window
(PS3.3 C.11.2.1.2.1), then inversion for MONOCHROME1. Everything here is a pure function of its arguments.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imarium.codec.color import check_colours, to_rgb
from imarium.errors import ExportRefusedError, InvalidRequestError
from imarium.model import Series
from imarium.model.series import Frame
from imarium.model.windows import Window, own_window

PERCENTILES = (0.5, 99.5)
"""Where a series has no window, these percentiles of its values become black and white."""

_SAMPLE_LIMIT = 1 << 20


def render_8bit(
    frame: Frame, series: Series, window: Window | None = None, index: int | None = None
) -> NDArray[np.uint8]:
    """One frame for display: uint8, (rows, columns) for grey or (rows, columns, 3) for colour.

    `frame` holds stored values, (rows, columns) or (rows, columns, samples), of any resolution of
    `series`, and `index` says which of its frames it is: needed for the right slope where slopes differ
    (`Series.frame_rescale`), else the first frame's is used. Grey: rescaled, windowed with `window`, else
    the series' default window, else percentiles 0.5 to 99.5 of this frame; a width below 1 is read as
    LINEAR_EXACT (PS3.3 C.11.2.1.3.2), since LINEAR knows none. Not-a-number is black; complex values show
    their magnitude. Palette indices become their colours. 8-bit colour is passed on; deeper colour is
    scaled. Alpha is dropped.

    Raises InvalidRequestError for a window that makes no sense and ExportRefusedError for colours
    that have no rendering.
    """
    if window is not None:
        _check_window(window)
    if series.samples >= 3:
        return _render_colour(frame, series)
    grey = frame[..., 0] if series.samples == 2 else frame
    if series.palette:
        table = np.array(series.palette, dtype=np.uint8)
        looked_up: NDArray[np.uint8] = table[np.clip(grey, 0, len(table) - 1).astype(np.intp)]
        return looked_up
    values = rescaled(grey, series, index)
    center, width = window or own_window(series) or _window_of(_finite(_sample(values)))
    shown = _windowed(values, center, width)
    return np.subtract(np.uint8(255), shown) if series.photometric == "MONOCHROME1" else shown


def default_window(frames: Iterable[Frame], series: Series, indexes: Iterable[int] | None = None) -> Window:
    """The series' own window, else one from percentiles 0.5 to 99.5 of the frames' rescaled values.

    Give the middle frames of a volume: outer ones often show nothing. At most 2**20 values of each frame
    are looked at. `indexes` says which frames of the series they are, as `index` of `render_8bit`.
    """
    return own_window(series) or measured_window(frames, series, indexes)


def measured_window(frames: Iterable[Frame], series: Series, indexes: Iterable[int] | None = None) -> Window:
    """The window from percentiles 0.5 to 99.5 of the frames' rescaled values; see `default_window`."""
    numbers = repeat(None) if indexes is None else indexes
    parts = [
        _finite(rescaled(_sample(frame[..., 0] if frame.ndim == 3 else frame), series, index))
        for frame, index in zip(frames, numbers, strict=False)
    ]
    return _window_of(np.concatenate(parts) if parts else np.zeros(0))


def rescaled(frame: Frame, series: Series, index: int | None = None) -> NDArray[np.float64]:
    """Stored values * slope + intercept, as float64; the magnitude of complex values.

    Slope and intercept are those of frame `index` of the series; without it, the first frame's.
    """
    slope, intercept = (
        (series.rescale_slope, series.rescale_intercept) if index is None else series.rescale_of(index)
    )
    plain = np.abs(frame) if np.iscomplexobj(frame) else frame
    with np.errstate(invalid="ignore", over="ignore"):
        values: NDArray[np.float64] = plain.astype(np.float64)
        if (slope, intercept) != (1.0, 0.0):
            values = np.asarray(values * slope + intercept, dtype=np.float64)
    return values


def _check_window(window: Window) -> None:
    center, width = window
    if not (math.isfinite(center) and math.isfinite(width) and width > 0):
        raise InvalidRequestError(
            f"a window has a finite center and a width above 0, not center {center:g} and width {width:g}"
        )


def _sample(values: NDArray[Any]) -> NDArray[Any]:
    """Evenly chosen values, as many as say enough."""
    flat = values.reshape(-1)
    return flat[:: max(1, -(-flat.size // _SAMPLE_LIMIT))]


def _finite(values: NDArray[Any]) -> NDArray[Any]:
    finite: NDArray[Any] = values[np.isfinite(values)]
    return finite


def _window_of(values: NDArray[Any]) -> Window:
    """The LINEAR window that maps the percentiles to black and white."""
    if values.size == 0:
        return 0.5, 1.0
    low, high = (float(value) for value in np.percentile(values, PERCENTILES))
    # Where nearly all values are alike (masks, sparse maps), percentiles would hide the rest.
    if low == high:
        low, high = float(values.min()), float(values.max())
    width = high - low + 1
    return (low + width / 2, width) if math.isfinite(width) else (0.5, 1.0)


def _windowed(values: NDArray[np.float64], center: float, width: float) -> NDArray[np.uint8]:
    """PS3.3 C.11.2.1.2.1 with y from 0 to 255, rounded to the nearest integer."""
    if width < 1:
        scaled = (values - center) / width + 0.5
    elif width == 1:
        scaled = (values > center - 0.5).astype(np.float64)
    else:
        with np.errstate(invalid="ignore"):
            scaled = (values - (center - 0.5)) / (width - 1) + 0.5
    shown = np.clip(np.nan_to_num(scaled, nan=0.0, posinf=1.0, neginf=0.0), 0, 1)
    return _to_bytes(shown)


def _to_bytes(shares: NDArray[np.float64]) -> NDArray[np.uint8]:
    """0 to 1 as 0 to 255, rounded to the nearest."""
    return np.asarray(np.rint(shares * 255), dtype=np.uint8)


def _render_colour(frame: Frame, series: Series) -> NDArray[np.uint8]:
    check_colours(series)
    colours = to_rgb(frame, series)[..., :3]
    if colours.dtype == np.uint8:
        return np.ascontiguousarray(colours, dtype=np.uint8)
    if colours.dtype.kind != "u":
        raise ExportRefusedError(f"colours of type {colours.dtype.name} have no rendering; ask for npy")
    bits = series.bits_stored or colours.dtype.itemsize * 8
    top = float(2**bits - 1)
    return _to_bytes(np.minimum(colours.astype(np.float64) / top, 1))
