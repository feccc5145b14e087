"""Main headers of codestreams, which differ in few bytes between the frames of a series: kept once.

Headers are a quarter to a half of the smallest level, so they lie in the index instead of the body.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imarium.errors import IntegrityError

_SOC, _SOT = b"\xff\x4f", b"\xff\x90"
_MOST_HEAD_BYTES = 1 << 16
_MOST_COLLECTED_BYTES = 64 << 20
"""Headers of so many bytes are collected; a series with more keeps them in its body."""


def head_length(codestream: bytes) -> int:
    """Bytes before the first tile-part of a JPEG 2000 codestream (ISO/IEC 15444-1, A.3); 0 if it is none."""
    if codestream[:2] != _SOC:
        return 0
    position = 2
    while position < min(len(codestream), _MOST_HEAD_BYTES):
        marker = codestream[position : position + 2]
        if marker == _SOT:
            return position
        length = int.from_bytes(codestream[position + 2 : position + 4], "big")
        if marker[:1] != b"\xff" or length < 2:
            return 0
        position += 2 + length
    return 0


@dataclass(frozen=True)
class Heads:
    """Headers of the frames that have one: a template, and for each frame what differs."""

    template: NDArray[np.uint8]
    """(T,)"""
    positions: NDArray[np.intp]
    """(K,) where headers differ from the template."""
    values: NDArray[np.uint8]
    """(K, frames) the bytes there."""
    headed: NDArray[np.uint8]
    """(frames,) 1 where the header was taken off part 0."""

    def of(self, frame: int) -> bytes:
        """What belongs before part 0 of a frame."""
        if not self.headed[frame]:
            return b""
        head = self.template.copy()
        head[self.positions] = self.values[:, frame]
        return head.tobytes()

    def to_bytes(self) -> bytes:
        """As it lies in the index."""
        varies = np.zeros(len(self.template), np.uint8)
        varies[self.positions] = 1
        return b"".join(
            [self.template.tobytes(), varies.tobytes(), self.values.tobytes(), self.headed.tobytes()]
        )

    @classmethod
    def from_bytes(cls, data: bytes, length: int, frames: int) -> Heads:
        """The inverse of `to_bytes` for headers of `length` bytes; raises IntegrityError."""
        raw = np.frombuffer(data, np.uint8)
        if not 0 < length <= _MOST_HEAD_BYTES or len(raw) < 2 * length:
            raise IntegrityError("the index of a series has the wrong length")
        positions = np.flatnonzero(raw[length : 2 * length])
        values = 2 * length + len(positions) * frames
        if values + frames != len(raw):
            raise IntegrityError("the index of a series has the wrong length")
        return cls(
            raw[:length], positions, raw[2 * length : values].reshape(len(positions), frames), raw[values:]
        )


class HeadCollector:
    """Takes the headers off the frames of a series, as they come."""

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._length = 0
        self._heads = bytearray()
        self._headed = bytearray()

    def without_head(self, part: bytes) -> bytes:
        """What of part 0 of the next frame goes to the body.

        A header is taken off if it is as long as that of the first frame that has one.
        """
        length = head_length(part) if self._frames > 1 else 0
        if not self._length and length > 0 and length * self._frames <= _MOST_COLLECTED_BYTES:
            self._length = length
            self._heads = bytearray(length * len(self._headed))
        taken = length == self._length > 0
        self._headed.append(taken)
        self._heads += part[:length] if taken else bytes(self._length)
        return part[length:] if taken else part

    def finish(self) -> Heads | None:
        """All headers; None if there are none."""
        if not self._length:
            return None
        heads = np.frombuffer(bytes(self._heads), np.uint8).reshape(-1, self._length)
        headed = np.frombuffer(bytes(self._headed), np.uint8)
        template = heads[int(headed.argmax())]
        differs = (heads != template) & headed.astype(bool)[:, None]
        positions = np.flatnonzero(differs.any(axis=0))
        return Heads(template, positions, np.ascontiguousarray(heads[:, positions].T), headed)
