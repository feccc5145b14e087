"""Removes the face from a head CT or MR: what lies in front of and below the brain becomes background.

The region is bounded by a surface that begins in front of the frontal pole at the height of the brow and
falls back under the brain; nothing within a margin of the brain is touched. Ears and the back of the head
stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imarium.deid.pixels.heads import STEP, Anatomy, Grid, Mask, find_anatomy, grown, upright
from imarium.deid.pixels.projections import compare
from imarium.errors import FaceRemovalError
from imarium.model.geometry import plausible

PROFILE = ((-13.0, 4.0), (-26.0, -20.0), (-44.0, -40.0), (-62.0, -50.0))
"""The surface that bounds what is removed, in the middle plane of an average head whose brain is 172 mm long:
(mm above the frontal pole, mm in front of it). Nothing above the first point is removed; below the last it
goes straight down."""
_USUAL_LENGTH = 172.0
"""Of a brain, back to front, in mm."""
_USUAL_ANGLE = 12.0
"""Degrees by which the longest axis of the brain mask rises to the front in a head that looks straight
ahead."""
MARGIN_MM = 8.0
"""Around the brain mask, that is never touched."""
_STEEPEST = 40.0
"""Degrees of pitch that are believed."""
_FACE_ML = 40.0
"""Tissue that a face has at the least."""


@dataclass(frozen=True, slots=True)
class FaceReport:
    """What was done, and how far to trust it."""

    face: Literal["removed", "absent"]
    """`absent`: there is a brain and no tissue where a face would be (skull-stripped, or the volume ends
    above it)."""
    confidence: float
    """0 to 1; below 0.7 somebody should look at the preview before release."""
    brain_ml: float
    removed_ml: float
    """Tissue that became background."""
    surface_removed: float
    """Share of the skin between brow and chin, within 45 mm of the middle, that became background; 0 without
    a face."""
    brain_changed: int
    """Voxels of the brain mask that changed, counted on the volume's own grid after the fact; 0 is right."""
    pitch_degrees: float
    """How far the head looks up (positive) or down."""
    notes: tuple[str, ...]
    """What lowers the confidence."""
    preview: bytes = field(repr=False)
    """PNG: the head from the front, from its left and cut in the middle, before (above) and after."""


