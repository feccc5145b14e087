"""The polyphase lane: exact for every type, levels by leaving out rows and columns.

Level k is every 2^k-th row and column. Each part holds the pixels of its level that no smaller level has,
so the pyramid repeats nothing, and no value is ever mixed with another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from imarium.errors import IntegrityError
from imarium.model import level_shape

_ZSTD_LEVEL = 6
_PHASES = ((0, 1), (1, 0), (1, 1))
"""Even or odd (row, column) of the three quarters that a part adds."""


def encode(frame: NDArray[Any], decompositions: int) -> tuple[bytes, ...]:
    """Encode any fixed-size type as `decompositions + 1` parts, smallest level first."""
    step = 1 << decompositions
    parts = [shuffled([frame[::step, ::step]])]
    for level in range(decompositions - 1, -1, -1):
        step = 1 << level
        grid = frame[::step, ::step]
        parts.append(shuffled([grid[row::2, column::2] for row, column in _PHASES]))
    return tuple(parts)


def decode(
    parts: Sequence[bytes], decompositions: int, frame_shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Decode parts 0 to n-1 to level `decompositions - n + 1` of a frame of the given full shape."""
    rows, columns, *samples = frame_shape
    grid = np.empty((*level_shape(rows, columns, decompositions), *samples), dtype)
    grid[...] = unshuffled(parts[0], dtype, grid.size).reshape(grid.shape)
    for number, part in enumerate(parts[1:], start=1):
        finer = np.empty((*level_shape(rows, columns, decompositions - number), *samples), dtype)
        finer[::2, ::2] = grid
        values = unshuffled(part, dtype, finer.size - grid.size)
        taken = 0
        for row, column in _PHASES:
            phase = finer[row::2, column::2]
            phase[...] = values[taken : taken + phase.size].reshape(phase.shape)
            taken += phase.size
        grid = finer
    return grid


def shuffled(arrays: Sequence[NDArray[Any]]) -> bytes:
    """Values of the arrays, little-endian, lowest bytes of all first, as one zstd frame."""
    values = np.concatenate([array.ravel() for array in arrays])
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    planes = little.view(np.uint8).reshape(-1, little.dtype.itemsize).T
    return bytes(imagecodecs.zstd_encode(planes.tobytes(), level=_ZSTD_LEVEL))


def unshuffled(part: bytes, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    """The inverse of `shuffled`: `count` values of `dtype` in native byte order."""
    size = count * dtype.itemsize
    try:
        raw = imagecodecs.zstd_decode(part, out=size) if size else b""
    except (ValueError, RuntimeError, imagecodecs.ZstdError) as error:
        raise IntegrityError(f"a stored part does not decompress: {error}") from error
    if len(raw) != size:
        raise IntegrityError(f"a stored part holds {len(raw)} bytes where {size} were expected")
    planes = np.frombuffer(raw, np.uint8).reshape(dtype.itemsize, count)
    little = np.ascontiguousarray(planes.T).view(dtype.newbyteorder("<")).reshape(count)
    return little.astype(dtype, copy=False)
