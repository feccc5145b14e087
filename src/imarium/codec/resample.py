"""Resampling a frame to any size, edges aligned."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
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
    return np.ascontiguousarray(_rounded(mixed, frame.dtype))


def resample_stack(
    stack: NDArray[Any], slices: int, rows: int, columns: int, *, nearest: bool = False, threads: int = 1
) -> NDArray[Any]:
    """Resize (S, R, C[, samples]) to (slices, rows, columns[, samples]) as `resample` does a frame, along the
    slices too; integers are rounded once. Needs memory for the result and a few frames in float64.
    """
    count = stack.shape[0]
    weights = _triangle_weights(count, slices)
    made = np.empty((slices, rows, columns, *stack.shape[3:]), stack.dtype)
    nearest = nearest or stack.dtype.kind == "b"

    def fill(number: int) -> None:
        if nearest or slices == count:
            source = int((number + 0.5) * count / slices)
            made[number] = resample(stack[source], rows, columns, nearest=nearest)
            return
        (used,) = np.nonzero(weights[number])
        values = stack[used].astype(np.result_type(stack.dtype, np.float64))
        mixed = resample(np.tensordot(weights[number, used], values, axes=1), rows, columns)
        made[number] = _rounded(mixed, stack.dtype)

    with ThreadPoolExecutor(threads, thread_name_prefix="resample") as pool:
        for _ in pool.map(fill, range(slices)):
            pass
    return made


def _rounded(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        values = np.clip(np.rint(values), bounds.min, bounds.max)
    return values.astype(dtype)


def _triangle_weights(source: int, target: int) -> NDArray[Any]:
    """(target, source) matrix whose rows sum to 1."""
    scale = source / target
    support = max(1.0, scale)
    centres = (np.arange(target) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(source)[None, :] - centres[:, None]) / support
    weights = np.clip(1.0 - distance, 0.0, None)
    normalised: NDArray[Any] = weights / weights.sum(axis=1, keepdims=True)
    return normalised
