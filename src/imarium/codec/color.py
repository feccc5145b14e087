"""Colours of stored values, and their conversion to RGB, with numpy alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from imarium.errors import ExportRefusedError
from imarium.model import Series
from imarium.model.series import Frame

FULL_YBR = ("YBR_FULL", "YBR_FULL_422")
"""Photometric interpretations that become RGB."""

_YBR_TO_RGB = np.asarray(
    [
        [1.000, 1.000, 1.000],
        [0.000, -0.114 * 1.772 / 0.587, 1.772],
        [1.402, -0.299 * 1.402 / 0.587, 0.000],
    ],
    dtype=np.float32,
)


def ybr_full_to_rgb(array: NDArray[Any]) -> NDArray[Any]:
    """8-bit YBR_FULL (PS3.3 C.7.6.3.1.2) as RGB, of the same type; the last axis holds the three samples.

    Computed in float32 with the matrix of ISO/IEC 10918-5 and rounded half up, which is what pydicom's
    default `pixel_array` does for YBR_FULL and YBR_FULL_422: the results are equal bit for bit.
    """
    if array.shape[-1:] != (3,):
        raise ValueError(f"YBR_FULL has 3 samples a pixel, not a shape of {array.shape}")
    values = array.astype(np.float32)
    values -= [0, 128, 128]
    np.matmul(values, _YBR_TO_RGB, out=values)
    values += 0.5
    np.floor(values, out=values)
    np.clip(values, 0, 255, out=values)
    return values.astype(array.dtype)


def is_ybr(series: Series) -> bool:
    """Whether the stored values are luminance and chrominance (PS3.3 C.7.6.3.1.2)."""
    return series.photometric.startswith("YBR")


def to_rgb(frame: Frame, series: Series) -> Frame:
    """YBR_FULL and YBR_FULL_422 as RGB; every other frame as it is.

    Raises ExportRefusedError for YBR of another kind, or of more than 8 bits.
    """
    if not is_ybr(series):
        return frame
    if series.photometric not in FULL_YBR or frame.dtype != np.uint8 or series.samples != 3:
        raise ExportRefusedError(
            f"{series.photometric} of {series.samples} x {series.dtype} has no conversion to RGB here; "
            "export the source's own format"
        )
    return ybr_full_to_rgb(frame)


def check_colours(series: Series) -> None:
    """Refuse colours that are neither RGB nor become RGB (PS3.3 C.7.6.3.1.2: HSV, ARGB, CMYK and such).

    Raises ExportRefusedError.
    """
    if series.samples >= 3 and series.photometric not in ("RGB", *FULL_YBR):
        raise ExportRefusedError(
            f"{series.photometric} of {series.samples} x {series.dtype} has no conversion to RGB here; "
            "export the source's own format"
        )
