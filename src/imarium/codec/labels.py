"""The labels lane: exact for label maps and masks, levels by leaving out rows and columns.

Level k is every 2^k-th row and column, as in the polyphase lane: no value is ever mixed with another. What a
level adds is predicted from what is known on all sides, since smaller levels are known everywhere: almost
every pixel has the label that its neighbours agree on, and only the others cost anything.

Encoder and decoder take the same steps: a coder is given each decision and returns it, and a decoder does not
look at what it is given. docs/design/pack-format.md defines the lane to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imarium.codec import labels_v0, neighbours
from imarium.codec.neighbours import NOWHERE, PHASES, Ranks
from imarium.codec.rangecoder import HALF, Coder, Decoder, Encoder, start
from imarium.errors import IntegrityError
from imarium.model import level_shape

TOGETHER, APART = b"\1\0", b"\1\1"
"""How `params` begin: the version of the lane, and whether each sample of a pixel is coded on its own."""

_MOST_LABELS = NOWHERE
_MOST_BASE_PIXELS = 1 << 14
_MOST_UNSURE = 0.5, 1 << 14
"""Share and number of pixels whose neighbours disagree beyond which this is no label map worth the time."""
_MOST_BYTES = 8
"""Of a value in the table."""
_NOTHING = b"\0"
"""In place of an empty first part: every frame has a byte, so that there is something to ask for."""
_LONGEST_GAP = 32
"""In bits."""

# Probabilities to start from, in label maps of organs and tissues; each frame learns its own.
_THIRD = 0.85
"""How often the third guess is right if the others are not."""
_LEFT = (0.59, 0.46, 0.42, 0.41, 0.65, 0.92, 0.81, 0.993)
"""In the smallest level: how often a pixel is like the one before it, by which neighbours are alike."""
_UP = 0.6
"""And how often else like the one above it."""
_SURPRISE = (0.97, 0.5)
"""How often no pixel is a surprise where all neighbours agree, and how often one that was is the last."""
_NO_BYTE = 0.75
"""How often a value in the table needs no further byte."""


class _Plane:
    """What encoder and decoder know of one picture of labels: all of a frame, or a sample of its pixels.

    The probabilities are learned from part to part.
    """

    def __init__(self) -> None:
        self.labels = 1
        self.grid: Ranks = np.zeros((0, 0), np.uint16)
        """The level that was coded last."""
        self.unsure = 0
        """How many pixels had neighbours that disagree."""
        self._size = start(_NO_BYTE) * (_MOST_BYTES + 1)
        self._more = [HALF] * 2
        self._label: list[int] = []
        self._left = start(*_LEFT)
        self._up = start(_UP) * 4
        self._hit = start(*neighbours.FIRST_RIGHT)
        self._second = start(*neighbours.SECOND_RIGHT)
        self._third = start(_THIRD) * len(PHASES)
        self._surprise = start(*_SURPRISE) * len(PHASES)
        self._gap = [HALF] * (len(PHASES) * _LONGEST_GAP)

    def code_table(self, coder: Coder, size: int, table: Sequence[int] = ()) -> list[int]:
        """The values, of `size` bytes, ascending: by how much each is larger than it must be."""
        found: list[int] = []
        least, more = 0, 1
        while more:
            over = table[len(found)] - least if table else 0
            count = 0
            while coder.bit(self._size, count, over >> 8 * count > 0):
                count += 1
                if count > size:
                    raise IntegrityError("a stored table of labels is damaged")
            value = least + coder.bits(8 * count, over)
            if len(found) == _MOST_LABELS or value >> 8 * size:
                raise IntegrityError("a stored table of labels is damaged")
            found.append(value)
            least = value + 1
            more = coder.bit(self._more, len(found) > 1, len(found) < len(table))
        self.labels = len(found)
        self._label = [HALF] * (1 << (self.labels - 1).bit_length())
        return found

    def code_base(self, coder: Coder, shape: tuple[int, int], wanted: Ranks | None = None) -> None:
        """The smallest level, in rows."""
        self.grid = np.zeros(shape, np.uint16)
        if self.labels == 1:
            return
        bit, columns = coder.bit, shape[1]
        above = [0] * (columns + 1)
        for row in range(shape[0]):
            values: list[int] = []
            left = corner = above[0]
            for column, value in enumerate(above[:columns] if wanted is None else wanted[row].tolist()):
                up, right = above[column], above[column + 1]
                context = (up == left) << 2 | (corner == left) << 1 | (right == up)
                if not bit(self._left, context, value != left):
                    found = left
                elif up != left and not bit(self._up, context, value != up):
                    found = up
                else:
                    found = self._code_label(coder, value)
                values.append(found)
                left, corner = found, up
            self.grid[row] = values
            above = [*values, values[-1]]

    def code_level(
        self, coder: Coder, shape: tuple[int, int], wanted: Ranks | None = None, most_unsure: float = np.inf
    ) -> None:
        """What a level of (rows, columns) `shape` adds to the next smaller one.

        Goes no further where more than `most_unsure` pixels have neighbours that disagree.
        """
        if self.labels == 1:
            self.grid = np.zeros(shape, np.uint16)
            return
        known = neighbours.padded(shape, self.grid)
        for phase, (row, column) in enumerate(PHASES):
            guess = neighbours.guess(known, phase)
            self.unsure += guess.unsure.size
            if self.unsure > most_unsure:
                return
            values = guess.first.reshape(-1)
            truth = values.copy() if wanted is None else wanted[row::2, column::2].reshape(-1)
            self._code_surprises(coder, phase, values, truth, guess.sure)
            self._code_others(coder, phase, values, truth, guess)
            neighbours.beside(known, phase)[...] = guess.first
        self.grid = neighbours.inside(known)

    def _code_surprises(
        self, coder: Coder, phase: int, values: Ranks, truth: Ranks, sure: NDArray[np.intp]
    ) -> None:
        """Where all neighbours agree and are wrong: put into `values`."""
        places = np.flatnonzero(values[sure] != truth[sure]).tolist()
        place = number = 0
        while place < sure.size and coder.bit(self._surprise, 2 * phase + (number > 0), number < len(places)):
            place += self._code_gap(coder, phase, places[number] - place if places else 0)
            if place >= sure.size:
                raise IntegrityError("a stored part of labels is damaged")
            values[sure[place]] = self._code_label(coder, int(truth[sure[place]]))
            place, number = place + 1, number + 1

    def _code_others(
        self, coder: Coder, phase: int, values: Ranks, truth: Ranks, guess: neighbours.Guess
    ) -> None:
        """Where neighbours disagree: put into `values`."""
        bit, found = coder.bit, []
        for context, value, first, second, third in zip(
            guess.context.tolist(),
            truth[guess.unsure].tolist(),
            values[guess.unsure].tolist(),
            guess.second.tolist(),
            guess.third.tolist(),
            strict=True,
        ):
            if not bit(self._hit, context, value != first):
                found.append(first)
            elif second != NOWHERE and not bit(self._second, context, value != second):
                found.append(second)
            elif third != NOWHERE and not bit(self._third, phase, value != third):
                found.append(third)
            else:
                found.append(self._code_label(coder, value))
        values[guess.unsure] = found

    def _code_label(self, coder: Coder, label: int) -> int:
        node, count = 1, (self.labels - 1).bit_length()
        for place in range(count - 1, -1, -1):
            node = node << 1 | coder.bit(self._label, node, label >> place & 1)
        found = node - (1 << count)
        if found >= self.labels:
            raise IntegrityError("a stored label is not in its frame's table")
        return found

    def _code_gap(self, coder: Coder, phase: int, gap: int) -> int:
        """A number from 0: the length of `gap + 1` in unary, then its other bits."""
        context, length = phase * _LONGEST_GAP, 0
        while coder.bit(self._gap, context + length, (gap + 1) >> (length + 1) > 0):
            length += 1
            if length == _LONGEST_GAP:
                raise IntegrityError("a stored part of labels is damaged")
        return (1 << length | coder.bits(length, gap + 1)) - 1


def encode(frame: NDArray[Any], decompositions: int) -> tuple[bytes, tuple[bytes, ...]] | None:
    """The beginning of `params`, and `decompositions + 1` parts, smallest level first.

    Any numbers, told apart by their bits, so that NaN is a value. None if the frame is not worth it in this
    lane, for one because it has more than 65,535 distinct values. Pixels of several samples are one value or
    as many, whichever takes fewer bytes.
    """
    found = []
    if (together := as_one(frame)) is not None:
        found.append((TOGETHER, _encode([together], decompositions)))
    if frame.ndim > 2:
        apart = [as_one(np.ascontiguousarray(frame[..., sample])) for sample in range(frame.shape[2])]
        found.append((APART, _encode([bits for bits in apart if bits is not None], decompositions)))
    worth = [(sum(map(len, parts)), begin, parts) for begin, parts in found if parts is not None]
    return min(worth)[1:] if worth else None


def is_apart(params: bytes) -> bool:
    """Whether each sample is coded on its own: what seems a picture of labels may be none."""
    return params.startswith(APART)


def as_one(frame: NDArray[Any]) -> NDArray[Any] | None:
    """(rows, columns) of the bits of each pixel as an unsigned integer, those of its first sample lowest.

    None if they are more than 64, or of complex numbers.
    """
    if frame.dtype.kind not in "biuf":
        return None
    if frame.ndim == 2:
        return frame.view(f"u{frame.dtype.itemsize}")
    size = frame.shape[2] * frame.dtype.itemsize
    if size > _MOST_BYTES:
        return None
    little = np.ascontiguousarray(frame, frame.dtype.newbyteorder("<"))
    wide = np.zeros((*frame.shape[:2], _MOST_BYTES), np.uint8)
    wide[..., :size] = little.view(np.uint8).reshape(*frame.shape[:2], size)
    return wide.view("<u8")[..., 0]


def _encode(pictures: Sequence[NDArray[Any]], decompositions: int) -> tuple[bytes, ...] | None:
    step = 1 << decompositions
    rows, columns = (-(-length // step) for length in pictures[0].shape) if pictures else (0, 0)
    if not 0 < rows * columns * len(pictures) <= _MOST_BASE_PIXELS:
        return None
    tables = [_distinct(bits) for bits in pictures]
    coder, planes, ranks = Encoder(), [], []
    for bits, table in zip(pictures, tables, strict=True):
        if table is None:
            return None
        plane = _Plane()
        plane.code_table(coder, bits.dtype.itemsize, table.tolist())
        ranks.append(np.searchsorted(table, bits).astype(np.uint16))
        plane.code_base(coder, (rows, columns), ranks[-1][::step, ::step])
        planes.append(plane)
    parts = [coder.finish() or _NOTHING]
    share, number = _MOST_UNSURE
    for level in range(decompositions - 1, -1, -1):
        coder = Encoder()
        for plane, picture in zip(planes, ranks, strict=True):
            wanted = picture[:: 1 << level, :: 1 << level]
            most = share * picture.size + number
            plane.code_level(coder, (wanted.shape[0], wanted.shape[1]), wanted, most)
            if plane.unsure > most:
                return None
        parts.append(coder.finish())
    return tuple(parts)


def _distinct(bits: NDArray[Any]) -> NDArray[Any] | None:
    """Sorted distinct values, if there are few; a few rows tell soon if there are many."""
    some = np.unique(bits[:: max(1, bits.shape[0] // 8)])
    if some.size > _MOST_LABELS:
        return None
    found = np.unique(bits)
    return found if found.size <= _MOST_LABELS else None


def decode(
    params: bytes,
    parts: Sequence[bytes],
    decompositions: int,
    frame_shape: tuple[int, ...],
    dtype: np.dtype[Any],
) -> NDArray[Any]:
    """Decode parts 0 to n-1 to level `decompositions - n + 1`.

    `frame_shape` is (rows, columns) or (rows, columns, samples) at full resolution. Raises IntegrityError if
    the parts are damaged.
    """
    if params[0] == 0:
        return labels_v0.decode(parts, decompositions, frame_shape, dtype)
    if params[:2] not in (TOGETHER, APART):
        raise IntegrityError(
            "labels of this kind are unknown to this version of Imarium; upgrade to read them"
        )
    samples = frame_shape[2:]
    count = int(np.prod(samples)) if is_apart(params) else 1
    if count > 1:
        samples = ()
    size = dtype.itemsize * int(np.prod(samples))
    if size > _MOST_BYTES or not parts[0]:
        raise IntegrityError("a stored table of labels is damaged")
    coder = Decoder(parts[0])
    shapes = [
        level_shape(frame_shape[0], frame_shape[1], decompositions - part) for part in range(len(parts))
    ]
    planes, tables = [_Plane() for _ in range(count)], []
    for plane in planes:
        values = plane.code_table(coder, size)
        content = b"".join(value.to_bytes(size, "little") for value in values)
        table = np.frombuffer(content, dtype.newbyteorder("<")).astype(dtype)
        tables.append(table.reshape(len(values), *samples))
        plane.code_base(coder, shapes[0])
    for part, shape in zip(parts[1:], shapes[1:], strict=True):
        coder = Decoder(part)
        for plane in planes:
            plane.code_level(coder, shape)
    found = [table[plane.grid] for table, plane in zip(tables, planes, strict=True)]
    return found[0] if count == 1 else np.stack(found, axis=-1)
