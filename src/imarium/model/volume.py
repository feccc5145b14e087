"""A NumPy array that knows where it lies."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from imarium.model.series import Series


class Volume(np.ndarray[Any, np.dtype[Any]]):
    """Stored values of a series at one resolution, with geometry and metadata.

    Axes are (slices, rows, columns), with further leading axes for time and a trailing one for colour.
    `volume.T` therefore has NIfTI's axes, and `nibabel.Nifti1Image(volume.T, volume.affine)` is right.
    A view or a result of arithmetic is a plain array in this respect: its `series` is None, since a
    slice no longer lies where the volume does.
    """

    series: Series | None

    @classmethod
    def wrap(cls, array: NDArray[Any], series: Series) -> Volume:
        """View an array of `series.volume_shape` as a volume, without a copy."""
        volume = array.view(cls)
        volume.series = series
        return volume

    def __array_finalize__(self, parent: Any) -> None:
        self.series = None

    @property
    def affine(self) -> NDArray[np.float64] | None:
        """4x4, (column, row, slice) to RAS+ mm; None if unknown."""
        if self.series is None or self.series.affine is None:
            return None
        return np.asarray(self.series.affine, dtype=np.float64)

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """(slice, row, column) in mm; None if unknown."""
        return None if self.series is None else self.series.spacing

    @property
    def metadata(self) -> dict[str, Any]:
        """The facts of the series at this resolution."""
        return {} if self.series is None else self.series.to_json()

    def rescaled(self) -> NDArray[np.float32]:
        """Values in the series' own unit (HU for CT): stored value * slope + intercept, as float32."""
        if self.series is None:
            raise ValueError("a view has no rescale slope; call rescaled() on the whole volume")
        plain = np.asarray(self, dtype=np.float32)
        return plain * np.float32(self.series.rescale_slope) + np.float32(self.series.rescale_intercept)
