"""A head with a face and a brain whose places are known, as CT or MR, on any grid: no patient had it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

AIR, SKIN, BONE, FLUID, BRAIN, EYE = range(6)
"""What a voxel shows."""

_CT = np.asarray([-1000, 40, 900, 8, 35, 20], np.float32)
_MR = np.asarray([0, 520, 60, 110, 640, 160], np.float32)
_NOISE = {"CT": 8.0, "MR": 12.0}


@dataclass(frozen=True, slots=True)
class Head:
    """Voxels with their truth; axes are (slices, rows, columns)."""

    values: NDArray[np.int16]
    """HU for CT, arbitrary for MR (T1-like)."""
    labels: NDArray[np.uint8]
    affine: NDArray[np.float64]
    """(column, row, slice) to RAS+ mm."""
    modality: str
    face: NDArray[np.bool_]
    """Skin within 5 mm of the air in front, between brow and chin, to 45 mm beside the middle, at least 40 mm
    in front of the middle of the brain."""

    @property
    def brain(self) -> NDArray[np.bool_]:
        """Voxels of the brain."""
        return np.asarray(self.labels == BRAIN)


def head(
    modality: str = "MR",
    *,
    shape: tuple[int, int, int] = (110, 120, 100),
    spacing: tuple[float, float, float] = (2.2, 2.2, 2.2),
    pitch: float = 0.0,
    tilt: float = 0.0,
    center: tuple[float, float, float] = (4.0, -12.0, 30.0),
    low: float = -140.0,
    flip: bool = False,
    face: bool = True,
    seed: int = 0,
) -> Head:
    """A head of usual size.

    `spacing` is (slice, row, column) in mm. `pitch` turns the nose down, `tilt` shears the slices as a gantry
    does, both in degrees. `center` is where the middle of the brain lies (RAS mm), `low` the height below it
    at which the volume begins. `flip` stores the rows and columns as NIfTI of the other hand does. Without
    `face` there is only what the skull holds.
    """
    step_z, step_y, step_x = spacing
    slices, rows, columns = shape
    sign = -1.0 if flip else 1.0
    affine = np.eye(4)
    # Columns go to the left and rows to the back, as in DICOM, unless flipped.
    affine[:3, :3] = np.diag([-step_x * sign, -step_y * sign, step_z])
    affine[1, 2] = np.tan(np.deg2rad(tilt)) * step_z
    affine[0, 3] = center[0] + sign * step_x * (columns - 1) / 2
    affine[1, 3] = center[1] + 10 + sign * step_y * (rows - 1) / 2 - affine[1, 2] * (slices - 1) / 2
    affine[2, 3] = center[2] + low
    labels = np.empty(shape, np.uint8)
    facing = np.zeros(shape, bool)
    down, across = np.mgrid[:rows, :columns].astype(np.float32)
    angle = np.deg2rad(pitch)
    for index in range(slices):
        x, y, z = (
            (affine[axis, 0] * across + affine[axis, 1] * down + affine[axis, 2] * index + affine[axis, 3])
            - center[axis]
            for axis in range(3)
        )
        y, z = np.cos(angle) * y - np.sin(angle) * z, np.sin(angle) * y + np.cos(angle) * z
        labels[index] = _label(x, y, z, face=face)
        front = (np.abs(x) < 45) & (z < -35) & (z > -110) & (y > 40)
        facing[index] = front & (labels[index] == SKIN) & (_label(x, y + 5, z, face=face) == AIR)
    rng = np.random.default_rng(seed)
    values = (_CT if modality == "CT" else _MR)[labels]
    noisy = values + rng.normal(0, _NOISE[modality], shape)
    if modality == "MR":
        noisy = np.hypot(noisy, rng.normal(0, _NOISE["MR"], shape))
    return Head(np.rint(noisy).astype(np.int16), labels, affine, modality, facing)


def _inside(
    x: NDArray[np.float32], y: NDArray[np.float32], z: NDArray[np.float32],
    center: tuple[float, float, float], radii: tuple[float, float, float],
) -> NDArray[np.bool_]:  # fmt: skip
    parts = (
        (value - middle) / radius for value, middle, radius in zip((x, y, z), center, radii, strict=True)
    )
    return np.asarray(sum(part * part for part in parts) < 1)


def _label(
    x: NDArray[np.float32], y: NDArray[np.float32], z: NDArray[np.float32], *, face: bool
) -> NDArray[np.uint8]:
    """What is at places in mm, RAS, about the middle of the brain."""
    labels = np.full(x.shape, AIR, np.uint8)

    def vault(more: float) -> NDArray[np.bool_]:
        """The cerebrum with a flat base that rises to the front, and the cerebellum; `more` mm larger."""
        cerebrum = _inside(x, y, z, (0, 0, 5), (68 + more, 86 + more, 66 + more))
        base = z > -32 - more + np.clip(0.25 * (y - 20), 0, 14)
        cerebellum = _inside(x, y, z, (0, -42, -34), (52 + more, 36 + more, 28 + more))
        return np.asarray((cerebrum & base) | cerebellum)

    if face:
        skin = _inside(x, y, z, (0, 28, -78), (64, 68, 62)) & (y < 92)
        skin |= _inside(x, y, z, (0, 92, -66), (15, 22, 20))  # nose
        skin |= _inside(x, y, z, (0, 78, -108), (26, 16, 14))  # chin
        skin |= (np.hypot(x, (y + 25) * 0.9) < 52) & (z < -40)  # neck
        skin |= vault(14)
        labels[skin] = SKIN
        for side in (-32, 32):
            labels[_inside(x, y, z, (side, 72, -44), (12, 12, 12))] = EYE
        labels[_inside(x, y, z, (0, 52, -62), (12, 30, 14))] = AIR  # the airways of the nose
    labels[vault(9)] = BONE
    labels[vault(3)] = FLUID
    labels[vault(0)] = BRAIN
    stem = (np.hypot(x, y + 22) < 12) & (z < -20) & (z > -95)
    labels[stem] = BRAIN if face else AIR
    labels[stem & (z < -60)] = SKIN if face else AIR
    if not face:
        labels[(labels == BONE) | (labels == SKIN)] = AIR
    return labels
