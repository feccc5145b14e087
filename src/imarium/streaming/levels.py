"""Levels, sizes and windows as people ask for them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from imarium.errors import InvalidRequestError
from imarium.model import Series


@dataclass(frozen=True, slots=True)
class LevelDetail:
    """What a level is and where it lies in the pack."""

    level: int
    series: Series
    """Facts at this level."""
    spans: list[tuple[int, int]]
    """Ranges of the pack, ascending: one a block of frames."""
    bytes: int


def parse_window(text: str) -> tuple[float, float]:
    """(center, width) of "40,400" in rescaled values; raises InvalidRequestError."""
    try:
        center, width = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InvalidRequestError("a window is CENTER,WIDTH like 40,400") from error
    if not (math.isfinite(center) and math.isfinite(width) and width > 0):
        raise InvalidRequestError("a window needs a finite centre and a width above 0")
    return center, width
