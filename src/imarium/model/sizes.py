"""Sizes and spacings as people ask for them."""

from __future__ import annotations

import re

from imarium.errors import InvalidRequestError, LevelError
from imarium.model.series import Series

_MOST_SIDE = 999_999
_LEAST_MM, _MOST_MM = 1e-6, 1e6


def parse_size(size: str, series: Series, *, upsample: bool = False) -> tuple[int, int]:
    """(rows, columns) of "224" (the shorter side) or "192x256".

    Raises InvalidRequestError, and LevelError for more than the full resolution unless `upsample`.
    """
    match = re.fullmatch(r"([1-9]\d{0,5})(?:x([1-9]\d{0,5}))?", size)
    if match is None:
        raise InvalidRequestError("a size is a number of pixels like 224, or ROWSxCOLUMNS like 192x256")
    if match[2]:
        return int(match[1]), int(match[2])
    shorter = min(series.rows, series.columns)
    side = int(match[1])
    if side > shorter and not upsample:
        raise LevelError(
            f"{side} is larger than the full resolution, {series.rows}x{series.columns}; "
            f"ask for at most {shorter}"
        )
    rows = side if series.rows == shorter else round(series.rows * side / shorter)
    columns = side if series.columns == shorter else round(series.columns * side / shorter)
    return min(rows, _MOST_SIDE), min(columns, _MOST_SIDE)


def grid_of_spacing(
    spacing: float | tuple[float | None, float | None, float | None],
    series: Series,
    *,
    upsample: bool = False,
) -> tuple[int, int, int]:
    """(slices, rows, columns) whose voxels are nearest to a spacing in mm over the same extent.

    `spacing` is (slice, row, column), None for what stays as it is, or one number for all three. A series of
    one slice keeps it. Raises InvalidRequestError where the series does not say how large its voxels are, and
    LevelError for finer than the full resolution unless `upsample`.
    """
    asked = tuple(spacing) if isinstance(spacing, tuple | list) else (spacing,) * 3
    if len(asked) != 3 or not all(_is_length(value) for value in asked):
        raise InvalidRequestError("a spacing is (slice, row, column) in mm, or one number for all three")
    if series.spacing is None:
        raise InvalidRequestError(
            "the series does not say how large its pixels are; ask for a level or a size"
        )
    counts = (series.dimensions[-1], series.rows, series.columns)
    found = []
    for axis, count, stored, wanted in zip(
        ("slices", "rows", "columns"), counts, series.spacing, asked, strict=True
    ):
        if wanted is None or (axis == "slices" and count == 1):
            found.append(count)
            continue
        if wanted < stored * (1 - 1e-6) and not upsample:
            raise LevelError(
                f"{axis} are {stored:.6g} mm apart at full resolution, and {wanted:.6g} mm were asked for; "
                "ask for at least that, for None to keep them, or with upsample=True"
            )
        found.append(min(_MOST_SIDE, max(1, round(count * stored / wanted))))
    return found[0], found[1], found[2]


def _is_length(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and _LEAST_MM < value < _MOST_MM)
