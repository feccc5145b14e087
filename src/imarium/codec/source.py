"""The source lane: a whole codestream in another codec, kept or made where the wavelet would be larger.

For frames that came compressed (JPEG, JPEG 2000, JPEG-LS, PNG; in strips or tiles too) the source's own
codestream is kept, byte for byte, if it is smaller than anything made from its pixels: an archive must not
grow a dataset. For the archive tier, JPEG XL is made. Every level needs the whole codestream; levels are the
reversible 5/3 wavelet's low-pass of its pixels, as in the htj2k lane.
"""

from __future__ import annotations

import struct
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from imarium.codec import decoders, floats, squeeze, tiles, wavelet
from imarium.codec.decoders import NAMES, Codec
from imarium.errors import IntegrityError
from imarium.model import SourceCodestream

PARAMS = struct.Struct("<BBB5xq")
"""Codec, variant, bits to extend a sign from (0: none), padding, and what is added to decoded values."""

_ARCHIVE_EFFORT = 7


def keep(frame: NDArray[Any], source: SourceCodestream, bits_stored: int | None) -> bytes | None:
    """The params with which the codestream decodes to exactly this frame; None if it does not."""
    codec = NAMES.get(source.codec)
    if codec is None:
        return None
    if codec is Codec.TILES:
        found = tiles.variant_of(source.data, frame)
        return None if found is None else PARAMS.pack(codec, found, 0, 0)
    extensions = (0, bits_stored) if bits_stored and frame.dtype.kind == "i" else (0,)
    sides = frame.shape[0], frame.shape[1]
    for variant in decoders.variants(codec):
        try:
            decoded = decoders.decode(codec, variant, source.data, sides, sides)
        except decoders.FAILURES:
            continue
        for bits in extensions:
            values = _fitted(decoded, frame.shape, frame.dtype, bits, 0)
            if values is not None and np.array_equal(values, frame):
                return PARAMS.pack(codec, variant, bits, 0)
    return None


def archive(frame: NDArray[Any]) -> tuple[bytes, bytes] | None:
    """(params, lossless JPEG XL codestream) of integers within 16 bits of one another; None for others.

    Grey, or of three or four samples; decoded again and compared.
    """
    if frame.dtype.kind not in "iu" or (frame.ndim == 3 and frame.shape[2] not in (3, 4)):
        return None
    base, high = int(frame.min()), int(frame.max())
    if frame.dtype.kind == "u" and high < 1 << 16:
        base = 0
    if high - base >= 1 << 16 or not -(1 << 63) <= base < 1 << 63:
        return None
    kind = np.uint8 if high - base < 1 << 8 else np.uint16
    values = (frame - frame.dtype.type(base)).astype(kind)
    data = bytes(imagecodecs.jpegxl_encode(values, lossless=True, effort=_ARCHIVE_EFFORT, numthreads=1))
    params = PARAMS.pack(Codec.JPEG_XL, 0, 0, base)
    return (params, data) if np.array_equal(decode(params, data, frame.shape, frame.dtype), frame) else None


def decode(params: bytes, data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The frame, of the given full-resolution shape. Raises IntegrityError if the codestream is damaged."""
    number, variant, bits, base = PARAMS.unpack(params)
    try:
        codec = Codec(number)
        if codec is Codec.TILES:
            return tiles.decode(variant, data, shape, dtype)
        if codec in (Codec.ZSTD, Codec.LZMA):
            return squeeze.decode(codec, variant, data, shape, dtype)
        sides = shape[0], shape[1]
        decoded = decoders.decode(codec, variant, data, sides, sides)
    except decoders.FAILURES as error:
        raise IntegrityError(f"a stored codestream of the source does not decode: {error}") from error
    frame = _fitted(decoded, shape, dtype, bits, base)
    if frame is None:
        raise IntegrityError(f"a stored codestream decodes to {decoded.shape} where {shape} was expected")
    return frame


def _fitted(
    decoded: NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any], bits: int, base: int
) -> NDArray[Any] | None:
    """Decoded values in the frame's shape and type; None if they cannot be."""
    if decoded.size != np.prod(shape) or decoded.shape[:1] != shape[:1]:
        return None
    values = np.ascontiguousarray(decoded).reshape(shape)
    if bits:
        shift = 8 * dtype.itemsize - bits
        if shift < 0:
            return None
        values = np.right_shift(np.left_shift(values.astype(dtype), shift), shift)
    else:
        values = values.astype(dtype, copy=False)
    if base:
        values = values + dtype.type(base)
    return values


def smallest(frame: NDArray[Any], enough: float) -> tuple[bytes, bytes] | None:
    """(params, codestream) made of a frame, slowly: the first of `enough` bytes, or else the smallest.

    Decoded again and compared. None for types that nothing holds.
    """
    made = archive(frame)
    if made is not None and len(made[1]) <= enough:
        return made
    squeezed = squeeze.encode(frame, enough)
    if squeezed is None or (made is not None and len(made[1]) <= len(squeezed[2])):
        return made
    codec, variant, data = squeezed
    params = PARAMS.pack(codec, variant, 0, 0)
    decoded = decode(params, data, frame.shape, frame.dtype)
    return (params, data) if decoded.tobytes() == frame.tobytes() else made


def at_level(frame: NDArray[Any], level: int, *, nearest: bool = False) -> NDArray[Any]:
    """A level of a whole frame, (rows, columns) or (rows, columns, samples).

    Integers: the low-pass band of the reversible 5/3 wavelet, clamped to the frame's own values; floating
    point: what the float lane's preview gives; every 2^k-th row and column with `nearest`, and of booleans
    and integers that span 32 bits or more.
    """
    if not level:
        return frame
    if not nearest and frame.dtype.kind == "f":
        return floats.at_level(frame, level)
    low, high = (0, 0) if nearest else (int(frame.min()), int(frame.max()))
    if nearest or frame.dtype.kind == "b" or high - low >= 1 << 32:
        return np.ascontiguousarray(frame[:: 1 << level, :: 1 << level])
    # Subtracted before there is a sign, and added after, for values beyond 2^62.
    small = frame - frame.dtype.type(low) if frame.dtype.kind == "u" else frame.astype(np.int64) - low
    values = wavelet.low_pass(small.astype(np.int64), level, 0, high - low)
    return (values + low).astype(frame.dtype) if low < 1 << 62 else values.astype(frame.dtype) + low


def spread(data: bytes, decompositions: int) -> tuple[bytes, ...]:
    """The codestream as parts: all of it is the first, which every level needs."""
    return (data, *[b""] * decompositions)
