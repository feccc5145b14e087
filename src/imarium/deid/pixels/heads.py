"""Where head, brain and face are in a volume: thresholds and shapes, no template and no trained model.

Everything happens on a coarse upright grid of 2 mm in RAS+ directions, into which the volume is resampled
with its whole affine, shear of a tilted gantry included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imarium.errors import FaceRemovalError

STEP = 2.0
"""Millimetres of the grid."""
_MOST_MM = 700.0
"""Longest side of a volume that may hold one head."""
_BRAIN_ML = (450.0, 2300.0)
"""Millilitres of what can be a brain."""
_MOST_FILLED = 0.92
"""Share of the volume that a head fills at the most."""
_USUAL_MOST_ML = 1750.0
_OPENINGS = (3, 4, 5, 6, 7, 8)
"""Voxels: the smallest that cuts the brain off from what it touches is taken."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Grid:
    """Voxels of 2 mm along (x, y, z) in RAS+ mm."""

    origin: NDArray[np.float64]
    """Place of the first voxel's centre."""
    values: NDArray[np.float32]
    covered: Mask
    """Where the volume says anything."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along x, y and z."""
        x, y, z = self.values.shape
        return x, y, z

    def places(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Coordinates in mm along each axis, ready to be broadcast."""
        x, y, z = (self.origin[axis] + STEP * np.arange(self.shape[axis]) for axis in range(3))
        return x[:, None, None], y[None, :, None], z[None, None, :]


def upright(volume: NDArray[Any], affine: NDArray[np.float64], outside: float) -> Grid:
    """A volume (slices, rows, columns) on the upright grid. Raises FaceRemovalError if it is too large for a
    head."""
    slices, rows, columns = volume.shape
    corners = np.asarray(
        [(x, y, z, 1) for x in (0, columns - 1) for y in (0, rows - 1) for z in (0, slices - 1)], np.float64
    )
    placed = (corners @ affine.T)[:, :3]
    low, high = placed.min(axis=0), placed.max(axis=0)
    if (high - low).max() > _MOST_MM:
        raise FaceRemovalError(
            f"the volume is {(high - low).max():.0f} mm long; a head fits into {_MOST_MM:.0f} mm. "
            "Cut it to the head"
        )
    shape = tuple(int(size) for size in np.ceil((high - low) / STEP).astype(int) + 1)
    back = np.linalg.inv(affine)
    # (x, y, z) of the grid to (slice, row, column) of the volume.
    matrix = (back[:3, :3] * STEP)[::-1]
    offset = (back[:3, :3] @ low + back[:3, 3])[::-1]
    smooth = _thinned(np.asarray(volume, np.float32), affine)
    values = ndimage.affine_transform(smooth, matrix, offset, shape, order=1, cval=outside)
    covered = ndimage.affine_transform(
        np.ones(volume.shape, np.uint8), matrix, offset, shape, order=0, cval=0
    ).astype(bool)
    return Grid(low, values, covered)


def _thinned(volume: NDArray[np.float32], affine: NDArray[np.float64]) -> NDArray[np.float32]:
    """Means over 2 mm where voxels are smaller, so that the grid does not pick noise."""
    column, row, slice_ = np.linalg.norm(affine[:3, :3], axis=0)
    sizes = [max(1, round(STEP / size)) for size in (slice_, row, column)]
    return np.asarray(ndimage.uniform_filter(volume, sizes)) if max(sizes) > 1 else volume


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What was found, as masks of the grid."""

    head: Mask
    brain: Mask
    brain_ml: float


def find_anatomy(grid: Grid, modality: Literal["CT", "MR"]) -> Anatomy:
    """Head and brain. Raises FaceRemovalError where there is none that can be told."""
    head = _largest(_closed(_tissue(grid, modality), 3))
    head = _filled(head)
    if head.sum() > _MOST_FILLED * grid.covered.sum():
        raise FaceRemovalError(
            "there is no background around what the volume shows, so no surface of a head can be told; "
            "no face was removed"
        )
    brain = _brain_of_ct(grid, head) if modality == "CT" else _brain_of_mr(grid, head)
    volume = float(brain.sum()) * STEP**3 / 1000
    if not _BRAIN_ML[0] <= volume <= _BRAIN_ML[1]:
        raise FaceRemovalError(
            f"no brain was found: the largest part that could be one has {volume:.0f} ml, a brain has "
            f"{_BRAIN_ML[0]:.0f} to {_BRAIN_ML[1]:.0f} ml. The volume holds no whole head, or one that is "
            "not upright in its geometry"
        )
    _check_shape(brain)
    return Anatomy(head, brain, volume)


def _check_shape(brain: Mask) -> None:
    """A brain is 100 to 185 mm wide, 130 to 210 mm long, and nearly as high as wide; not a limb, not a
    belly."""
    width, length, height = (
        STEP * (np.ptp(np.flatnonzero(brain.any(axis=tuple({0, 1, 2} - {axis})))) + 1) for axis in range(3)
    )
    if not (90 <= width <= 190 and 110 <= length <= 230 and 50 <= height <= 230):
        raise FaceRemovalError(
            f"what could be a brain is {width:.0f} x {length:.0f} x {height:.0f} mm (left-right, back-front, "
            "feet-head), which no brain is; the volume holds no head, or its geometry is wrong"
        )


def _tissue(grid: Grid, modality: str) -> Mask:
    if modality == "CT":
        return np.asarray(ndimage.binary_opening(grid.values > -300, iterations=2))
    known = grid.values[grid.covered]
    top = float(np.percentile(known, 99.5))
    return np.asarray((grid.values > 0.5 * _otsu(np.clip(known, None, top))) & grid.covered)


def _brain_of_ct(grid: Grid, head: Mask) -> Mask:
    """Soft tissue that a closed ring of bone surrounds in a slice across the body."""
    bone = _closed(head & (grid.values > 250), 4)
    if bone.sum() * STEP**3 / 1000 < 100:
        raise FaceRemovalError(
            "hardly any bone was found; the values are no Hounsfield units, or the volume holds no skull"
        )
    within = np.zeros_like(bone)
    for index in range(bone.shape[2]):
        within[:, :, index] = ndimage.binary_fill_holes(bone[:, :, index])
    soft = within & ~bone & (grid.values > -30) & (grid.values < 160)
    return _core(soft, 3, head)


def _brain_of_mr(grid: Grid, head: Mask) -> Mask:
    """The large bright body deep in the head, cut off from scalp and neck by an opening."""
    values = ndimage.gaussian_filter(grid.values, 0.5)
    inner = values[head]
    if inner.size == 0:
        raise FaceRemovalError("no tissue was found in the volume")
    level = 0.75 * _otsu(np.clip(inner, None, float(np.percentile(inner, 98))))
    bright = head & (values > level)
    deep = bright & (_depth(head) * STEP > 6)
    brain = deep
    for radius in _OPENINGS:
        brain = _core(deep, radius, head)
        if brain.sum() * STEP**3 / 1000 <= _USUAL_MOST_ML:
            break
    return np.asarray(brain)


def _core(tissue: Mask, radius: int, head: Mask) -> Mask:
    """The largest part after an opening of `radius` voxels, grown back within the tissue, its gaps closed."""
    small = _depth(tissue) > radius
    if not small.any():
        return np.zeros_like(tissue)
    part = _largest(small)
    whole = (ndimage.distance_transform_edt(~part) <= radius + 1) & tissue
    return np.asarray(_filled(_closed(whole, 4)) & head)


def _depth(mask: Mask) -> NDArray[np.float64]:
    """Voxels to the nearest place outside; the grid's own edge is outside."""
    return np.asarray(ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1, 1:-1])