def deface(
    volume: NDArray[Any],
    affine: NDArray[np.float64] | None,
    modality: str | None,
    *,
    background: float | None = None,
) -> tuple[NDArray[Any], Mask, FaceReport]:
    """A copy of a volume without the face, the mask of what became background, and a report.

    `volume` is (slices, rows, columns) of HU for CT, of any unit for MR; its type is kept. `affine` maps
    (column, row, slice) to RAS+ mm and may be sheared (gantry tilt). Voxels outside the mask are bit for bit
    the same. `background` is the value that removed voxels get: by default the usual value of the air around
    the head. The mask covers air in front of the face too, so that its outline does not show what was there.

    Raises FaceRemovalError where the geometry is unknown, the modality is neither CT nor MR, or no brain of
    human size is found: then nothing was removed, and the volume is not safe.
    """
    if affine is None:
        raise FaceRemovalError(
            "where the slices lie is unknown, so the front of the head is too; no face was removed"
        )
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4) or not plausible(matrix) or abs(np.linalg.det(matrix[:3, :3])) < 1e-6:
        raise FaceRemovalError("the geometry of the volume makes no sense; no face was removed")
    if modality not in ("CT", "MR"):
        raise FaceRemovalError("faces are removed from CT and MR alone; this is another modality")
    if volume.ndim != 3 or min(volume.shape) < 4 or volume.dtype.kind not in "iuf":
        raise FaceRemovalError(
            "a volume of at least 4 slices, rows and columns of real numbers is needed, not "
            f"{volume.shape} of {volume.dtype}"
        )
    values = np.nan_to_num(np.asarray(volume, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    dark = -1000.0 if modality == "CT" else float(values.min())
    grid = upright(values, matrix, dark)
    anatomy = find_anatomy(grid, "CT" if modality == "CT" else "MR")
    region, pitch = _face_region(grid, anatomy)
    air = _air(values, grid, anatomy) if background is None else background
    tissue = anatomy.head & region
    tissue_ml = float(tissue.sum()) * STEP**3 / 1000
    if tissue_ml < _FACE_ML:
        after = grid.values
        note = "no tissue where a face would be: the skull is stripped, or the volume ends above the face"
        report = FaceReport(
            "absent", 0.8, anatomy.brain_ml, 0.0, 0.0, 0, pitch, (note,), compare(grid, anatomy, after)
        )
        return volume.copy(), np.zeros(volume.shape, bool), report
    made, mask = volume.copy(), np.zeros(volume.shape, bool)
    filling = np.asarray(_fitting(air, volume.dtype), volume.dtype)
    keep = np.asarray(grown(anatomy.brain, 2.0), np.float32)
    brain_changed = 0
    smooth = ndimage.gaussian_filter(region.astype(np.float32), 1.5)
    for index, places in _places(volume.shape, matrix, grid):
        # Beyond the grid lies nothing of the volume, so its border decides.
        chosen = ndimage.map_coordinates(smooth, places, order=1, mode="nearest") > 0.5
        near = ndimage.map_coordinates(keep, places, order=1, mode="nearest") > 0.0
        mask[index] = chosen & ~near
        made[index][mask[index]] = filling
        brain = ndimage.map_coordinates(anatomy.brain.astype(np.uint8), places, order=0, mode="nearest") > 0
        brain_changed += int((brain & mask[index]).sum())
    after = np.where(smooth > 0.5, np.float32(air), grid.values)
    removed = smooth > 0.5
    surface = _surface(grid, anatomy, pitch)
    share = float((surface & removed).sum() / max(int(surface.sum()), 1))
    removed_ml = float((anatomy.head & removed).sum()) * STEP**3 / 1000
    confidence, notes = _trust(anatomy, grid, share, pitch, removed_ml)
    report = FaceReport(
        "removed", confidence, anatomy.brain_ml, removed_ml, share, brain_changed, pitch, notes,
        compare(grid, anatomy, after),
    )  # fmt: skip
    return made, mask, report


def _face_region(grid: Grid, anatomy: Anatomy) -> tuple[Mask, float]:
    """What is to be removed, and the pitch of the head in degrees."""
    pitch = _pitch(anatomy.brain)
    _, forward, upward = _turned(grid, anatomy.brain, pitch)
    pole_forward, pole_upward, scale = _pole(anatomy.brain, forward, upward)
    ahead = (forward - pole_forward) / scale
    above = (upward - pole_upward) / scale
    heights = np.asarray([height for height, _ in PROFILE])[::-1]
    fronts = np.asarray([front for _, front in PROFILE])[::-1]
    bound = np.interp(above, heights, fronts)
    region = (above < PROFILE[0][0]) & (ahead > bound)
    return np.asarray(region & ~grown(anatomy.brain, MARGIN_MM)), pitch


def _pitch(brain: Mask) -> float:
    """Degrees that the head looks up, from the longest axis of the brain in the plane of front and height."""
    _, y, z = np.nonzero(brain)
    values, axes = np.linalg.eigh(np.cov(np.stack([y, z]).astype(np.float64)))
    forward, upward = axes[:, 1] if axes[0, 1] > 0 else -axes[:, 1]
    if values[1] < 1.15 * values[0]:
        return 0.0  # as high as it is long: its axis says nothing
    return float(np.clip(np.degrees(np.arctan2(upward, forward)) - _USUAL_ANGLE, -_STEEPEST, _STEEPEST))


def _turned(
    grid: Grid, brain: Mask, pitch: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Millimetres to the right of, in front of and above the middle of the brain, in the head's own
    directions."""
    x, y, z = grid.places()
    middle = [float(grid.origin[axis] + STEP * np.nonzero(brain)[axis].mean()) for axis in range(3)]
    angle = np.deg2rad(pitch)
    forward = np.cos(angle) * (y - middle[1]) + np.sin(angle) * (z - middle[2])
    upward = -np.sin(angle) * (y - middle[1]) + np.cos(angle) * (z - middle[2])
    shape = grid.shape
    return (
        np.broadcast_to(x - middle[0], shape), np.broadcast_to(forward, shape), np.broadcast_to(upward, shape)
    )  # fmt: skip


def _pole(
    brain: Mask, forward: NDArray[np.float64], upward: NDArray[np.float64]
) -> tuple[float, float, float]:
    """How far in front and how high the frontal pole is, and the size of the brain against the usual."""
    ahead = forward[brain]
    front, back = float(np.percentile(ahead, 99.8)), float(np.percentile(ahead, 0.2))
    height = float(np.median(upward[brain][ahead > front - 8.0]))
    return front, height, float(np.clip((front - back) / _USUAL_LENGTH, 0.7, 1.25))


def _surface(grid: Grid, anatomy: Anatomy, pitch: float) -> Mask:
    """The first 4 mm of the head from the front, between brow and chin, within 45 mm of the middle."""
    across, forward, upward = _turned(grid, anatomy.brain, pitch)
    front, height, scale = _pole(anatomy.brain, forward, upward)
    first = np.cumsum(anatomy.head[:, ::-1], axis=1)[:, ::-1]
    skin = anatomy.head & (first <= 2)
    below = (upward - height) / scale
    face = (below < -20) & (below > -95) & (np.abs(across) < 45 * scale) & (forward > front - 60 * scale)
    return np.asarray(skin & face)


def _trust(
    anatomy: Anatomy, grid: Grid, share: float, pitch: float, removed_ml: float
) -> tuple[float, tuple[str, ...]]:
    reasons: list[tuple[float, str]] = []
    if not 850 <= anatomy.brain_ml <= 1900:
        reasons.append((0.7, f"the brain that was found is of unusual size ({anatomy.brain_ml:.0f} ml)"))
    if share < 0.95:
        reasons.append((max(0.1, share), f"{100 * share:.0f} % of the skin of the face was removed"))
    if abs(pitch) > 25:
        reasons.append((0.7, f"the head is turned by {pitch:.0f} degrees"))
    if removed_ml > 1500:
        reasons.append((0.6, f"{removed_ml:.0f} ml were removed, more than a face has"))
    if anatomy.brain[:, :, -1].any():
        reasons.append((0.8, "the volume ends within the brain"))
    middle = float(np.nonzero(anatomy.brain)[0].mean())
    if abs(float(np.nonzero(anatomy.head)[0].mean()) - middle) * STEP > 12:
        reasons.append((0.7, "the brain is not in the middle of the head"))
    if grid.covered.mean() < 0.3:
        reasons.append((0.9, "the volume is very oblique"))
    return float(0.95 * np.prod([factor for factor, _ in reasons])), tuple(reason for _, reason in reasons)


def _air(values: NDArray[np.float32], grid: Grid, anatomy: Anatomy) -> float:
    """The usual value of covered places at least 10 mm outside the head; else the smallest value."""
    outside = grid.covered & ~grown(anatomy.head, 10.0)
    return float(np.median(grid.values[outside])) if outside.any() else float(values.min())


def _fitting(value: float, dtype: np.dtype[Any]) -> float:
    if dtype.kind == "f":
        return value
    limits = np.iinfo(dtype)
    return int(np.clip(round(value), limits.min, limits.max))


def _places(
    shape: tuple[int, ...], affine: NDArray[np.float64], grid: Grid
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Of every slice, where its voxels lie in the grid: (3, rows, columns)."""
    slices, rows, columns = shape
    down, across = np.mgrid[:rows, :columns].astype(np.float64)
    flat = [
        (affine[axis, 0] * across + affine[axis, 1] * down + affine[axis, 3] - grid.origin[axis]) / STEP
        for axis in range(3)
    ]
    for index in range(slices):
        yield index, np.stack([flat[axis] + affine[axis, 2] * index / STEP for axis in range(3)])
