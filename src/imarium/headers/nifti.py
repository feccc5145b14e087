"""The header of a NIfTI file of a series that did not come as one, and what such a file can hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from imarium.errors import ExportRefusedError, InvalidRequestError
from imarium.model import Series
from imarium.version import VERSION

INTENT_LABEL = 1002
DATATYPES: dict[int, tuple[str, int]] = {
    2: ("uint8", 1),
    4: ("int16", 1),
    8: ("int32", 1),
    16: ("float32", 1),
    32: ("complex64", 1),
    64: ("float64", 1),
    128: ("uint8", 3),
    256: ("int8", 1),
    512: ("uint16", 1),
    768: ("uint32", 1),
    1024: ("int64", 1),
    1280: ("uint64", 1),
    1792: ("complex128", 1),
    2304: ("uint8", 4),
}
"""Datatype codes of nifti1.h: (NumPy name, samples a voxel)."""
CODES = {kind: code for code, kind in DATATYPES.items()}

_SOURCES = ("nifti", "dicom", "nrrd", "metaimage")


def nibabel_or_error() -> Any:
    """The library; raises InvalidRequestError where it is not installed."""
    try:
        import nibabel  # noqa: PLC0415 - the bare package does without
    except ImportError as error:
        raise InvalidRequestError(
            "NIfTI needs one more library: pip install 'imarium[nifti]'; npy needs none"
        ) from error
    return nibabel


def check_source(series: Series) -> None:
    """Raises ExportRefusedError for sources that are plain pictures or arrays."""
    if series.format not in _SOURCES:
        raise ExportRefusedError(
            f"a {series.format} source cannot become NIfTI: it does not say how large or where its "
            "pixels are; ask for png or npy"
        )


def check_datatype(series: Series) -> None:
    """Raises ExportRefusedError for values that NIfTI cannot hold."""
    if (series.dtype, series.samples) not in CODES:
        kind = series.dtype if series.samples == 1 else f"{series.samples} x {series.dtype}"
        raise ExportRefusedError(f"NIfTI has no data type for {kind} pixels; ask for npy")


def must_rescale(series: Series) -> bool:
    """Whether frames differ in slope or intercept, of which a NIfTI file has one each: they are written as
    float32 in the series' own unit."""
    return series.frame_rescale is not None and series.format != "nifti" and series.samples == 1


def is_flipped(series: Series) -> bool:
    """Whether rows go from bottom to top, as converters usually write those of DICOM."""
    return series.format == "dicom"


def new_header(series: Series) -> bytes:
    """A header for a single file, little-endian, with the four bytes that follow it.

    NIfTI-1, or NIfTI-2 for sides beyond 32767. `is_flipped` and `must_rescale` say how the voxels lie.
    Raises ExportRefusedError for more than 7 dimensions, and what `nibabel_or_error` raises.
    """
    nibabel = nibabel_or_error()
    *slower, slices = series.dimensions
    dims = [series.columns, series.rows, slices, *reversed(slower)]
    if len(dims) > 7:
        raise ExportRefusedError(f"NIfTI has at most 7 dimensions, the series has {len(dims)}")
    header = (nibabel.Nifti1Header if max(dims) <= 32767 else nibabel.Nifti2Header)()
    header["dim"] = [len(dims), *dims, *[1] * (7 - len(dims))]
    rescale = must_rescale(series)
    dtype = "float32" if rescale else series.dtype
    header["datatype"] = CODES[dtype, series.samples]
    header["bitpix"] = np.dtype(dtype).itemsize * 8 * series.samples
    header["pixdim"] = 1
    description = f"Imarium {VERSION}"
    if series.is_uneven:
        description += "; UNEVEN slices (mean step)"
    if series.is_tilted:
        description += "; TILTED (see sform)"
    if rescale:
        header["scl_slope"], header["scl_inter"] = 1.0, 0.0
        description += "; rescaled frame by frame"
    else:
        header["scl_slope"], header["scl_inter"] = series.rescale_slope, series.rescale_intercept
    if series.affine is None:
        description += "; position and size unknown"
        header["srow_x"], header["srow_y"], header["srow_z"] = np.eye(4)[:3]
    else:
        affine = np.asarray(series.affine, dtype=np.float64)
        if is_flipped(series):
            turn = np.diag([1.0, -1.0, 1.0, 1.0])
            turn[1, 3] = series.rows - 1
            affine = affine @ turn
        _place(header, affine)
    header["pixdim"][4] = (series.time_step or 0.0) if len(dims) > 3 else 1.0
    header["xyzt_units"] = 2 | 8  # millimetres, seconds
    if series.label_map and series.samples == 1:
        header["intent_code"] = INTENT_LABEL
    header["descrip"] = description.encode("ascii")[:79]
    header["magic"] = header.single_magic
    header["vox_offset"] = header.single_vox_offset
    return bytes(header.binaryblock) + bytes(4)


def _place(header: Any, affine: NDArray[np.float64]) -> None:
    """sform always; qform where axes are at right angles, since a quaternion holds no shear."""
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    header["pixdim"][1:4] = sizes
    header["srow_x"], header["srow_y"], header["srow_z"] = affine[:3]
    header["sform_code"] = 1
    axes = affine[:3, :3] / np.where(sizes == 0, 1, sizes)
    if np.abs(axes.T @ axes - np.eye(3)).max() < 1e-4:
        header.set_qform(affine, code=1, strip_shears=True)