def _otsu(values: NDArray[np.float32]) -> float:
    """The threshold that separates two classes best."""
    counts, edges = np.histogram(values, 256)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    total = np.cumsum(counts * middles)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (total / below - (total[-1] - total) / above) ** 2
    return float(middles[int(np.nanargmax(between))]) if np.isfinite(between).any() else float(middles[0])


def grown(mask: Mask, mm: float) -> Mask:
    """All that lies within so many millimetres of a mask."""
    return np.asarray(ndimage.distance_transform_edt(~mask) * STEP <= mm)


def _closed(mask: Mask, radius: int) -> Mask:
    wide = np.pad(mask, radius + 1)
    closed = ndimage.distance_transform_edt(~wide) <= radius
    closed = ndimage.distance_transform_edt(closed) > radius
    inner = slice(radius + 1, -radius - 1)
    return np.asarray(closed[inner, inner, inner] | mask)


def _largest(mask: Mask) -> Mask:
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.reshape(-1))
    sizes[0] = 0
    return np.asarray(labels == int(sizes.argmax()))


def _filled(mask: Mask) -> Mask:
    """Holes filled in slices of all three directions."""
    made = mask.copy()
    for axis in range(3):
        for index in range(mask.shape[axis]):
            place = tuple(index if number == axis else slice(None) for number in range(3))
            made[place] = ndimage.binary_fill_holes(made[place])
    return made
