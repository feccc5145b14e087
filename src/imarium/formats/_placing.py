"""Where a volume lies, from the vectors of its axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imarium.model.geometry import Affine, as_affine, plausible

UNKNOWN = (
    "the axes' directions are no finite, invertible matrix of a plausible size: the volume's position is "
    "unknown"
)


def affine_of(
    to_ras: NDArray[np.float64],
    axes: Sequence[Sequence[float]],
    origin: Sequence[float],
    notes: list[str],
) -> Affine | None:
    """The affine of two or three axes: their steps in mm and the first voxel's centre, times `to_ras`.

    `to_ras` is 4x4. Vectors of two components lie in the plane z = 0. A third axis that is missing gets
    a step of 1 mm at right angles to the others, with a note. None, with a note, if that is no position.
    """
    matrix = np.eye(4)
    with np.errstate(all="ignore"):
        for number, axis in enumerate(axes):
            matrix[:3, number] = _three(axis)
        matrix[:3, 3] = _three(origin)
        if len(axes) == 2:
            normal = np.cross(matrix[:3, 0], matrix[:3, 1])
            matrix[:3, 2] = normal / np.linalg.norm(normal)
            notes.append("the thickness of the slice is not given; 1 mm is assumed")
        matrix = to_ras @ matrix
        usable = plausible(matrix) and np.linalg.det(matrix[:3, :3]) != 0
    if not usable:
        notes.append(UNKNOWN)
        return None
    return as_affine(matrix + 0.0)  # no -0


def _three(vector: Sequence[float]) -> NDArray[Any]:
    """The first three components; those that are missing are 0."""
    return np.array([*vector, 0.0, 0.0, 0.0][:3], dtype=np.float64)
