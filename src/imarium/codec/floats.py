"""The float lane: an integer preview for the low levels and the exact values for full resolution."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from imarium.codec import htj2k, polyphase, wavelet
from imarium.errors import IntegrityError

_BOUND = 11_000


def encode(frame: NDArray[Any], decompositions: int) -> tuple[tuple[bytes, ...], tuple[float, float]]:
    """Parts and (scale, offset) of a frame of floats; NaN and infinities are exact at level 0."""
    exact = polyphase.shuffled([frame])
    if decompositions == 0:
        return (exact,), (1.0, 0.0)
    preview, scale, offset = _preview(frame)
    coarse = htj2k.encode(preview, decompositions, low=-_BOUND, high=_BOUND, color_transform=False)
    if coarse is None:
        raise IntegrityError("the preview of a frame does not decode to the values it was made from")
    return (*coarse[:-1], exact), (scale, offset)


def _preview(frame: NDArray[Any]) -> tuple[NDArray[np.int16], float, float]:
    """Integers from -11000 to 11000, NaN as the least; scale and offset that give back about the values."""
    finite = frame[np.isfinite(frame)].astype(np.float64)
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    offset = low / 2 + high / 2
    scale = (high / 2 - low / 2) / _BOUND or 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        preview = np.clip((frame.astype(np.float64) - offset) / scale, -_BOUND, _BOUND)
    return np.where(np.isnan(preview), -_BOUND, np.rint(preview)).astype(np.int16), scale, offset


def at_level(frame: NDArray[Any], level: int) -> NDArray[Any]:
    """A level of a frame that is stored whole: the values that the preview would give."""
    preview, scale, offset = _preview(frame)
    return _scaled(wavelet.low_pass(preview, level, -_BOUND, _BOUND), frame.dtype, scale, offset)


def decode_preview(
    codestream: bytes, discard: int, dtype: np.dtype[Any], scale: float, offset: float
) -> NDArray[Any]:
    """Values of a level below full resolution, in the frame's own type."""
    decoded = np.clip(htj2k.decode(codestream, discard), -_BOUND, _BOUND)
    return _scaled(decoded, dtype, scale, offset)


def _scaled(integers: NDArray[Any], dtype: np.dtype[Any], scale: float, offset: float) -> NDArray[Any]:
    values: NDArray[Any] = (integers * scale + offset).astype(dtype)
    return values


def decode_exact(part: bytes, frame_shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The frame itself, bit for bit, from the last part."""
    return polyphase.unshuffled(part, dtype, int(np.prod(frame_shape))).reshape(frame_shape)
