"""Reads the labels lane as it was first written, before version 1 of the lane; nothing writes it any more.

docs/design/pack-format.md tells the differences, at its end.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imarium.codec import neighbours
from imarium.codec.neighbours import NOWHERE, PHASES, Ranks
from imarium.codec.rangecoder import HALF, Decoder, start
from imarium.errors import IntegrityError
from imarium.model import level_shape

_MOST_LABELS = 256
_MOST_LENGTH = 39


class _Contexts:
    def __init__(self) -> None:
        self.hit = start(*neighbours.FIRST_RIGHT)
        self.second = start(*neighbours.SECOND_RIGHT)
        self.label = [HALF] * _MOST_LABELS
        self.gap = [[HALF] * (_MOST_LENGTH + 1) for _ in PHASES]
        self.base = [HALF] * 3


def decode(
    parts: Sequence[bytes], decompositions: int, frame_shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Decode parts 0 to n-1 to level `decompositions - n + 1`. Raises IntegrityError if they are damaged."""
    bits = np.dtype(f"<u{dtype.itemsize}")
    if len(frame_shape) != 2 or len(parts[0]) < 2:
        raise IntegrityError("a stored table of labels is cut off")
    rows, columns = frame_shape
    (labels,) = struct.unpack_from("<H", parts[0])
    end = 2 + labels * bits.itemsize
    if not 1 <= labels <= _MOST_LABELS or len(parts[0]) < end:
        raise IntegrityError("a stored table of labels is damaged")
    table = np.frombuffer(parts[0][2:end], bits).astype(bits.newbyteorder("="))
    if labels == 1:
        return np.full(level_shape(rows, columns, decompositions - len(parts) + 1), table[0]).view(dtype)
    contexts = _Contexts()
    grid = _base(Decoder(parts[0][end:]), level_shape(rows, columns, decompositions), contexts, labels)
    for number, part in enumerate(parts[1:], start=1):
        grid = _level(part, grid, level_shape(rows, columns, decompositions - number), contexts, labels)
    return np.ascontiguousarray(table[grid]).view(dtype)


def _base(decoder: Decoder, shape: tuple[int, int], contexts: _Contexts, labels: int) -> Ranks:
    base = np.empty(shape, np.uint16)
    above = [0] * shape[1]
    for row in range(shape[0]):
        values = []
        left = above[0]
        for up in above:
            if decoder.bit(contexts.base, left == up):
                again = left != up and not decoder.bit(contexts.base, 2)
                left = up if again else _label(decoder, contexts, labels)
            values.append(left)
        base[row] = above = values
    return base


def _level(part: bytes, even: Ranks, shape: tuple[int, int], contexts: _Contexts, labels: int) -> Ranks:
    known = neighbours.padded(shape, even)
    decoder = Decoder(part)
    for phase, gaps in enumerate(contexts.gap):
        guess = neighbours.guess(known, phase)
        values = guess.first.reshape(-1)
        if part and values.size:
            place = _gap(decoder, gaps)
            while place < guess.sure.size:
                values[guess.sure[place]] = _label(decoder, contexts, labels)
                place += 1 + _gap(decoder, gaps)
            values[guess.unsure] = [
                _other(decoder, contexts, labels, *facts)
                for facts in zip(
                    guess.context.tolist(), values[guess.unsure].tolist(), guess.second.tolist(), strict=True
                )
            ]
        neighbours.beside(known, phase)[...] = guess.first
    return neighbours.inside(known)


def _other(decoder: Decoder, contexts: _Contexts, labels: int, context: int, first: int, second: int) -> int:
    if not decoder.bit(contexts.hit, context):
        return first
    if second != NOWHERE and not decoder.bit(contexts.second, context):
        return second
    return _label(decoder, contexts, labels)


def _label(decoder: Decoder, contexts: _Contexts, labels: int) -> int:
    node, count = 1, (labels - 1).bit_length()
    for _ in range(count):
        node = node << 1 | decoder.bit(contexts.label, node)
    value = node - (1 << count)
    if value >= labels:
        raise IntegrityError("a stored label is not in its frame's table")
    return value


def _gap(decoder: Decoder, probabilities: list[int]) -> int:
    length = 0
    while decoder.bit(probabilities, length):
        length += 1
        if length == _MOST_LENGTH:
            raise IntegrityError("a stored part of labels is damaged")
    return (1 << length | decoder.bits(length)) - 1
