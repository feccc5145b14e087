"""NumPy's own file format (.npy, version 1.0 of numpy.lib.format)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from imarium.errors import ExportRefusedError, InvalidRequestError
from imarium.formats._shared import checked_frames, replacing
from imarium.formats.rendering import to_rgb
from imarium.model import Rendition


class NpyWriter:
    """Writes stored values as one array of `Series.volume_shape`, little-endian, in C order.

    A single frame is (1, rows, columns). YBR_FULL and YBR_FULL_422 become RGB; palette indices and
    values before rescaling stay what they are.
    """

    name = "npy"

    def write(self, rendition: Rendition, destination: Path) -> list[Path]:
        """Write one file, a frame at a time.

        Raises InvalidRequestError if `destination` does not end in .npy, and ExportRefusedError for
        colours that have no RGB.
        """
        if destination.suffix.lower() != ".npy":
            raise InvalidRequestError(f"a NumPy file ends in .npy, not {destination.suffix!r}")
        series = rendition.series
        dtype = np.dtype(series.dtype).newbyteorder("<")
        if dtype.kind not in "biufc":
            raise ExportRefusedError(f"an array of type {series.dtype} cannot be written as .npy")
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": series.volume_shape,
        }
        with replacing(destination) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for frame in checked_frames(rendition):
                file.write(np.ascontiguousarray(to_rgb(frame, series), dtype=dtype).data)
        return [destination]
