"""Resampling a frame to any size, edges aligned."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from imarium.model.series import Frame


def resample(frame: Frame, rows: int, columns: int, *, nearest: bool = False) -> Frame:
    """Resize (R, C[, samples]) to (rows, columns[, samples]); the outer edges stay where they are.

    Linear interpolation whose kernel widens with the reduction (an antialiasing triangle filter), computed in
    float64 and rounded back for integers. `nearest` keeps values unmixed, for label maps.
    """
    if frame.shape[:2] == (rows, columns):
        return frame
    if nearest or frame.dtype.kind == "b":
        row = ((np.arange(rows) + 0.5) * frame.shape[0] / rows).astype(np.intp)
        column = ((np.arange(columns) + 0.5) * frame.shape[1] / columns).astype(np.intp)
        return np.ascontiguousarray(frame[np.ix_(row, column)])
    vertical = _triangle_weights(frame.shape[0], rows)
    horizontal = _triangle_weights(frame.shape[1], columns)
    values = frame.astype(np.result_type(frame.dtype, np.float64))
    mixed = np.tensordot(vertical, values, axes=(1, 0))
    mixed = np.moveaxis(np.tensordot(horizontal, mixed, axes=(1, 1)), 0, 1)
    if frame.dtype.kind in "iu":
        bounds = np.iinfo(frame.dtype)
        mixed = np.clip(np.rint(mixed), bounds.min, bounds.max)
    return np.ascontiguousarray(mixed.astype(frame.dtype))


def _triangle_weights(source: int, target: int) -> NDArray[Any]:
    """(target, source) matrix whose rows sum to 1."""
    scale = source / target
    support = max(1.0, scale)
    centres = (np.arange(target) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(source)[None, :] - centres[:, None]) / support
    weights = np.clip(1.0 - distance, 0.0, None)
    normalised: NDArray[Any] = weights / weights.sum(axis=1, keepdims=True)
    return normalised
