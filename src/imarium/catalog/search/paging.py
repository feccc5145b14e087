"""The order of what was found, and pages that stay what they are while series arrive.

A page begins after the last series of the one before it, by its place in the order and not by a count. The
cursor holds that place, the greatest number of a series that was found at first (later ones
do not come in between), and a digest of what was asked, so that it fits no other query.
"""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from blake3 import blake3

from imarium.catalog.search.columns import Array, Snapshot
from imarium.errors import InvalidRequestError

_VERSION = 1


class Order(StrEnum):
    """How found series are sorted; among equals those that came last are first."""

    NEWEST = "newest"
    """Those that came last first."""
    OLDEST = "oldest"
    """Those that came first first."""
    DATE = "date"
    """Latest study first."""
    AGE = "age"
    """Oldest subjects first."""
    SIZE = "size"
    """Most stored bytes first."""
    RELEVANCE = "relevance"
    """Words in descriptions first, then in labels and codes, then elsewhere."""


COLUMNS = {Order.DATE: ("date",), Order.AGE: ("age",), Order.SIZE: ("bytes",)}
"""What an order needs in memory."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place after which a page begins."""

    score: float
    number: int
    top: int
    """The greatest number of a series that belongs to the pages."""

    def to_text(self, asked: str) -> str:
        """An opaque text; `asked` is what the pages are of."""
        values = [_VERSION, self.score, self.number, self.top, _digest(asked)]
        return (
            base64.urlsafe_b64encode(json.dumps(values, separators=(",", ":")).encode()).decode().rstrip("=")
        )

    @classmethod
    def from_text(cls, text: str, asked: str) -> Cursor:
        """Raises InvalidRequestError for what is no cursor of these pages."""
        try:
            if len(text) > 300 or not text.isascii():
                raise ValueError
            values = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            version, score, number, top, digest = values
            if version != _VERSION or digest != _digest(asked):
                raise ValueError
            if not all(type(value) is int and 0 <= value < 1 << 31 for value in (number, top)):
                raise ValueError
            if type(score) not in (int, float) or math.isnan(score):
                raise ValueError
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidRequestError(
                "the cursor is not one of this query, as it was asked the first time"
            ) from error
        return cls(float(score), number, top)


def _digest(asked: str) -> str:
    return blake3(asked.encode("utf-8", "surrogatepass")).hexdigest(length=8)


def scores(snapshot: Snapshot, order: Order, found: Array, tiers: Array | None) -> Array:
    """What found series are sorted by, greatest first."""
    match order:
        case Order.NEWEST:
            return np.zeros(len(found))
        case Order.OLDEST:
            return -found.astype(np.float64)
        case Order.RELEVANCE:
            assert tiers is not None
            return tiers[found].astype(np.float64)
        case _:
            (name,) = COLUMNS[order]
            values = snapshot.columns[name][found].astype(np.float64)
            return np.where(np.isnan(values), -1.0, values)


def page(found: Array, score: Array, limit: int, after: Cursor | None) -> tuple[Array, Array]:
    """Numbers and scores of the next series. `found` is ascending."""
    if after is not None:
        rest = (found <= after.top) & (
            (score < after.score) | ((score == after.score) & (found < after.number))
        )
        found, score = found[rest], score[rest]
    if len(found) > 4 * limit:
        # Without sorting all: what is beyond the limit-th score, and of its equals the latest.
        bound = np.partition(score, len(score) - limit)[len(score) - limit]
        best, equal = found[score > bound], found[score == bound]
        chosen = np.concatenate([best, equal[len(equal) - (limit - len(best)) :]])
        kept = np.searchsorted(found, chosen)
        found, score = found[kept], score[kept]
    order = np.lexsort((-found, -score))[:limit]
    return found[order], score[order]
