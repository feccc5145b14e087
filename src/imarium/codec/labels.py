"""The labels lane: exact for label maps and masks, levels by leaving out rows and columns.

Level k is every 2^k-th row and column, as in the polyphase lane: no value is ever mixed with another. What a
level adds is predicted from what is known on all sides, since smaller levels are known everywhere: almost
every pixel has the label that its neighbours agree on, and only the others cost anything.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imarium.codec.rangecoder import HALF, Decoder, Encoder
from imarium.errors import IntegrityError
from imarium.model import level_shape

MOST_LABELS = 256
_MOST_BASE_PIXELS = 1 << 14
_MOST_UNSURE = 0.3
"""Share of pixels whose neighbours disagree beyond which this is no label map worth the time."""

_NOWHERE = -1
_PAD = 3
_PHASES = ((1, 1), (0, 1), (1, 0))
"""Odd or even (row, column) of the pixels that a level adds, in the order in which they are coded."""
_NEAR = (
    ((-1, -1), (-1, 1), (1, -1), (1, 1)),
    ((0, -1), (0, 1), (-1, 0), (1, 0)),
    ((0, -1), (0, 1), (-1, 0), (1, 0)),
)
_FAR = (
    ((-3, -1), (-3, 1), (3, -1), (3, 1), (-1, -3), (1, -3), (-1, 3), (1, 3)),
    ((-2, -1), (-2, 1), (2, -1), (2, 1), (-1, -2), (1, -2), (-1, 2), (1, 2)),
    ((-1, -1), (-1, 1), (1, -1), (1, 1), (-1, -2), (1, -2), (-1, 2), (1, 2)),
)
"""For each phase: where the neighbours lie that are known by then, near ones and far ones."""

_AGREEMENT = (0, 0, 1, 1, 1, 2, 2, 3, 3)
"""By how many of the eight far neighbours have the first guess."""
_CLASSES = 3 * 5 * 5 * 4
_GAP_CONTEXTS = 40


_HIT = {
    (1, 1): (0.27, 0.27, 0.27, 0.27),
    (2, 0): (0.97, 0.97, 0.97, 0.97),
    (2, 1): (0.75, 0.56, 0.4, 0.29),
    (2, 2): (0.45, 0.46, 0.62, 0.4),
    (3, 0): (0.98, 0.98, 0.98, 0.98),
    (3, 1): (0.84, 0.95, 0.95, 0.82),
    (4, 0): (0.91, 0.988, 0.997, 0.998),
}
_SECOND = {
    (1, 1): (0.36, 0.36, 0.36, 0.36),
    (2, 1): (0.48, 0.48, 0.48, 0.48),
    (2, 2): (0.9, 0.96, 0.98, 0.99),
    (3, 1): (0.76, 0.86, 0.92, 0.97),
}
"""How often the first guess was right, and else the second, by near votes for each and by agreement of the
far neighbours, in label maps of organs and tissues. Where to start from; each frame learns its own."""


def _start(shares: Mapping[tuple[int, int], tuple[float, ...]]) -> list[int]:
    unknown = (0.5,) * 4
    return [
        round(2048 * share)
        for _ in range(3)
        for most in range(5)
        for following in range(5)
        for share in shares.get((most, following), unknown)
    ]


class _Contexts:
    """Probabilities that are learned while a frame is coded, from part to part."""

    def __init__(self) -> None:
        self.hit = _start(_HIT)
        self.second = _start(_SECOND)
        self.label = [HALF] * MOST_LABELS
        self.gap = [HALF] * (3 * _GAP_CONTEXTS)
        self.base = [HALF] * 8


@dataclass(frozen=True, slots=True)
class _Guess:
    """What the neighbours say of the pixels of one phase; all arrays are (rows, columns) of the phase."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    first: NDArray[np.int16]
    """The label that most near neighbours have."""
    second: NDArray[np.int16]
    """The next, or nowhere."""
    context: NDArray[np.int32]
    sure: NDArray[np.bool_]
    """All neighbours agree."""


def _guess(known: NDArray[np.int16], phase: int, shape: tuple[int, int]) -> _Guess:
    """`known` is the level's grid of (rows, columns) `shape`, padded, with what is not known yet unset."""
    row, column = _PHASES[phase]
    rows = np.arange(row, shape[0], 2) + _PAD
    columns = np.arange(column, shape[1], 2) + _PAD

    def at(offsets: Sequence[tuple[int, int]]) -> NDArray[np.int16]:
        return np.stack([known[np.ix_(rows + down, columns + right)] for down, right in offsets])

    near, far = at(_NEAR[phase]), at(_FAR[phase])
    there = near != _NOWHERE
    votes = np.zeros(near.shape, np.int8)
    for one in range(4):
        for other in range(4):
            votes[one] += (near[one] == near[other]) & there[other]
    votes[~there] = 0
    best = votes.argmax(axis=0)[None]
    first = np.take_along_axis(near, best, 0)[0]
    most = np.take_along_axis(votes, best, 0)[0]
    votes[near == first] = 0
    best = votes.argmax(axis=0)[None]
    next_most = np.take_along_axis(votes, best, 0)[0]
    second = np.where(next_most > 0, np.take_along_axis(near, best, 0)[0], np.int16(_NOWHERE))
    agreeing = (far == first).sum(axis=0)
    sure = (next_most == 0) & (most > 0) & (agreeing == (far != _NOWHERE).sum(axis=0))
    context = (phase * 5 + most.astype(np.int32)) * 5 + next_most
    context = context * 4 + np.asarray(_AGREEMENT, np.int32)[agreeing]
    return _Guess(rows, columns, first, second, context, sure)


