"""Floating-point frames that are integers in disguise: k * slope + intercept, or few distinct values.

Both are found by looking at the values and kept only where they give every value back, bit for bit.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imarium.codec import polyphase
from imarium.errors import IntegrityError

MOST_RANKS = 1 << 12
_MOST_STEPS = 1 << 24
_SAMPLES = 1024
_AFFINE = struct.Struct("<dd")
AFFINE_BYTES = _AFFINE.size
_COUNTS = struct.Struct("<II")


def find_affine(frame: NDArray[Any]) -> tuple[NDArray[np.int32], float, float] | None:
    """(k, slope, intercept) so that k * slope + intercept, computed in float64 and rounded to the frame's
    type, is the frame; None if there is no such lattice of at most 2**24 steps."""
    with np.errstate(all="ignore"):
        return _find_affine(frame)


def _find_affine(frame: NDArray[Any]) -> tuple[NDArray[np.int32], float, float] | None:
    flat = frame.reshape(-1)
    some = flat[:: max(1, flat.size // _SAMPLES)].astype(np.float64)
    if not np.isfinite(some).all() or not np.isfinite(some.max() - some.min()):
        return None
    lattice = _lattice(np.unique(some), float(np.finfo(frame.dtype).eps))
    if lattice is None:
        return None
    slope, origin = lattice
    wide = frame.astype(np.float64)
    if not np.isfinite(wide).all() or not np.isfinite(wide.max() - wide.min()):
        return None
    for step, intercept in _refined(slope, origin, wide):
        steps = np.rint((wide - intercept) / step)
        if not np.abs(steps).max() <= _MOST_STEPS:
            continue
        whole = steps.astype(np.int32)
        if _same(apply_affine(whole, step, intercept, frame.dtype), frame):
            return whole, step, intercept
    return None


def apply_affine(steps: NDArray[Any], slope: float, intercept: float, dtype: np.dtype[Any]) -> NDArray[Any]:
    """k * slope + intercept in float64, rounded to the type."""
    with np.errstate(over="ignore", invalid="ignore"):
        values: NDArray[Any] = (steps.astype(np.float64) * slope + intercept).astype(dtype)
    return values


def pack_affine(slope: float, intercept: float) -> bytes:
    """The 16 bytes that stand before the first part."""
    return _AFFINE.pack(slope, intercept)


def unpack_affine(part: bytes) -> tuple[float, float]:
    """(slope, intercept). Raises IntegrityError if they are cut off."""
    if len(part) < AFFINE_BYTES:
        raise IntegrityError("a stored slope and intercept are cut off")
    slope, intercept = _AFFINE.unpack_from(part)
    return slope, intercept


def _lattice(values: NDArray[np.float64], epsilon: float) -> tuple[float, float] | None:
    """(slope, origin) on which sorted distinct values seem to lie, up to rounding."""
    origin = float(values[0])
    if values.size == 1:
        return 1.0, origin
    error = epsilon * float(np.abs(values).max()) * 2
    gaps = np.unique(np.diff(values))
    step = float(gaps[gaps > error][:1].sum())
    if step <= error or float(values[-1] - origin) / step > _MOST_STEPS:
        return None
    for gap in gaps[:: max(1, gaps.size // 64)].tolist():
        step = _common(step, gap, error * 4)
        if step <= error * 4 or float(values[-1] - origin) / step > _MOST_STEPS:
            return None
    return step, origin


def _common(one: float, other: float, error: float) -> float:
    """The largest step that fits into both, up to an error, or to a hundredth of the step."""
    larger, smaller = max(one, other), min(one, other)
    while smaller > error:
        rest = math.fmod(larger, smaller)
        if min(rest, smaller - rest) < max(error, smaller / 100):
            rest = 0.0
        larger, smaller = smaller, rest
    return larger


def _refined(slope: float, origin: float, values: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Likely slopes and intercepts near a rough slope, the simplest first."""
    low, high = float(values.min()), float(values.max())
    steps = round((high - low) / slope)
    exact = (high - low) / steps if steps else slope
    nice = float(f"{exact:.6g}")
    inverse = round(1 / exact) if 1e-9 < abs(exact) < 1 else 0
    slopes = [nice, *([1 / inverse] if inverse else []), exact, float(np.float32(exact))]
    found: list[tuple[float, float]] = []
    for step in slopes:
        if not step or not math.isfinite(step):
            continue
        for intercept in (0.0, float(f"{low - round(low / step) * step:.6g}"), low, origin):
            if (step, intercept) not in found:
                found.append((step, intercept))
    return found


def find_ranks(frame: NDArray[Any]) -> tuple[NDArray[np.int16], NDArray[Any]] | None:
    """(rank of each value, table of the values in ascending order, NaN last); None if they are not few.

    Values are told apart by their bits: two kinds of NaN, or 0 and -0, are different values.
    """
    bits = frame.view(f"u{frame.dtype.itemsize}")
    flat = bits.reshape(-1)
    limit = min(MOST_RANKS, flat.size // 16)
    if limit < 1 or np.unique(flat[:: max(1, flat.size // (4 * limit))]).size > limit:
        return None
    distinct, inverse = np.unique(flat, return_inverse=True)
    if distinct.size > limit:
        return None
    order = np.argsort(distinct.view(frame.dtype), kind="stable")
    ranks = np.empty(distinct.size, np.int16)
    ranks[order] = np.arange(distinct.size, dtype=np.int16)
    return ranks[inverse].reshape(frame.shape), distinct[order].view(frame.dtype)


def pack_table(table: NDArray[Any]) -> bytes:
    """A table of values, to stand before the first part."""
    packed = polyphase.shuffled([table])
    return _COUNTS.pack(table.size, len(packed)) + packed


def unpack_table(part: bytes, dtype: np.dtype[Any]) -> tuple[NDArray[Any], int]:
    """(table, bytes that it takes at the start of the part). Raises IntegrityError if it is damaged."""
    if len(part) < _COUNTS.size:
        raise IntegrityError("a stored table of values is cut off")
    count, size = _COUNTS.unpack_from(part)
    end = _COUNTS.size + size
    if not 1 <= count <= MOST_RANKS or end > len(part):
        raise IntegrityError("a stored table of values is damaged")
    return polyphase.unshuffled(part[_COUNTS.size : end], dtype, count), end


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Equal bit for bit: 0 and -0 differ."""
    kind = f"u{one.dtype.itemsize}"
    return bool(np.array_equal(one.view(kind), other.view(kind)))
