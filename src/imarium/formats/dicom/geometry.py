"""Where frames lie in space: positions along the slice normal, affines, and what is odd about them.

Positions and orientations are DICOM's, in LPS mm (PS3.3 C.7.6.2.1.1). Affines are RAS+ and map (column,
row, slice) to mm. Slices ascend along the normal, which is the cross product of the row direction and the
column direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imarium.model.geometry import LPS_TO_RAS, TILTED, UNEVEN, Affine, as_affine, plausible

SAME_PLACE = 1e-3
"""Positions closer than this along the normal (mm) are the same."""
SAME_DIRECTION = 2e-3
"""Orientations whose direction cosines differ by less are parallel."""

Vector = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where and when one frame was taken; None where the source does not say."""

    position: Vector | None = None
    """Centre of the first pixel, LPS mm."""
    orientation: Vector | None = None
    """Direction of increasing column index, then of increasing row index."""
    spacing: Vector | None = None
    """Millimetres between rows, then between columns."""
    thickness: float | None = None
    """Millimetres from this slice to the next, as stated."""
    order: tuple[float, ...] = ()
    """Orders the frames that lie at one position: time, acquisition, instance and frame number."""

    @property
    def placed(self) -> bool:
        """Whether position, orientation and spacing are all known."""
        return self.position is not None and self.orientation is not None and self.spacing is not None


def normal_of(orientation: Vector) -> NDArray[np.float64]:
    """Unit normal: row direction x column direction."""
    normal = np.cross(orientation[:3], orientation[3:])
    return np.asarray(normal / np.linalg.norm(normal), dtype=np.float64)


def valid_orientation(orientation: Vector | None) -> Vector | None:
    """The orientation if it is two unit vectors at right angles (with some tolerance)."""
    if orientation is None or len(orientation) != 6:
        return None
    row, column = np.asarray(orientation[:3]), np.asarray(orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    sound = all(abs(length - 1) < 0.05 for length in lengths) and abs(float(row @ column)) < 0.05
    return orientation if sound else None


def parallel(one: Vector | None, other: Vector | None) -> bool:
    """Whether two orientations are the same, or both unknown."""
    if one is None or other is None:
        return one is other
    return all(abs(a - b) < SAME_DIRECTION for a, b in zip(one, other, strict=True))


def same_spacing(one: Vector | None, other: Vector | None) -> bool:
    """Whether two pixel spacings are the same to 0.1 %, or both unknown."""
    if one is None or other is None:
        return one is other
    return all(abs(a - b) <= 1e-3 * abs(b) for a, b in zip(one, other, strict=True))


@dataclass(frozen=True, slots=True)
class Grid:
    """Frames as volumes of slices."""

    volumes: list[list[int]]
    """For each volume the numbers of its frames, slices ascending along the normal."""
    rest: list[int]
    """Frames that are in no volume, since their position is taken more often than the others'."""


def arrange(places: Sequence[Place]) -> Grid:
    """Sort placed frames of one orientation into volumes; all volumes have the same positions."""
    orientation = places[0].orientation
    assert orientation is not None
    normal = normal_of(orientation)
    along = np.asarray([place.position for place in places], dtype=np.float64) @ normal
    ranked = sorted(range(len(places)), key=lambda index: (along[index], places[index].order))
    stations: list[list[int]] = []
    for index in ranked:
        if stations and along[index] - along[stations[-1][0]] <= SAME_PLACE:
            stations[-1].append(index)
        else:
            stations.append([index])
    for station in stations:
        station.sort(key=lambda index: (places[index].order, index))
    count = min(len(station) for station in stations)
    volumes = [[station[number] for station in stations] for number in range(count)]
    rest = sorted(index for station in stations for index in station[count:])
    return Grid(volumes, rest)


def stack_affine(slices: Sequence[Place]) -> Affine | None:
    """RAS+ affine of a volume's slices, in order. The slice step is the mean step, shear included.

    None if they are not placed, or at no place that exists.
    """
    head, tail = slices[0], slices[-1]
    if head.position is None or tail.position is None or head.orientation is None or head.spacing is None:
        return None
    row, column = np.asarray(head.orientation[:3]), np.asarray(head.orientation[3:])
    first = np.asarray(head.position)
    if len(slices) > 1:
        step = (np.asarray(tail.position) - first) / (len(slices) - 1)
    else:
        step = normal_of(head.orientation) * (head.thickness or 1.0)
    lps = np.eye(4)
    lps[:3, 0] = row * head.spacing[1]
    lps[:3, 1] = column * head.spacing[0]
    lps[:3, 2] = step
    lps[:3, 3] = first
    return as_affine(LPS_TO_RAS @ lps) if plausible(lps) else None


def stack_notes(slices: Sequence[Place]) -> list[str]:
    """What a volume's geometry needs said: uneven steps, gantry tilt."""
    orientation = slices[0].orientation
    if orientation is None:
        return []
    if slices[0].placed and stack_affine(slices) is None:
        return ["Positions or sizes are beyond anything real: the volume's position is unknown."]
    if len(slices) < 2:
        return []
    positions = np.asarray([place.position for place in slices], dtype=np.float64)
    steps = np.diff(positions, axis=0)
    normal = normal_of(orientation)
    gaps = steps @ normal
    mean = positions[-1] - positions[0]
    mean_gap = float(mean @ normal) / (len(slices) - 1)
    notes = []
    if float(np.max(np.abs(gaps - mean_gap))) > max(0.02 * mean_gap, 2 * SAME_PLACE):
        notes.append(
            f"{UNEVEN}: {gaps.min():.3g} to {gaps.max():.3g} mm between slices; "
            f"the affine uses the mean, {mean_gap:.4g} mm."
        )
    angle = float(np.degrees(np.arctan2(np.linalg.norm(mean - (mean @ normal) * normal), mean @ normal)))
    if angle > 0.1:
        notes.append(
            f"{TILTED}: slices are sheared by {angle:.2f} degrees against their normal; "
            f"the affine includes the shear."
        )
    return notes