def encode(frame: NDArray[Any], decompositions: int) -> tuple[bytes, ...] | None:
    """`decompositions + 1` parts, smallest level first; None if the frame is not worth it in this lane.

    Any type; not more than 256 distinct values (told apart by their bits, so that NaN is a value).
    """
    if frame.ndim != 2 or frame.dtype.kind not in "biuf":
        return None
    bits = frame.view(f"u{frame.dtype.itemsize}")
    table = _distinct(bits)
    if table is None:
        return None
    ranks = np.searchsorted(table, bits).astype(np.int16)
    step = 1 << decompositions
    base = ranks[::step, ::step]
    if base.size > _MOST_BASE_PIXELS:
        return None
    header = struct.pack("<H", len(table)) + table.astype(table.dtype.newbyteorder("<")).tobytes()
    if len(table) == 1:
        return (header, *[b""] * decompositions)
    contexts = _Contexts()
    parts = [header + _encode_base(base, contexts, len(table))]
    for level in range(decompositions - 1, -1, -1):
        part = _encode_level(ranks[:: 1 << level, :: 1 << level], contexts, len(table))
        if part is None:
            return None
        parts.append(part)
    return tuple(parts)


def _distinct(bits: NDArray[Any]) -> NDArray[Any] | None:
    """Sorted distinct values, if there are few; a few rows tell soon if there are many."""
    some = np.unique(bits[:: max(1, bits.shape[0] // 8)])
    if some.size > MOST_LABELS:
        return None
    found = np.unique(bits)
    return found if found.size <= MOST_LABELS else None


def _encode_base(base: NDArray[np.int16], contexts: _Contexts, labels: int) -> bytes:
    encoder = Encoder()
    rows, columns = base.shape
    above: list[int] = [0] * columns
    for row in range(rows):
        values = base[row].tolist()
        left = above[0]
        for column, value in enumerate(values):
            up = above[column]
            same = left == up
            encoder.bit(contexts.base, same, value != left)
            if value != left:
                if not same:
                    encoder.bit(contexts.base, 2, value != up)
                if same or value != up:
                    _encode_label(encoder, contexts, value, labels)
            left = value
        above = values
    return encoder.finish()


def _decode_base(part: bytes, shape: tuple[int, int], contexts: _Contexts, labels: int) -> NDArray[np.int16]:
    decoder = Decoder(part)
    rows, columns = shape
    base = np.empty(shape, np.int16)
    above: list[int] = [0] * columns
    for row in range(rows):
        values = []
        left = above[0]
        for column in range(columns):
            up = above[column]
            same = left == up
            value = left
            if decoder.bit(contexts.base, same):
                if not same and not decoder.bit(contexts.base, 2):
                    value = up
                else:
                    value = _decode_label(decoder, contexts, labels)
            values.append(value)
            left = value
        base[row] = values
        above = values
    return base


def _encode_label(encoder: Encoder, contexts: _Contexts, value: int, labels: int) -> None:
    node = 1
    for place in range((labels - 1).bit_length() - 1, -1, -1):
        bit = value >> place & 1
        encoder.bit(contexts.label, node, bit)
        node = node << 1 | bit


def _decode_label(decoder: Decoder, contexts: _Contexts, labels: int) -> int:
    node, count = 1, (labels - 1).bit_length()
    for _ in range(count):
        node = node << 1 | decoder.bit(contexts.label, node)
    value = node - (1 << count)
    if value >= labels:
        raise IntegrityError("a stored label is not in its frame's table")
    return value


def _encode_gap(encoder: Encoder, probabilities: list[int], phase: int, gap: int) -> None:
    """A number from 0: the length of `gap + 1` in unary, then its other bits."""
    length = (gap + 1).bit_length() - 1
    start = phase * _GAP_CONTEXTS
    for number in range(length):
        encoder.bit(probabilities, start + number, 1)
    encoder.bit(probabilities, start + length, 0)
    encoder.bits(gap + 1, length)


def _decode_gap(decoder: Decoder, probabilities: list[int], phase: int) -> int:
    start, length = phase * _GAP_CONTEXTS, 0
    while decoder.bit(probabilities, start + length):
        length += 1
        if length >= _GAP_CONTEXTS - 1:
            raise IntegrityError("a stored part of labels is damaged")
    return (1 << length | decoder.bits(length)) - 1


def _padded(shape: tuple[int, int], even: NDArray[np.int16]) -> NDArray[np.int16]:
    known = np.full((shape[0] + 2 * _PAD, shape[1] + 2 * _PAD), _NOWHERE, np.int16)
    known[_PAD : _PAD + shape[0] : 2, _PAD : _PAD + shape[1] : 2] = even
    return known


def _encode_level(grid: NDArray[np.int16], contexts: _Contexts, labels: int) -> bytes | None:
    """What a level adds to the next smaller one; empty if every pixel is as guessed."""
    shape = (grid.shape[0], grid.shape[1])
    known = _padded(shape, grid[::2, ::2])
    guesses: list[tuple[_Guess, NDArray[np.int16]]] = []
    for phase, (row, column) in enumerate(_PHASES):
        guess, values = _guess(known, phase, shape), grid[row::2, column::2]
        known[np.ix_(guess.rows, guess.columns)] = values
        guesses.append((guess, values))
    if all(np.array_equal(values, guess.first) for guess, values in guesses):
        return b""  # nothing is coded, and so nothing is learned
    encoder = Encoder()
    for phase, (guess, values) in enumerate(guesses):
        if not values.size:
            continue
        wrong = values != guess.first
        unsure = ~guess.sure
        if np.count_nonzero(unsure) > _MOST_UNSURE * values.size + 4096:
            return None
        places = np.flatnonzero(wrong[guess.sure])
        gaps = np.diff(np.append(places, np.count_nonzero(guess.sure)), prepend=-1) - 1
        found = values[guess.sure][places].tolist()
        for number, gap in enumerate(gaps.tolist()):
            _encode_gap(encoder, contexts.gap, phase, gap)
            if number < len(found):
                _encode_label(encoder, contexts, found[number], labels)
        bit, hit, second = encoder.bit, contexts.hit, contexts.second
        for context, value, first, other in zip(
            guess.context[unsure].tolist(),
            values[unsure].tolist(),
            guess.first[unsure].tolist(),
            guess.second[unsure].tolist(),
            strict=True,
        ):
            if value == first:
                bit(hit, context, 0)
                continue
            bit(hit, context, 1)
            if other != _NOWHERE:
                bit(second, context, value != other)
                if value == other:
                    continue
            _encode_label(encoder, contexts, value, labels)
    return encoder.finish()


def _decode_level(
    part: bytes, even: NDArray[np.int16], shape: tuple[int, int], contexts: _Contexts, labels: int
) -> NDArray[np.int16]:
    known = _padded(shape, even)
    decoder = Decoder(part)
    for phase in range(3):
        guess = _guess(known, phase, shape)
        if not guess.first.size:
            continue
        values = guess.first.copy()
        if part:
            count = int(np.count_nonzero(guess.sure))
            sure = values[guess.sure]
            place = _decode_gap(decoder, contexts.gap, phase)
            while place < count:
                sure[place] = _decode_label(decoder, contexts, labels)
                place += 1 + _decode_gap(decoder, contexts.gap, phase)
            values[guess.sure] = sure
            unsure = ~guess.sure
            bit, hit, second = decoder.bit, contexts.hit, contexts.second
            found = []
            for context, first, other in zip(
                guess.context[unsure].tolist(),
                guess.first[unsure].tolist(),
                guess.second[unsure].tolist(),
                strict=True,
            ):
                if not bit(hit, context):
                    found.append(first)
                elif other != _NOWHERE and not bit(second, context):
                    found.append(other)
                else:
                    found.append(_decode_label(decoder, contexts, labels))
            values[unsure] = found
        known[np.ix_(guess.rows, guess.columns)] = values
    return known[_PAD : _PAD + shape[0], _PAD : _PAD + shape[1]]


def decode(
    parts: Sequence[bytes], decompositions: int, frame_shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Decode parts 0 to n-1 to level `decompositions - n + 1`. Raises IntegrityError if they are damaged."""
    rows, columns = frame_shape
    bits = np.dtype(f"<u{dtype.itemsize}")
    if len(parts[0]) < 2:
        raise IntegrityError("a stored table of labels is cut off")
    (labels,) = struct.unpack_from("<H", parts[0])
    end = 2 + labels * bits.itemsize
    if not 1 <= labels <= MOST_LABELS or len(parts[0]) < end:
        raise IntegrityError("a stored table of labels is damaged")
    table = np.frombuffer(parts[0][2:end], bits).astype(bits.newbyteorder("="))
    level = decompositions - len(parts) + 1
    if labels == 1:
        return np.full(level_shape(rows, columns, level), table[0]).view(dtype)
    contexts = _Contexts()
    grid = _decode_base(parts[0][end:], level_shape(rows, columns, decompositions), contexts, labels)
    for number, part in enumerate(parts[1:], start=1):
        shape = level_shape(rows, columns, decompositions - number)
        grid = _decode_level(part, grid, shape, contexts, labels)
    return np.ascontiguousarray(table[grid]).view(dtype)
