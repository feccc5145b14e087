"""Pictures of a head before and after: its surface from the front and from its left, and a cut in the
middle."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imarium.deid.pixels.heads import Anatomy, Grid, Mask

_SCALE = 2
"""Pixels of the picture a voxel of the grid."""


def compare(grid: Grid, anatomy: Anatomy, after: NDArray[np.float32]) -> bytes:
    """PNG of three views; the volume above, `after`, on the same grid, below."""
    level = _level(grid, anatomy)
    rows = [_views(values, anatomy, level, grid.values) for values in (grid.values, after)]
    picture = np.concatenate(rows, axis=0)
    made = Image.fromarray(picture).resize((picture.shape[1] * _SCALE, picture.shape[0] * _SCALE))
    stream = io.BytesIO()
    made.save(stream, "PNG")
    return stream.getvalue()


def _level(grid: Grid, anatomy: Anatomy) -> float:
    """Half way from the air to the tissue at the surface of the head."""
    outside = grid.values[grid.covered & ~anatomy.head]
    dark = float(np.median(outside)) if outside.size else float(grid.values.min())
    return dark + 0.3 * (float(np.median(grid.values[anatomy.head])) - dark)


def _views(
    values: NDArray[np.float32], anatomy: Anatomy, level: float, before: NDArray[np.float32]
) -> NDArray[np.uint8]:
    solid = anatomy.head & (values > level)
    # Inside the head dark parts (bone in MR, airways) are solid too, unless they were removed.
    solid |= anatomy.head & (values == before)
    middle = int(np.nonzero(anatomy.brain)[0].mean())
    low, high = np.percentile(before[anatomy.head], (1, 99.5))
    cut = np.clip((values[middle] - low) / max(float(high - low), 1e-6), 0, 1)
    views = [_relief(solid.transpose(0, 2, 1)), _relief(solid.transpose(1, 2, 0)[:, :, ::-1]), cut]
    # The first axis to the left (the patient's right, or the front), height upwards.
    turned = [np.rint(view.T[::-1, ::-1] * 255).astype(np.uint8) for view in views]
    return np.concatenate(turned, axis=1)


def _relief(solid: Mask) -> NDArray[np.float64]:
    """The surface seen from the end of the last axis, lit from above: (first, second axis), 0 to 1."""
    length = solid.shape[2]
    seen = solid.any(axis=2)
    depth = np.where(seen, length - np.argmax(solid[:, :, ::-1], axis=2), 0).astype(np.float64)
    slope_across, slope_up = np.gradient(depth)
    light = (1.0 - 0.35 * slope_across - 0.6 * slope_up) / np.sqrt(1 + slope_across**2 + slope_up**2)
    shade = 0.35 + 0.35 * np.clip(light, -0.6, 1.4)
    return np.where(seen, np.clip(shade * (0.5 + 0.5 * depth / max(depth.max(), 1)), 0, 1), 0.0)
