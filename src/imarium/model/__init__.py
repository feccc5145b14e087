"""What a medical image is: series, frames, geometry, volumes."""

from imarium.model.geometry import level_shape, radiological_turn, rescale_affine, spacing_of
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
    "Series",
    "SourceCodestream",
    "SourceFile",
    "SourceSeries",
    "Volume",
    "level_shape",
    "radiological_turn",
    "rescale_affine",
    "spacing_of",
]
