"""Affines, spacing and the shapes of resolution levels.

An affine is 4x4 and maps voxel indices (column, row, slice, 1) to millimetres in RAS+ (x grows to the
patient's right, y to the front, z to the head), as in NIfTI-1. Integer indices are voxel
centres. DICOM's LPS differs in the sign of x and y (PS3.3 C.7.6.2.1.1).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Affine: TypeAlias = tuple[
    tuple[float, float, float, float],
    tuple[float, float, float, float],
    tuple[float, float, float, float],
    tuple[float, float, float, float],
]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Multiply an LPS affine from the left to get RAS, and the other way round."""


UNEVEN = "Slice spacing is uneven"
TILTED = "Gantry tilt"
"""How the notes of a series begin that say so (see `imarium.formats.dicom.geometry.stack_notes`)."""

_MOST_MM = 1e9
"""A thousand kilometres."""
_LEAST_MM = 1e-9
"""A hundred-thousandth of an atom."""


def plausible(matrix: NDArray[np.float64]) -> bool:
    """Whether a 4x4 matrix can be the affine of anything: finite, no larger than 1e9 mm, and voxels of at
    least 1e-9 mm a side. Beyond that, spacing and positions overflow or vanish in plain arithmetic.
    """
    if not np.isfinite(matrix).all() or np.abs(matrix).max() > _MOST_MM:
        return False
    return bool(np.linalg.norm(matrix[:3, :3], axis=0).min() >= _LEAST_MM)


def as_affine(matrix: NDArray[np.float64]) -> Affine:
    """A 4x4 array as nested tuples (hashable, exact in JSON)."""
    if matrix.shape != (4, 4):
        raise ValueError(f"an affine is 4x4, not {matrix.shape}")
    rows = [tuple(float(value) for value in row) for row in matrix]
    return (rows[0], rows[1], rows[2], rows[3])  # type: ignore[return-value]


def level_shape(rows: int, columns: int, level: int) -> tuple[int, int]:
    """Rows and columns of a level; level k halves k times, rounding up (ISO/IEC 15444-1 B.5)."""
    return -(-rows >> level), -(-columns >> level)


def rescale_affine(
    affine: Affine, row_factor: float, column_factor: float, slice_factor: float = 1.0
) -> Affine:
    """The affine of a grid whose pixels cover `row_factor` x `column_factor` pixels of the given one, and
    `slice_factor` slices.

    The outer edges of the two grids coincide: a voxel centre moves by (factor - 1) / 2 pixels.
    """
    step = np.eye(4)
    step[0, 0], step[0, 3] = column_factor, (column_factor - 1) / 2
    step[1, 1], step[1, 3] = row_factor, (row_factor - 1) / 2
    step[2, 2], step[2, 3] = slice_factor, (slice_factor - 1) / 2
    return as_affine(np.asarray(affine, dtype=np.float64) @ step)


def spacing_of(affine: Affine) -> tuple[float, float, float]:
    """Voxel spacing in mm in the order of the array's axes: (slice, row, column)."""
    column, row, slice_ = np.linalg.norm(np.asarray(affine, dtype=np.float64)[:3, :3], axis=0)
    return float(slice_), float(row), float(column)


def radiological_turn(affine: Affine) -> tuple[bool, bool, bool]:
    """How to turn a slice for the screen: (transpose, flip columns, flip rows), in this order.

    The patient's right comes to the left and the front or the head to the top; sagittal slices face left.
    The page's viewer turns by the same rule (web/src/viewers/image/geometry.ts).
    """
    matrix = np.asarray(affine, dtype=np.float64)[:3, :2]
    column, row = (matrix / np.maximum(np.linalg.norm(matrix, axis=0), 1e-12)).T
    normal = int(np.argmin(np.hypot(column, row)))
    across = 1 if normal == 0 else 0
    down = 1 if normal == 2 else 2
    transpose = bool(abs(row[across]) > abs(column[across]))
    horizontal, vertical = (row, column) if transpose else (column, row)
    return transpose, bool(horizontal[across] > 0), bool(vertical[down] > 0)
