"""The low-pass band of the reversible 5/3 wavelet, for levels of frames that are stored whole."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def low_pass(frame: NDArray[Any], level: int, low: int, high: int) -> NDArray[Any]:
    """A level of a frame of integers (ISO/IEC 15444-1 F.3, F.4), columns first, clamped to `low` and `high`.

    (rows, columns) or (rows, columns, samples), of the frame's type.
    """
    values = frame.astype(np.int64)
    for _ in range(level):
        values = _step(_step(values, 0), 1)
    return np.clip(values, low, high).astype(frame.dtype)


def _step(values: NDArray[np.int64], axis: int) -> NDArray[np.int64]:
    lines = np.moveaxis(values, axis, 0)
    even, odd = lines[0::2], lines[1::2]
    if not len(odd):
        return values
    following = even[1:] if len(even) > len(odd) else np.concatenate([even[1:], even[-1:]])
    high = odd - ((even[: len(odd)] + following) >> 1)
    before = np.concatenate([high[:1], high])[: len(even)]
    after = high if len(high) == len(even) else np.concatenate([high, high[-1:]])
    return np.moveaxis(even + ((before + after + 2) >> 2), 0, axis)
