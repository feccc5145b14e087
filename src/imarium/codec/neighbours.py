"""What the neighbours of pixels say of their labels, for the labels lane.

A level is made of the next smaller one, which holds its even rows and columns, in three phases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ranks = NDArray[np.uint16]
"""Labels as places in a table."""
NOWHERE = 0xFFFF
"""No label: not known yet, or outside the level."""

PHASES = ((1, 1), (0, 1), (1, 0))
"""Odd or even (row, column) of the pixels that a level adds, in the order in which they are coded."""
NEAR_VOTES, AGREEMENTS = 5, 4
"""How many near neighbours may have a label (0 to 4), and classes of far ones that have it."""

_PAD = 3
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
_ALWAYS = ((-1, -1), (0, -1), (-1, 0))
"""For each phase: the near neighbour that no pixel lacks."""
_AGREEMENT = np.array((0, 0, 1, 1, 1, 2, 2, 3, 3), np.intp)
"""The class for 0 to 8 far neighbours that have the first guess."""

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
far neighbours, in label maps of organs and tissues."""


def _by_context(shares: Mapping[tuple[int, int], tuple[float, ...]]) -> tuple[float, ...]:
    both = [(most, following) for most in range(NEAR_VOTES) for following in range(NEAR_VOTES)]
    unknown = (0.5,) * AGREEMENTS
    return tuple(share for votes in both for share in shares.get(votes, unknown)) * len(PHASES)


FIRST_RIGHT, SECOND_RIGHT = _by_context(_HIT), _by_context(_SECOND)
"""These shares by `Guess.context`."""


@dataclass(frozen=True, slots=True)
class Guess:
    """What the neighbours say of the pixels of one phase, whose grid is (rows, columns)."""

    first: Ranks
    """(rows, columns): the label that most near neighbours have."""
    sure: NDArray[np.intp]
    """(pixels,): places in that grid, in C order, of which all neighbours agree."""
    unsure: NDArray[np.intp]
    """(others,): the other places. The rest is of these."""
    second: Ranks
    """The label that has the next most votes, or NOWHERE."""
    third: Ranks
    """The first one that any neighbour has beside these two, or NOWHERE."""
    context: NDArray[np.intp]
    """((phase * 5 + votes for the first) * 5 + votes for the second) * 4 + agreement of the far ones."""


def padded(shape: tuple[int, int], even: Ranks) -> Ranks:
    """The grid of a level, with a border: what the next smaller one holds of it, and else NOWHERE."""
    known = np.full((shape[0] + 2 * _PAD, shape[1] + 2 * _PAD), NOWHERE, np.uint16)
    known[_PAD : _PAD + shape[0] : 2, _PAD : _PAD + shape[1] : 2] = even
    return known


def inside(known: Ranks) -> Ranks:
    """A view without the border."""
    return known[_PAD:-_PAD, _PAD:-_PAD]


def beside(known: Ranks, phase: int, offset: tuple[int, int] = (0, 0)) -> Ranks:
    """A view of what lies at an offset of (rows, columns) from each pixel of a phase."""
    places = []
    for length, odd, move in zip(known.shape, PHASES[phase], offset, strict=True):
        places.append(slice(_PAD + odd + move, length - _PAD + move, 2))
    return known[tuple(places)]


def guess(known: Ranks, phase: int) -> Guess:
    """What is known of a level, in a padded grid, says this of the pixels of a phase."""
    first = beside(known, phase, _ALWAYS[phase]).copy()
    agreed = np.ones(first.shape, np.bool_)
    for offset in (*_NEAR[phase], *_FAR[phase]):
        labels = beside(known, phase, offset)
        agreed &= (labels == first) | (labels == NOWHERE)
    unsure = np.flatnonzero(~agreed)
    rows, columns = np.divmod(unsure, max(1, first.shape[1]))
    (odd_row, odd_column), stride = PHASES[phase], known.shape[1]
    places = (2 * rows + odd_row + _PAD) * stride + 2 * columns + odd_column + _PAD

    def gather(offsets: Sequence[tuple[int, int]]) -> Ranks:
        moves = np.array([[down * stride + right] for down, right in offsets])
        gathered: Ranks = known.reshape(-1)[places + moves]
        return gathered

    near, far = gather(_NEAR[phase]), gather(_FAR[phase])
    votes = (near[:, None] == near[None]).sum(axis=0, dtype=np.int8)
    votes[near == NOWHERE] = 0
    best, most = _winner(near, votes)
    votes[near == best] = 0
    second, next_most = _winner(near, votes)
    everyone = np.concatenate([near, far])
    third, _ = _winner(everyone, (everyone != best) & (everyone != second) & (everyone != NOWHERE))
    first.reshape(-1)[unsure] = best
    agreement = _AGREEMENT[(far == best).sum(axis=0)]
    context = ((phase * NEAR_VOTES + most) * NEAR_VOTES + next_most) * AGREEMENTS + agreement
    return Guess(first, np.flatnonzero(agreed), unsure, second, third, context)


def _winner(labels: Ranks, votes: NDArray[np.int8] | NDArray[np.bool_]) -> tuple[Ranks, NDArray[np.intp]]:
    """Of each column the label with most votes, the first of several; NOWHERE if there is none; its votes."""
    best = votes.argmax(axis=0)[None]
    most = np.take_along_axis(votes, best, 0)[0].astype(np.intp)
    winner = np.take_along_axis(labels, best, 0)[0]
    return np.where(most > 0, winner, np.uint16(NOWHERE)), most
