"""Lines of one frame that look like text, over all its pictures and scales."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imarium.deid.pixels.boxes import Box
from imarium.deid.pixels.likeness import LOOK, look_of, weigh
from imarium.deid.pixels.strokes import Line, lines_in, lines_of
from imarium.deid.pixels.views import constant_masks, pictures
from imarium.model import Series
from imarium.model.series import Frame

LETTER = 30
"""Rows to which letters are scaled for reading."""
_MOST_SCALE = 4.0
_MOST_LINES = 80
"""Lines of one frame; of more, those that look most like text."""
_SIDE = 160
"""Rows or columns below which a picture is not made smaller."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A line in pixels of the frame, and a page that shows it to Tesseract."""

    box: Box
    height: float
    """Of its letters, in pixels of the frame."""
    letters: int
    """About how many."""
    strength: float
    """0 to 1: how much they differ from their ground."""
    numbers: dict[str, float]
    """What `likeness.look_of` says of it."""
    look: float
    """Their sum, weighted with `likeness.LOOK`."""
    page: NDArray[np.uint8]
    """Grey, dark on light, letters of about `LETTER` rows, with a light border."""


def candidates(frame: Frame, series: Series) -> list[Candidate]:
    """Lines of one frame of stored values, each place once or twice, the most text-like first."""
    found: list[_Found] = []
    for mask in constant_masks(frame):
        page = np.where(mask, 0, 255).astype(np.uint8)
        found += _at_scale(lines_of(mask, page, constant=True), 1, series)
    for picture in pictures(frame, series):
        scale, shown = 1, picture
        while True:
            found += _at_scale(lines_in(shown), scale, series)
            if scale >= 8 or min(shown.shape) < _SIDE:
                break
            # Strokes of large letters are thin again in a smaller picture.
            shown, scale = _halved(shown), scale * 2
    return [
        Candidate(
            one.box,
            one.line.height * one.scale,
            one.line.letters,
            one.line.strength,
            one.numbers,
            one.look,
            _page(one.line),
        )
        for one in _distinct(found)
    ]


@dataclass(frozen=True, slots=True)
class _Found:
    box: Box
    line: Line
    scale: int
    numbers: dict[str, float]
    look: float


def _halved(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Means of 2 x 2."""
    rows, columns = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
    quarters = picture[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2)
    return np.asarray(quarters.mean(axis=(1, 3), dtype=np.float32), dtype=np.uint8)


def _at_scale(lines: Iterable[Line], scale: int, series: Series) -> Iterator[_Found]:
    for line in lines:
        top, left, bottom, right = (
            scale * side for side in (line.box.top, line.box.left, line.box.bottom, line.box.right)
        )
        box = Box(top, left, min(bottom, series.rows), min(right, series.columns))
        numbers = look_of(line, scale)
        yield _Found(box, line, scale, numbers, weigh(numbers, LOOK))


def _distinct(found: list[_Found]) -> list[_Found]:
    """The best of those that cover the same place: two of each, since a mask that looks better may read
    worse."""
    if not found:
        return []
    found.sort(key=lambda one: -one.look)
    sides = np.asarray([(one.box.top, one.box.left, one.box.bottom, one.box.right) for one in found])
    areas = (sides[:, 2] - sides[:, 0]) * (sides[:, 3] - sides[:, 1])
    kept: list[int] = []
    for number in range(len(found)):
        others = sides[kept]
        rows = np.minimum(others[:, 2], sides[number, 2]) - np.maximum(others[:, 0], sides[number, 0])
        columns = np.minimum(others[:, 3], sides[number, 3]) - np.maximum(others[:, 1], sides[number, 1])
        shared = np.maximum(rows, 0) * np.maximum(columns, 0)
        if (shared > 0.6 * np.maximum(areas[kept], areas[number])).sum() < 2:
            kept.append(number)
            if len(kept) == _MOST_LINES:
                break
    return [found[number] for number in kept]


def _page(line: Line) -> NDArray[np.uint8]:
    rows, columns = line.page.shape
    around = line.box.grown(max(2, round(line.height * 0.4)), rows, columns)
    crop = line.page[around.top : around.bottom, around.left : around.right]
    factor = min(_MOST_SCALE, LETTER / line.height)
    size = (max(1, round(crop.shape[1] * factor)), max(1, round(crop.shape[0] * factor)))
    scaled = np.asarray(Image.fromarray(crop).resize(size, Image.Resampling.BICUBIC))
    return np.pad(scaled, 12, constant_values=255)
