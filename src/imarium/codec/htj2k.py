"""The htj2k lane: integers as one reversible High-Throughput JPEG 2000 codestream a frame.

Sources: ISO/IEC 15444-1 Annex A (markers) and B (progression), ISO/IEC 15444-15 (HT block coder).
"""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from imarium.errors import IntegrityError

INT16_BOUND = 11_100
"""Largest magnitude for which no level of the 5/3 wavelet overflows 16 signed bits."""

_SOT = b"\xff\x90"
EOC = b"\xff\xd9"
"""The marker that ends a codestream; a prefix has none."""
_SOC_BYTES = 2


class _Buffers(threading.local):
    """Arrays that a thread uses again: fresh pages for every frame cost as much as comparing it."""

    def __init__(self) -> None:
        self._held: dict[str, NDArray[Any]] = {}

    def get(self, use: str, shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
        array = self._held.get(use)
        if array is None or array.shape != shape or array.dtype != dtype:
            array = self._held[use] = np.empty(shape, dtype)
        return array


_buffers = _Buffers()


def _initialise() -> None:
    """Have OpenJPH fill its tables while only one thread runs.

    Versions before the fix of January 2026 (OpenJPH pull request 243) fill them on first use without a
    lock: two threads that begin together now and then get wrong pixels, without an error.
    """
    for dtype in (np.int16, np.int32):
        for shape in ((32, 32), (32, 32, 3)):
            frame = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
            codestream = imagecodecs.htj2k_encode(frame, resolutions=1, reversible=True)
            imagecodecs.htj2k_decode(codestream, planar=False)


_initialise()


def coded_dtype(low: int, high: int) -> type:
    """The signed type in which values from `low` to `high` are coded."""
    return np.int16 if low >= -INT16_BOUND and high <= INT16_BOUND else np.int32


def encode(
    frame: NDArray[Any], decompositions: int, *, low: int, high: int, color_transform: bool
) -> tuple[bytes, ...] | None:
    """Encode integers from `low` to `high`, which fit int32, and decode them again to compare.

    Gives `decompositions + 1` parts, one a resolution, smallest first; None if other values came back.
    Values are coded as signed: unsigned codestreams wrap where the wavelet goes below zero.
    `decompositions` must be at least 1 (the encoder reads 0 as "five").
    """
    if decompositions < 1:
        raise ValueError("the htj2k lane needs at least one decomposition")
    dtype = coded_dtype(low, high)
    coded: NDArray[Any]
    if frame.dtype.itemsize == np.dtype(dtype).itemsize and frame.flags.c_contiguous:
        coded = frame.view(dtype)  # the same bits: the values fit the signed type
    else:
        coded = _buffers.get("coded", frame.shape, dtype)
        np.copyto(coded, frame, casting="unsafe")
    codestream = imagecodecs.htj2k_encode(
        coded,
        rgb=color_transform if frame.ndim == 3 else None,
        resolutions=decompositions,
        reversible=True,
        tlm=True,
        tilepart=1,
    )
    codestream = bytes(codestream)
    decoded = decode(codestream, 0, _buffers.get("decoded", frame.shape, dtype))
    return split(codestream, decompositions + 1) if np.array_equal(decoded, coded) else None


def split(codestream: bytes, parts: int) -> tuple[bytes, ...]:
    """Cut a codestream after each tile-part; the first part keeps the main header, the last the EOC.

    Walks the segments' lengths: marker bytes also occur inside lengths and data.
    """
    position = _SOC_BYTES
    while codestream[position : position + 2] != _SOT:
        position += 2 + int.from_bytes(codestream[position + 2 : position + 4], "big")
        if position >= len(codestream):
            raise IntegrityError("the codestream has no tile-part")
    cuts = [0]
    while codestream[position : position + 2] == _SOT:
        position += int.from_bytes(codestream[position + 6 : position + 10], "big")
        cuts.append(position)
    if len(cuts) != parts + 1 or codestream[position:] != EOC:
        raise IntegrityError(f"expected {parts} tile-parts and an end marker, found {len(cuts) - 1}")
    cuts[-1] = len(codestream)
    return tuple(codestream[start:stop] for start, stop in pairwise(cuts))


def decode(codestream: bytes, discard: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Decode a codestream, or a prefix that ends at a tile-part, leaving out `discard` resolutions.

    `out`, if given, is a C-contiguous array of the coded type and the level's shape.
    """
    if not codestream.endswith(EOC):
        codestream += EOC
    try:
        decoded: NDArray[Any] = imagecodecs.htj2k_decode(codestream, planar=False, skipres=discard, out=out)
    except (ValueError, RuntimeError, imagecodecs.Htj2kError) as error:
        raise IntegrityError(f"a stored codestream does not decode: {error}") from error
    return decoded
