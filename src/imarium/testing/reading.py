"""What tests of single readers ask of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imarium.errors import ImariumError
from imarium.formats.base import ReadContext, Reader, Refusal
from imarium.model import SourceSeries
from imarium.model.geometry import LPS_TO_RAS


@dataclass(frozen=True, slots=True)
class Reading:
    """A reader of files that stand alone and hold one series."""

    reader: Reader

    def one(self, path: Path, context: ReadContext) -> SourceSeries | Refusal:
        """What the reader makes of a file."""
        (found,) = self.reader.read([path], context)
        return found

    def read(self, path: Path, context: ReadContext) -> SourceSeries:
        """The series of a file that is to be read."""
        found = self.one(path, context)
        assert isinstance(found, SourceSeries), found
        return found

    def refused(self, path: Path, context: ReadContext, kind: type[ImariumError], words: str) -> None:
        """Check that a file is refused with an error of exactly that type, which says `words`."""
        found = self.one(path, context)
        assert isinstance(found, Refusal)
        assert type(found.error) is kind, found
        assert words in str(found.error)


def volume_of(source: SourceSeries) -> NDArray[Any]:
    """All frames as the series says that they lie, after a look at how they are stored."""
    frames = list(source.read_frames())
    assert all(frame.dtype.isnative and frame.flags.c_contiguous for frame in frames)
    return np.stack(frames).reshape(source.series.volume_shape)


def affine_of(image: Any) -> NDArray[np.float64]:
    """The affine to RAS+ of a three-dimensional image of SimpleITK."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return LPS_TO_RAS @ affine
