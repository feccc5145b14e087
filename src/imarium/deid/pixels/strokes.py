"""Lines of marks that look like letters: thin strokes on calmer ground, of like height, side by side.

No recognition happens here. Strokes are what a morphological opening takes away (a top-hat); their connected
components are kept if they have the size of letters, and joined to lines where they stand in a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imarium.deid.pixels.boxes import Box

THICKEST = 8
"""Pixels across the thickest stroke that is found at one scale."""
THRESHOLDS = (32, 60, 100, 160)
"""Of 255: how much a stroke differs from its ground."""
LEAST_HEIGHT = 4
MOST_HEIGHT = 64
"""Rows of a letter at one scale."""
LEAST_STRENGTH = 0.15
"""Of a line: speckle and noise have less."""
_NOISE_TIMES = 3.5
"""Strokes differ from their ground by so many standard deviations of the noise."""
_MOST_PARTS = 2500
"""Letters-to-be of one mask; of more, the strongest."""


@dataclass(frozen=True, slots=True)
class Line:
    """Marks in a row, at one scale."""

    box: Box
    letters: int
    """About how many letters it has."""
    parts: int
    """Connected pieces."""
    height: float
    """Of its letters, in pixels."""
    evenness: float
    """0 to 1: how alike its letters are in height and weight."""
    straightness: float
    """0 to 1: share of the letters that end on one line below."""
    strength: float
    """0 to 1: how much the strokes differ from their ground."""
    page: NDArray[np.uint8]
    """The picture whose dark marks on light are the strokes; of the whole frame, shared by its lines."""
    constant: bool = False
    """Whether all strokes are of one stored value."""


def lines_in(picture: NDArray[np.uint8]) -> Iterator[Line]:
    """Lines of light strokes on dark, and of dark strokes on light, in a grey picture (rows, columns)."""
    from scipy import ndimage  # noqa: PLC0415 - takes long to load, and every command would wait for it

    size = THICKEST + 1
    thresholds = [threshold for threshold in THRESHOLDS if threshold >= _NOISE_TIMES * _noise(picture)]
    if not thresholds:
        return
    for light in (True, False):
        if light:
            ground = ndimage.maximum_filter(ndimage.minimum_filter(picture, size, mode="nearest"), size)
            strokes = picture - np.minimum(ground, picture)
        else:
            ground = ndimage.minimum_filter(ndimage.maximum_filter(picture, size, mode="nearest"), size)
            strokes = np.maximum(ground, picture) - picture
        if not (strokes >= thresholds[0]).any():
            continue
        # Half a stroke's own difference is enough to be black on the page, so that thin letters stay whole.
        page = 255 - np.minimum(strokes, 127) * 2
        for threshold in thresholds:
            mask = strokes >= threshold
            if mask.any():
                yield from lines_of(mask, page, strokes)


def _noise(picture: NDArray[np.uint8]) -> float:
    """Standard deviation of what differs from pixel to pixel, over most of the picture."""
    if picture.shape[1] < 2:
        return 0.0
    steps = np.abs(np.diff(picture[::2].astype(np.int16), axis=1))
    return float(np.median(steps)) / 0.954


def lines_of(
    mask: NDArray[np.bool_],
    page: NDArray[np.uint8],
    strokes: NDArray[np.uint8] | None = None,
    *,
    constant: bool = False,
) -> Iterator[Line]:
    """Lines among the connected components of a mask (rows, columns)."""
    from scipy import ndimage  # noqa: PLC0415 - see `lines_in`

    labels, count = ndimage.label(mask, structure=np.ones((3, 3), np.int8))
    if count == 0:
        return
    places = np.asarray(
        [(down.start, across.start, down.stop, across.stop) for down, across in ndimage.find_objects(labels)]
    )
    areas = np.bincount(labels.reshape(-1), minlength=count + 1)[1:]
    strength = np.full(count, 255.0)
    if strokes is not None:
        strength = np.bincount(labels.reshape(-1), strokes.reshape(-1), count + 1)[1:] / areas
    height, width = places[:, 2] - places[:, 0], places[:, 3] - places[:, 1]
    fill = areas / (height * width)
    letter = (height >= LEAST_HEIGHT) & (height <= MOST_HEIGHT) & (width <= 15 * height) & (areas >= 5)
    # Solid pieces are no letters, but I, l and 1 are solid; long thin ones are rules.
    letter &= (fill < 0.85) | ((width <= 0.6 * height) & (height <= 8 * width))
    letter &= (fill > 0.08) & (height <= 12 * width)
    kept = np.flatnonzero(letter)
    if len(kept) > _MOST_PARTS:
        kept = kept[np.argsort(-strength[kept], kind="stable")[:_MOST_PARTS]]
    if len(kept) < 2:
        return
    parts = _Parts(places[kept], areas[kept], strength[kept])
    for group in _grouped(parts, np.arange(len(kept)), strict=False):
        yield from _lines(parts, group, page, constant=constant)


@dataclass(frozen=True, slots=True)
class _Parts:
    places: NDArray[np.int64]
    """(parts, 4): top, left, bottom, right."""
    areas: NDArray[np.int64]
    strength: NDArray[np.float64]


def _grouped(parts: _Parts, chosen: NDArray[np.intp], *, strict: bool) -> Iterator[NDArray[np.intp]]:
    """Sets of parts that stand in rows."""
    from scipy.sparse import coo_matrix  # noqa: PLC0415 - see `lines_in`
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    top, left, bottom, right = parts.places[chosen].T
    height = (bottom - top).astype(np.float64)
    smaller, larger = np.minimum.outer(height, height), np.maximum.outer(height, height)
    gap = np.maximum.outer(left, left) - np.minimum.outer(right, right)
    overlap = np.minimum.outer(bottom, bottom) - np.maximum.outer(top, top)
    beside = (gap <= (1.0 if strict else 1.6) * larger) & (overlap >= (0.75 if strict else 0.5) * smaller)
    beside &= smaller >= (0.55 if strict else 0.4) * larger
    strength = parts.strength[chosen]
    beside &= np.minimum.outer(strength, strength) >= 0.5 * np.maximum.outer(strength, strength)
    np.fill_diagonal(beside, False)
    rows, columns = np.nonzero(beside)
    graph = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(len(chosen), len(chosen)))
    count, names = connected_components(graph, directed=False)
    if count == len(chosen):
        return
    order = np.argsort(names, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(names[order])) + 1):
        if len(group) >= 2:
            yield chosen[group]


def _lines(
    parts: _Parts, group: NDArray[np.intp], page: NDArray[np.uint8], *, constant: bool, strict: bool = False
) -> Iterator[Line]:
    places = parts.places[group]
    heights = places[:, 2] - places[:, 0]
    usual = float(np.median(heights))
    top, left = places[:, :2].min(axis=0)
    bottom, right = places[:, 2:].max(axis=0)
    if bottom - top > 2.2 * max(usual, 0.7 * float(heights.max())):
        if not strict:
            for smaller in _grouped(parts, group, strict=True):
                yield from _lines(parts, smaller, page, constant=constant, strict=True)
        return
    widths = places[:, 3] - places[:, 1]
    letters = round(float(np.maximum(1, widths / (0.75 * usual)).sum()))
    if letters < 2:
        return
    if len(np.unique(np.stack([heights, widths, parts.areas[group]]), axis=1).T) == 1:
        return  # ticks of a ruler: all the same
    strength = float(parts.strength[group].mean()) / 255
    if strength < LEAST_STRENGTH:
        return
    weights = parts.areas[group] / heights
    evenness = 1.0 / (1.0 + 2.0 * _spread(heights) + 0.7 * _spread(weights))
    yield Line(
        Box(int(top), int(left), int(bottom), int(right)),
        letters,
        len(group),
        float(np.percentile(heights, 75)),
        evenness,
        float((np.abs(places[:, 2] - np.median(places[:, 2])) <= max(1.0, 0.12 * usual)).mean()),
        strength,
        page,
        constant,
    )


def _spread(values: NDArray[np.number]) -> float:
    """Standard deviation as a share of the mean."""
    return float(np.std(values) / max(float(np.mean(values)), 1e-9))
