"""The header of a .npy file."""

from __future__ import annotations

import io

import numpy as np

from imarium.model import Series


def npy_header(series: Series) -> bytes:
    """For one array of `Series.volume_shape`, little-endian, in C order: format 1.0 of numpy.lib.format."""
    head = io.BytesIO()
    facts = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(series.dtype).newbyteorder("<")),
        "fortran_order": False,
        "shape": series.volume_shape,
    }
    np.lib.format.write_array_header_1_0(head, facts)
    return head.getvalue()
