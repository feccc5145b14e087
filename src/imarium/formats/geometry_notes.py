"""Which notes of a series say that its slices form no even, orthogonal grid, and telling who exports it."""

from __future__ import annotations

from imarium.model import Rendition, Series
from imarium.model.geometry import TILTED, UNEVEN


def is_uneven(series: Series) -> bool:
    """Whether distances between slices differ, so that the affine holds their mean."""
    return any(note.startswith(UNEVEN) for note in series.notes)


def is_tilted(series: Series) -> bool:
    """Whether slices are sheared against their normal, so that the affine has no right angles."""
    return any(note.startswith(TILTED) for note in series.notes)


def report_geometry(rendition: Rendition) -> None:
    """Say what readers of a format that states voxel sizes will get wrong."""
    for note in rendition.series.notes:
        if note.startswith((UNEVEN, TILTED)):
            rendition.report(f"{note} Many readers will take the voxels for even; --even resamples them.")
