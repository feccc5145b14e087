"""Levels, sizes and windows as people ask for them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from imarium.errors import InvalidRequestError, LevelError
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


def parse_size(size: str, series: Series) -> tuple[int, int]:
    """(rows, columns) of "224" (the shorter side) or "192x256"; raises InvalidRequestError or LevelError."""
    match = re.fullmatch(r"([1-9]\d{0,5})(?:x([1-9]\d{0,5}))?", size)
    if match is None:
        raise InvalidRequestError("a size is a number of pixels like 224, or ROWSxCOLUMNS like 192x256")
    if match[2]:
        return int(match[1]), int(match[2])
    shorter = min(series.rows, series.columns)
    side = int(match[1])
    if side > shorter:
        raise LevelError(
            f"{side} is larger than the full resolution, {series.rows}x{series.columns}; "
            f"ask for at most {shorter}"
        )
    rows = side if series.rows == shorter else round(series.rows * side / shorter)
    columns = side if series.columns == shorter else round(series.columns * side / shorter)
    return rows, columns


def parse_window(text: str) -> tuple[float, float]:
    """(center, width) of "40,400" in rescaled values; raises InvalidRequestError."""
    try:
        center, width = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InvalidRequestError("a window is CENTER,WIDTH like 40,400") from error
    if not (math.isfinite(center) and math.isfinite(width) and width > 0):
        raise InvalidRequestError("a window needs a finite centre and a width above 0")
    return center, width
