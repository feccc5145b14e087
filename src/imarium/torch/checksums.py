"""Checksums of parts that lie side by side, as the checksum of the whole: one check instead of several."""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78
"""Castagnoli's, bits reversed."""

Words: TypeAlias = NDArray[np.uint32]


def joined(first: Words, second: Words, lengths: NDArray[np.int64]) -> Words:
    """CRC-32C of pieces followed by others of `lengths` bytes, from the CRC-32C of each.

    To append bytes is a linear map over GF(2), which is a product of maps for powers of two.
    """
    found = first
    for power in range(int(lengths.max(initial=0)).bit_length()):
        taken = (lengths >> power & 1).astype(bool)
        found = np.where(taken, _applied(_appending(power), found), found)
    return found ^ second


@cache
def _appending(power: int) -> Words:
    """The map of a checksum when 2**power zero bytes follow: what becomes of each of its 32 bits."""
    if power:
        half = _appending(power - 1)
        return _applied(half, half)
    bit = np.array([_POLYNOMIAL, *(1 << place for place in range(31))], np.uint32)
    for _ in range(3):
        bit = _applied(bit, bit)
    return bit


def _applied(map_: Words, words: Words) -> Words:
    found = np.zeros_like(words)
    for place in range(32):
        found ^= np.where(words >> np.uint32(place) & np.uint32(1), map_[place], np.uint32(0))
    return found
