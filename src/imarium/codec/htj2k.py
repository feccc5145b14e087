"""The htj2k lane: integers as one reversible High-Throughput JPEG 2000 codestream a frame.

Sources: ISO/IEC 15444-1 Annex A (markers) and B (progression), ISO/IEC 15444-15 (HT block coder).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from imarium.errors import IntegrityError

INT16_BOUND = 11_100
"""Largest magnitude for which no level of the 5/3 wavelet overflows 16 signed bits."""

_SOT = b"\xff\x90"
_EOC = b"\xff\xd9"
_SOC_BYTES = 2


def encode(frame: NDArray[Any], decompositions: int, *, color_transform: bool) -> tuple[bytes, ...]:
    """Encode integers that fit int32 as `decompositions + 1` parts, one a resolution, smallest first.

    Values are coded as signed: unsigned codestreams wrap where the wavelet goes below zero.
    `decompositions` must be at least 1 (the encoder reads 0 as "five").
    """
    if decompositions < 1:
        raise ValueError("the htj2k lane needs at least one decomposition")
    low, high = int(frame.min()), int(frame.max())
    container = np.int16 if low >= -INT16_BOUND and high <= INT16_BOUND else np.int32
    codestream = imagecodecs.htj2k_encode(
        np.ascontiguousarray(frame, dtype=container),
        rgb=color_transform if frame.ndim == 3 else None,
        resolutions=decompositions,
        reversible=True,
        tlm=True,
        tilepart=1,
    )
    return split(bytes(codestream), decompositions + 1)


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
    if len(cuts) != parts + 1 or codestream[position:] != _EOC:
        raise IntegrityError(f"expected {parts} tile-parts and an end marker, found {len(cuts) - 1}")
    cuts[-1] = len(codestream)
    return tuple(codestream[start:stop] for start, stop in pairwise(cuts))


def decode(codestream: bytes, discard: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Decode a codestream, or a prefix that ends at a tile-part, leaving out `discard` resolutions.

    `out`, if given, is a C-contiguous array of the coded type and the level's shape.
    """
    if not codestream.endswith(_EOC):
        codestream += _EOC
    try:
        decoded: NDArray[Any] = imagecodecs.htj2k_decode(codestream, planar=False, skipres=discard, out=out)
    except (ValueError, RuntimeError, imagecodecs.Htj2kError) as error:
        raise IntegrityError(f"a stored codestream does not decode: {error}") from error
    return decoded
