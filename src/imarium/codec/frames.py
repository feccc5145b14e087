"""Frames to parts and back, exactly: chooses a lane for each frame by looking at it, and verifies."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from imarium.codec import floats, htj2k, polyphase
from imarium.errors import IntegrityError
from imarium.model import Series, level_shape
from imarium.model.series import Frame

SMALLEST_SIDE = 16
MOST_DECOMPOSITIONS = 5
PARAMS_BYTES = 16
DIGEST_BYTES = 32


class Lane(IntEnum):
    """How a frame is stored; docs/design/pack-format.md defines each."""

    HTJ2K = 1
    POLYPHASE = 2
    FLOAT = 3


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """A frame as stored. Part p completes resolution p, smallest first."""

    lane: Lane
    params: bytes
    digest: bytes
    parts: tuple[bytes, ...]


def decompositions_for(rows: int, columns: int) -> int:
    """Halvings worth storing: at most five, and none that leaves a side under 16 pixels."""
    count = 0
    while count < MOST_DECOMPOSITIONS and min(level_shape(rows, columns, count + 1)) >= SMALLEST_SIDE:
        count += 1
    return count


def pixel_digest(frame: Frame) -> bytes:
    """BLAKE3 of the values in C order, little-endian."""
    little = np.ascontiguousarray(frame, dtype=frame.dtype.newbyteorder("<"))
    return blake3(little.reshape(-1).view(np.uint8).data).digest()


def choose_lane(series: Series, decompositions: int) -> tuple[Lane, str]:
    """The lane for frames of a series, and why."""
    dtype = np.dtype(series.dtype)
    if series.label_map:
        return Lane.POLYPHASE, "values are labels, which a wavelet would mix"
    if dtype.kind == "f":
        if series.samples == 1:
            return Lane.FLOAT, "floating point: integer preview and exact values"
        return Lane.POLYPHASE, "floating point with several samples a pixel"
    if decompositions == 0:
        return Lane.POLYPHASE, "too small for a low resolution"
    if dtype.kind not in "iu" or dtype.itemsize > 4:
        return Lane.POLYPHASE, f"{dtype.name} is beyond 32-bit integers"
    if series.samples not in (1, 3, 4):
        return Lane.POLYPHASE, f"{series.samples} samples a pixel"
    return Lane.HTJ2K, "integers of at most 32 bits"


def encode_frame(frame: Frame, series: Series, decompositions: int) -> EncodedFrame:
    """Encode one frame, decode it again and compare.

    A frame that its lane cannot hold exactly (uint32 beyond int32) goes to the polyphase lane.
    Raises IntegrityError if even that does not return the same values.
    """
    lane, _ = choose_lane(series, decompositions)
    digest = pixel_digest(frame)
    encoded = _encode_htj2k(frame, series, decompositions, digest) if lane is Lane.HTJ2K else None
    if encoded is not None:
        return encoded
    if lane is Lane.FLOAT:
        parts, scaling = floats.encode(frame, decompositions)
        encoded = EncodedFrame(lane, struct.pack("<dd", *scaling), digest, parts)
    else:
        parts = polyphase.encode(frame, decompositions)
        encoded = EncodedFrame(Lane.POLYPHASE, bytes(PARAMS_BYTES), digest, parts)
    decoded = decode_frame(encoded.lane, encoded.params, parts, series, decompositions, level=0)
    # The digest is of bits, so that NaN and -0 count.
    if decoded.dtype != frame.dtype or pixel_digest(decoded) != digest:
        raise IntegrityError("a frame does not decode to the values it was made from")
    return encoded


def _encode_htj2k(frame: Frame, series: Series, decompositions: int, digest: bytes) -> EncodedFrame | None:
    """None if the values are beyond int32 or do not come back."""
    low, high = int(frame.min()), int(frame.max())
    if low < -(1 << 31) or high >= 1 << 31:
        return None
    rgb = series.photometric == "RGB"
    parts = htj2k.encode(frame, decompositions, low=low, high=high, color_transform=rgb)
    if parts is None:
        return None
    return EncodedFrame(Lane.HTJ2K, struct.pack("<qq", low, high), digest, parts)


def decode_frame(
    lane: int,
    params: bytes,
    parts: Sequence[bytes],
    series: Series,
    decompositions: int,
    level: int,
    out: NDArray[Any] | None = None,
) -> Frame:
    """Decode a level of a frame from its parts 0 to `decompositions - level`.

    `series` holds the facts at full resolution. `out` (C-contiguous, the level's shape, the series' dtype)
    takes the values without a copy where the lane allows it. Raises IntegrityError if the parts are damaged.
    """
    dtype = np.dtype(series.dtype)
    rows, columns = level_shape(series.rows, series.columns, level)
    shape = (rows, columns, *series.frame_shape[2:])
    if lane == Lane.HTJ2K:
        frame = _decode_htj2k(params, parts, dtype, level, shape, out)
    elif lane == Lane.FLOAT and level == 0:
        frame = floats.decode_exact(parts[-1], shape, dtype)
    elif lane == Lane.FLOAT:
        frame = floats.decode_preview(b"".join(parts), level, dtype, *struct.unpack("<dd", params))
    elif lane == Lane.POLYPHASE:
        frame = polyphase.decode(parts, decompositions, series.frame_shape, dtype)
    else:
        raise IntegrityError(f"lane {lane} is unknown to this version of Imarium; upgrade to read it")
    if frame.shape != shape:
        raise IntegrityError(f"a stored frame decodes to {frame.shape} where {shape} was expected")
    if out is None or frame is out:
        return frame
    out[...] = frame
    return out


def _decode_htj2k(
    params: bytes,
    parts: Sequence[bytes],
    dtype: np.dtype[Any],
    level: int,
    shape: tuple[int, ...],
    out: NDArray[Any] | None,
) -> Frame:
    low, high = struct.unpack("<qq", params)
    coded = htj2k.coded_dtype(low, high)
    target = out if out is not None and out.dtype == coded and out.shape == shape else None
    decoded = htj2k.decode(b"".join(parts), level, target)
    if level:
        np.maximum(decoded, low, out=decoded)
        np.minimum(decoded, high, out=decoded)
    if out is None or target is out or decoded.shape != shape:
        return decoded.astype(dtype, copy=False)
    np.copyto(out, decoded, casting="unsafe")
    return out


def encode_frames(
    frames: Iterable[Frame], series: Series, decompositions: int, threads: int
) -> Iterator[EncodedFrame]:
    """Encode and verify frames in order on several threads; holds at most two frames a thread.

    Raises IntegrityError if a frame's shape or type is not the series', or their number differs.
    """
    count = 0
    dtype, shape = np.dtype(series.dtype), series.frame_shape
    with ThreadPoolExecutor(threads, thread_name_prefix="encode") as pool:
        pending: deque[Future[EncodedFrame]] = deque()
        try:
            for frame in frames:
                if frame.shape != shape or frame.dtype != dtype:
                    raise IntegrityError(
                        f"frame {count} is {frame.dtype.name} {frame.shape}, the series {dtype.name} {shape}"
                    )
                count += 1
                pending.append(pool.submit(encode_frame, frame, series, decompositions))
                if len(pending) >= 2 * threads:
                    yield pending.popleft().result()
            if count != series.frames:
                raise IntegrityError(f"{count} frames were read where {series.frames} were announced")
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
