"""Frames of any type through a general compressor, for pictures of the kind that those hold best (patterns
that repeat, numbers with few different bytes): no source with such a compression may grow.

The values go through one of four filters first, which is found by trying. docs/design/pack-format.md defines
the result.
"""

from __future__ import annotations

import lzma
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from imarium.codec.decoders import Codec

DIFFERENCES, SHUFFLED = 1, 2
"""Bits of a variant: each value less the one to its left; all first bytes before all second ones."""
_VARIANTS = range(4)
_TRIED, _USUAL, _BEST = 1, 9, 19
"""Levels of zstd: to find the filter, to use it, and where that is not enough."""
_LZMA_MEMORY = 64 << 20


def encode(frame: NDArray[Any], enough: float) -> tuple[Codec, int, bytes] | None:
    """Codec, variant and data; the first that takes at most `enough` bytes, or else the smallest.

    None for types that are not numbers of 1 to 8 bytes.
    """
    if frame.dtype.kind not in "biuf" or frame.dtype.itemsize > 8:
        return None
    filtered = {variant: _filtered(frame, variant) for variant in _VARIANTS if _is_of_use(frame, variant)}
    variant = min(filtered, key=lambda one: len(_zstd(filtered[one], _TRIED)))
    content = filtered[variant]
    tried: tuple[tuple[Codec, Callable[[], bytes]], ...] = (
        (Codec.ZSTD, lambda: _zstd(content, _USUAL)),
        (Codec.ZSTD, lambda: _zstd(content, _BEST)),
        (Codec.LZMA, lambda: lzma.compress(content)),
    )
    found = []
    for codec, compress in tried:
        found.append((codec, variant, compress()))
        if len(found[-1][2]) <= enough:
            break
    return min(found, key=lambda one: len(one[2]))


def _is_of_use(frame: NDArray[Any], variant: int) -> bool:
    return not variant & SHUFFLED or frame.dtype.itemsize > 1


def _zstd(content: bytes, level: int) -> bytes:
    return bytes(imagecodecs.zstd_encode(content, level=level))


def _bits(frame: NDArray[Any]) -> NDArray[Any]:
    """The values' bits as unsigned integers, little-endian."""
    size = frame.dtype.itemsize
    return frame.view(f"u{size}").astype(f"<u{size}", copy=False)


def _filtered(frame: NDArray[Any], variant: int) -> bytes:
    values = _bits(np.ascontiguousarray(frame))
    if variant & DIFFERENCES:
        apart = values.copy()
        apart[:, 1:] -= values[:, :-1]
        values = apart
    if variant & SHUFFLED:
        return values.view(np.uint8).reshape(-1, values.dtype.itemsize).T.tobytes()
    return values.tobytes()


def decode(
    codec: Codec, variant: int, data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """The frame. Raises ValueError or RuntimeError for data that are damaged or of another size."""
    count = int(np.prod(shape))
    size = count * dtype.itemsize
    if variant not in _VARIANTS:
        raise ValueError(f"there is no variant {variant}")
    raw = imagecodecs.zstd_decode(data, out=size) if codec is Codec.ZSTD else _unpacked(data, size)
    if len(raw) != size:
        raise ValueError(f"{len(raw)} bytes where {size} were expected")
    values = np.frombuffer(raw, np.uint8)
    if variant & SHUFFLED:
        values = np.ascontiguousarray(values.reshape(dtype.itemsize, count).T)
    little = values.view(f"<u{dtype.itemsize}").reshape(shape)
    native = little.astype(f"=u{dtype.itemsize}")
    if variant & DIFFERENCES:
        np.cumsum(native, axis=1, dtype=native.dtype, out=native)
    return native.view(dtype)


def _unpacked(data: bytes, size: int) -> bytes:
    """One .xz stream of `size` bytes, in bounded memory."""
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, _LZMA_MEMORY)
    try:
        raw = decompressor.decompress(data, size + 1)
    except lzma.LZMAError as error:
        raise ValueError(f"the data are damaged: {error}") from error
    if not decompressor.eof:
        raise ValueError(f"the data do not end after {size} bytes")
    return raw
