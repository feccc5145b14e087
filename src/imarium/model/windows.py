"""Windows: which values of a series become black and white."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np

from imarium.errors import InvalidRequestError
from imarium.model.series import Series

Window: TypeAlias = tuple[float, float]
"""Center and width, in rescaled values (HU for CT)."""


def own_window(series: Series) -> Window | None:
    """The series' default window, if it has one that can be used."""
    center, width = series.window_center, series.window_width
    if center is None or width is None:
        return None
    # Files hold useless windows too (width 0, not a number): they count as none.
    return (center, width) if math.isfinite(center) and math.isfinite(width) and width > 0 else None


def limits(series: Series, window: Window | Literal["default"], frame: int) -> tuple[float, float]:
    """The rescaled values that become 0 and 1: the LINEAR window of PS3.3 C.11.2.1.2.1, LINEAR_EXACT for
    widths up to 1.

    Without a window of its own, integers of a series go from the smallest to the largest that its bits hold.
    Raises InvalidRequestError where nothing says so.
    """
    chosen = own_window(series) if window == "default" else window
    if chosen is None:
        return _range_of_bits(series, frame)
    center, width = chosen
    if width <= 1:
        return center - width / 2, center + width / 2
    return center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2


def _range_of_bits(series: Series, frame: int) -> tuple[float, float]:
    dtype = np.dtype(series.dtype)
    bits = series.bits_stored or (8 if dtype == np.uint8 else None)
    if bits is None or dtype.kind not in "iu":
        raise InvalidRequestError(
            f"a series of {series.dtype} says no window, and not how many bits it uses; give window=(center, "
            "width)"
        )
    low, high = (0, 2**bits - 1) if dtype.kind == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    slope, intercept = series.rescale_of(frame)
    first, second = low * slope + intercept, high * slope + intercept
    return min(first, second), max(first, second)
