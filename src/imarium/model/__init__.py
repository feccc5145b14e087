"""What a medical image is: series, frames, geometry, volumes."""

from imarium.model.geometry import level_shape, radiological_turn, rescale_affine, spacing_of
from imarium.model.labels import checked_labels, parse_labels
from imarium.model.selection import Selection
from imarium.model.series import (
    Codestream,
    Rendition,
    Series,
    SourceCodestream,
    SourceFile,
    SourceSeries,
)
from imarium.model.volume import Volume

__all__ = [
    "Codestream",
    "Rendition",
    "Selection",
    "Series",
    "SourceCodestream",
    "SourceFile",
    "SourceSeries",
    "Volume",
    "checked_labels",
    "level_shape",
    "parse_labels",
    "radiological_turn",
    "rescale_affine",
    "spacing_of",
]
