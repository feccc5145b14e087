"""Analyze 7.5 headers (`struct dsr` of dbh.h), as the NIfTI-1 headers of pairs that say the same.

An Analyze header has no magic number and says nothing of orientation: which side of a picture is left is a
matter of custom. The custom here is that of SPM and nibabel: columns run from right to left, rows from back
to front, slices from bottom to top; origin and scale factor are where SPM puts them.
"""

from __future__ import annotations

import struct
from typing import Any, Literal

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

NOTE = (
    "the header is of Analyze 7.5, which says nothing of orientation: as in SPM, columns are assumed to run "
    "from right to left"
)
SCALE_NOTE = "the scale factor is where SPM writes it; Analyze 7.5 itself has none"

COLOURS = 128
"""Code of RGB, whose order of samples is not defined."""

_SIZE = 348
# Codes of the data types, and bits a voxel; 130 and above are SPM's.
_BITS = {1: 1, 2: 8, 4: 16, 8: 32, 16: 32, 32: 64, 64: 64, COLOURS: 24, 130: 8, 132: 16, 136: 32}
_SPM_CODES = {130: 256, 132: 512, 136: 768}


def recognises(head: bytes) -> bool:
    """Whether a whole file, unpacked, is an Analyze header: by its size, its sizes and its data type."""
    order = _order(head)
    if order is None or head[344:348] in (b"ni1\0", b"n+1\0"):
        return False
    axes, columns = struct.unpack_from(f"{order}2h", head, 40)
    code, bits = struct.unpack_from(f"{order}2h", head, 70)
    return bool(1 <= axes <= 7 and columns >= 1 and _BITS.get(code) == bits)


def _order(head: bytes) -> Literal["<", ">"] | None:
    if len(head) != _SIZE:
        return None
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    return next((order for order in orders if struct.unpack_from(f"{order}i", head)[0] == _SIZE), None)


def converted(head: bytes) -> bytes:
    """The header of a NIfTI-1 pair, in the same byte order, for one that `recognises` knows.

    Its sform is where nibabel and SPM put the volume: around SPM's origin, else around its middle.
    """
    order = _order(head)
    spm: Any = nib.Spm99AnalyzeHeader
    source: Any = spm(head, endianness=order, check=False)
    kind: Any = nib.Nifti1Header
    made: Any = kind(endianness=order)
    for name in ("dim", "bitpix", "pixdim", "vox_offset", "scl_slope", "cal_max", "cal_min", "descrip"):
        made[name] = source[name]
    code = int(source["datatype"])
    made["datatype"] = _SPM_CODES.get(code, code)
    made["xyzt_units"] = 2
    source["dim"][1:4] = np.maximum(source["dim"][1:4], 1)
    try:
        with np.errstate(all="ignore"):
            affine = source.get_best_affine()[:3]
    except (HeaderDataError, ValueError, ArithmeticError):
        affine = np.zeros((3, 4))
    made["srow_x"], made["srow_y"], made["srow_z"] = affine
    made["sform_code"] = 2
    made["magic"] = made.pair_magic
    return bytes(made.binaryblock)
