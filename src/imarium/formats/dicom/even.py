"""A volume of tilted or unevenly spaced slices, resampled onto an even grid with right angles.

Every slice is laid where its header says that it is (linear interpolation in its plane, where it is moved by
parts of a pixel), and new slices are interpolated linearly between the two that they lie between. Label maps
take the nearest value. The grid keeps the pixel spacing, reaches from the first slice to the last, and is as
wide as all slices together; slices are as far apart as the median of the source's. What no slice covers gets
Pixel Padding Value (PS3.3 C.7.5.1.1.2) or else the smallest value of the series. Holds two slices at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imarium.errors import ExportRefusedError, IntegrityError
from imarium.formats._shared import checked_frames
from imarium.formats.dicom import values
from imarium.formats.dicom.attachments import FrameIndex, read_index, restore_instance
from imarium.formats.dicom.geometry import normal_of
from imarium.formats.rendering import rescaled
from imarium.model import Rendition, Series
from imarium.model.geometry import TILTED, UNEVEN, as_affine
from imarium.model.series import Frame

_MOST_GROWTH = 4
"""The grid has at most so many times the source's slices, and rows and columns."""
_EXACT = 1e-6
"""A share of a pixel, or of a step between slices, that counts as nothing."""

_Rectangle = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where the slices of a volume lie on the grid."""

    rows: int
    columns: int
    down: NDArray[np.float64]
    """For each source slice, the row of the grid on which its first row lies."""
    across: NDArray[np.float64]
    heights: NDArray[np.float64]
    """Distance of each source slice from the first along the normal, mm, ascending."""
    slices: int
    step: float
    """Millimetres between slices of the grid."""


def evened(rendition: Rendition, frames: Callable[[], Iterable[Frame]]) -> Rendition:
    """The rendition on an even grid; itself if its slices are even already.

    `frames` gives the rendition's frames once more, to find their smallest value. Raises ExportRefusedError
    for series whose slices have no known place, for colours and for values that cannot be interpolated.
    """
    series = rendition.series
    if series.format != "dicom" or series.affine is None:
        raise ExportRefusedError("only DICOM series say where each of their slices lies, and this is none")
    if not series.is_uneven and not series.is_tilted:
        return rendition
    dtype = np.dtype(series.dtype)
    if series.samples > 1 or dtype.kind not in "iuf" or (dtype.kind != "f" and dtype.itemsize > 4):
        raise ExportRefusedError(f"{series.samples} x {series.dtype} pixels cannot be interpolated")
    index = read_index(rendition.attachments)
    grid = _grid(rendition, index)
    fill = _padding(rendition, index)
    # Slopes that differ from slice to slice leave nothing to interpolate but what they stand for.
    source = replace(rendition, frames=_comparable(rendition))
    if fill is None:
        fill = _smallest(_comparable(replace(rendition, frames=frames())))
    elif series.frame_rescale is not None:
        slope, intercept = series.rescale_of(0)
        fill = fill * slope + intercept
    made = _series(series, grid)
    return Rendition(
        made, made, _resampled(source.frames, series, made, grid, fill), {}, report=rendition.report
    )


def _comparable(rendition: Rendition) -> Iterator[Frame]:
    series = rendition.series
    for number, frame in enumerate(checked_frames(rendition)):
        if series.frame_rescale is None:
            yield frame
        else:
            yield rescaled(frame, series, number).astype(np.float32)


def _smallest(frames: Iterable[Frame]) -> float:
    low = math.inf
    for frame in frames:
        finite = frame if frame.dtype.kind != "f" else frame[np.isfinite(frame)]
        if finite.size:
            low = min(low, float(finite.min()))
    return low if math.isfinite(low) else 0.0


def _padding(rendition: Rendition, index: FrameIndex) -> float | None:
    """Pixel Padding Value of the first slice, if it is a value that pixels can have."""
    stored = index.instances[index.frames[0].instance]
    _, header = restore_instance(stored, rendition.attachments)
    value = values.integer(header.dataset, "PixelPaddingValue")
    dtype = np.dtype(rendition.series.dtype)
    if value is None or dtype.kind == "f":
        return None
    limits = np.iinfo(dtype)
    return float(value) if limits.min <= value <= limits.max else None


def _grid(rendition: Rendition, index: FrameIndex) -> _Grid:
    """The grid of the first volume; the others have the same positions along the normal."""
    series = rendition.series
    count = series.dimensions[-1]
    known = {}
    places = []
    for reference in index.frames[:count]:
        if reference.instance not in known:
            stored = index.instances[reference.instance]
            known[reference.instance] = restore_instance(stored, rendition.attachments)[0]
        places.append(known[reference.instance].places[reference.number])
    orientation = places[0].orientation
    if orientation is None or any(place.position is None for place in places):
        raise IntegrityError("the kept headers do not say where the slices lie")
    _, row_spacing, column_spacing = series.spacing or (1.0, 1.0, 1.0)
    offsets = np.asarray([place.position for place in places], dtype=np.float64)
    offsets -= offsets[0]
    across = offsets @ np.asarray(orientation[:3]) / column_spacing
    down = offsets @ np.asarray(orientation[3:]) / row_spacing
    heights = offsets @ normal_of(orientation)
    gaps = np.diff(heights)
    if gaps.size == 0 or gaps.min() <= 0:
        raise IntegrityError("the kept headers put the slices in another order than the series has")
    step = max(float(np.median(gaps)), float(heights[-1]) / (_MOST_GROWTH * count))
    slices = round(float(heights[-1]) / step) + 1
    left, top = math.floor(across.min() + _EXACT), math.floor(down.min() + _EXACT)
    columns = series.columns + math.ceil(across.max() - _EXACT) - left
    rows = series.rows + math.ceil(down.max() - _EXACT) - top
    if columns * rows > _MOST_GROWTH * series.columns * series.rows:
        raise ExportRefusedError(
            f"the slices lie so far apart in their planes that a grid around them would have {rows} x "
            f"{columns} pixels a slice, instead of {series.rows} x {series.columns}"
        )
    return _Grid(rows, columns, down - top, across - left, heights, slices, float(heights[-1]) / (slices - 1))


def _series(series: Series, grid: _Grid) -> Series:
    """The facts of the volume on the grid."""
    affine = np.asarray(series.affine, dtype=np.float64)
    column, row = affine[:3, 0], affine[:3, 1]
    normal = np.cross(column, row)
    # Slices ascend along the normal in LPS; turning two axes keeps its sign.
    normal *= grid.step / np.linalg.norm(normal)
    made = affine.copy()
    made[:3, 2] = normal
    made[:3, 3] -= grid.across[0] * column + grid.down[0] * row
    dimensions = (*series.dimensions[:-1], grid.slices)
    how = "nearest" if series.label_map else "linear"
    note = (
        f"Resampled ({how}) from {series.dimensions[-1]} slices onto {grid.slices}, {grid.step:.4g} mm "
        "apart and at right angles."
    )
    floats = series.frame_rescale is not None
    return replace(
        series,
        frames=math.prod(dimensions),
        dimensions=dimensions,
        rows=grid.rows,
        columns=grid.columns,
        affine=as_affine(made),
        dtype="float32" if floats else series.dtype,
        rescale_slope=1.0 if floats else series.rescale_slope,
        rescale_intercept=0.0 if floats else series.rescale_intercept,
        frame_rescale=None,
        bits_stored=None if floats else series.bits_stored,
        notes=(*(text for text in series.notes if not text.startswith((TILTED, UNEVEN))), note),
    )


def _resampled(
    frames: Iterable[Frame], series: Series, made: Series, grid: _Grid, fill: float
) -> Iterator[Frame]:
    slices = iter(frames)
    count = series.dimensions[-1]
    for _ in range(series.frames // count):
        lower = _laid(next(slices), grid, 0, series.label_map)
        upper = _laid(next(slices), grid, 1, series.label_map)
        above = 1
        for number in range(grid.slices):
            height = number * grid.step
            while above < count - 1 and height > grid.heights[above] + _EXACT * grid.step:
                above += 1
                lower, upper = upper, _laid(next(slices), grid, above, series.label_map)
            below = grid.heights[above - 1]
            share = float((height - below) / (grid.heights[above] - below))
            yield _between(lower, upper, share, made, fill)
    if next(slices, None) is not None:  # lets the source check that nothing is left
        raise IntegrityError("the series has more frames than it says")


def _laid(frame: Frame, grid: _Grid, number: int, nearest: bool) -> tuple[NDArray[Any], _Rectangle]:
    """A slice on the rows and columns of the grid, and what of it the slice covers."""
    down, across = float(grid.down[number]), float(grid.across[number])
    rows, columns = frame.shape
    if nearest or max(abs(down - round(down)), abs(across - round(across))) < _EXACT:
        # A label half a pixel further on is as near on either side: take the lower, so that all fit.
        top, left = math.ceil(down - 0.5), math.ceil(across - 0.5)
        covered = (slice(top, top + rows), slice(left, left + columns))
        whole = np.zeros((grid.rows, grid.columns), frame.dtype)
        whole[covered] = frame
        return whole, covered
    # Loaded here: it takes a tenth of a second and 40 MB, at every start of every command.
    import SimpleITK  # noqa: PLC0415

    itk: Any = SimpleITK  # which has no types
    image = itk.GetImageFromArray(frame.astype(np.float64))
    image.SetOrigin((across, down))
    moved = itk.Resample(
        image, (grid.columns, grid.rows), itk.Transform(), itk.sitkLinear, (0.0, 0.0), (1.0, 1.0)
    )
    covered = (
        slice(math.ceil(down - _EXACT), math.floor(down + rows - 1 + _EXACT) + 1),
        slice(math.ceil(across - _EXACT), math.floor(across + columns - 1 + _EXACT) + 1),
    )
    return itk.GetArrayFromImage(moved), covered


def _between(
    lower: tuple[NDArray[Any], _Rectangle],
    upper: tuple[NDArray[Any], _Rectangle],
    share: float,
    made: Series,
    fill: float,
) -> Frame:
    dtype = np.dtype(made.dtype)
    result: Frame = np.full((made.rows, made.columns), fill, dtype)
    if made.label_map:
        share = float(share > 0.5)
    if share < _EXACT or share > 1 - _EXACT:
        content, covered = lower if share < _EXACT else upper
        found = content[covered]
    else:
        covered = _common(lower[1], upper[1])
        found = lower[0][covered].astype(np.float64) * (1 - share) + upper[0][covered] * share
    result[covered] = np.rint(found) if dtype.kind != "f" and found.dtype.kind == "f" else found
    return result


def _common(one: _Rectangle, other: _Rectangle) -> _Rectangle:
    rows, columns = (
        slice(max(a.start, b.start), max(a.start, b.start, min(a.stop, b.stop)))
        for a, b in zip(one, other, strict=True)
    )
    return rows, columns
