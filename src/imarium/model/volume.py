"""A NumPy array that knows where it lies."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from imarium.model.series import Series


class Volume(np.ndarray[Any, np.dtype[Any]]):
    """Stored values of a series at one resolution, with geometry and metadata.

    Axes are (slices, rows, columns), with further leading axes for time and a trailing one for colour.
    `volume.T` therefore has NIfTI's axes, and `nibabel.Nifti1Image(volume.T, volume.affine)` is right.
    `copy()`, `copy.deepcopy` and pickling keep all that. The `series` and `affine` of a view (`volume[3]`,
    `volume.T`) and of a result of arithmetic are None, since a slice no longer lies where the volume does;
    reductions (`volume.max()`, `volume.sum(axis=0)`) give plain NumPy scalars and arrays.
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

    def __array_wrap__(self, array: NDArray[Any], context: Any = None, return_scalar: bool = False, /) -> Any:
        """What was changed in place is still this volume; the result of a ufunc lies nowhere; reductions
        (which have no `context`) are plain."""
        if array is self:
            return self
        plain = np.asarray(array)
        if return_scalar:
            return plain[()]
        return plain if context is None else plain.view(type(self))

    def copy(self, order: Literal["K", "A", "C", "F"] | None = "C") -> Volume:
        """A copy of the values that lies where this volume does."""
        made: Volume = super().copy(order)
        made.series = self.series
        return made

    def __copy__(self) -> Volume:
        return self.copy("K")

    def __deepcopy__(self, memo: dict[int, Any] | None, /) -> Volume:
        made = self.copy("K")
        if memo is not None:
            memo[id(self)] = made
        return made

    def __reduce__(self) -> Any:
        parts: Any = super().__reduce__()
        make, arguments, state = parts
        return make, arguments, (state, self.series)

    def __setstate__(self, state: Any, /) -> None:
        values, self.series = state
        super().__setstate__(values)

    def sort(self, *arguments: Any, **options: Any) -> None:
        """Sort in place; the values then lie nowhere (`np.sort` sorts a copy)."""
        super().sort(*arguments, **options)
        self.series = None

    def partition(self, *arguments: Any, **options: Any) -> None:
        """Partition in place; the values then lie nowhere (`np.partition` does so with a copy)."""
        super().partition(*arguments, **options)
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
        """Values in the series' own unit (HU for CT): stored value * slope + intercept, as float32.

        Each frame with its own slope and intercept, where they differ (PET, enhanced MR).
        """
        series = self.series
        if series is None:
            raise ValueError("a view has no rescale slope; call rescaled() on the whole volume")
        plain = np.asarray(self, dtype=np.float32)
        if series.frame_rescale is None:
            return plain * np.float32(series.rescale_slope) + np.float32(series.rescale_intercept)
        pairs = np.asarray(series.frame_rescale, dtype=np.float32)
        slopes, intercepts = pairs.T.reshape(2, *series.dimensions, *[1] * len(series.frame_shape))
        values: NDArray[np.float32] = plain * slopes + intercepts
        return values
