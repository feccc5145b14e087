"""Telling who exports a series that its slices form no even, orthogonal grid."""

from __future__ import annotations

from imarium.model import Rendition
from imarium.model.geometry import TILTED, UNEVEN


def report_geometry(rendition: Rendition) -> None:
    """Say what readers of a format that states voxel sizes will get wrong."""
    for note in rendition.series.notes:
        if note.startswith((UNEVEN, TILTED)):
            rendition.report(f"{note} Many readers will take the voxels for even; --even resamples them.")
