"""NIfTI files."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from imarium.testing.frames import smooth_frames
from imarium.testing.samples._shared import written


def _nifti(
    values: NDArray[Any], *, order: str = "<", version: int = 1, dims: tuple[int, ...] | None = None
) -> bytes:
    """A single file; `dims` is what the header says where that is not true."""
    kind: Any = nib.Nifti1Header if version == 1 else nib.Nifti2Header
    header = kind(endianness=order)
    header.set_data_dtype(values.dtype.newbyteorder(order))  # type: ignore[arg-type]
    header.set_data_shape(values.shape[::-1] if dims is None else dims)
    header.set_sform(np.diag([0.5, 0.75, 2.0, 1.0]), code=1)
    header["magic"], header["vox_offset"] = header.single_magic, header.single_vox_offset
    stored = np.ascontiguousarray(values, values.dtype.newbyteorder(order))  # type: ignore[arg-type]
    return bytes(header.binaryblock) + bytes(4) + stored.tobytes()


def small(folder: Path) -> Iterator[Path]:
    values = smooth_frames(3, 20, 24)
    yield written(folder / "plain.nii", _nifti(values))
    yield written(folder / "big-endian.nii", _nifti(values, order=">"))
    yield written(folder / "second.nii", _nifti(values.astype(np.float32) / 7, version=2))
    yield _pair(folder / "pair", values)
    yield _pair(folder / "packed-pair", values, packed=True)
    yield _analyze(folder / "analyze", values)
    yield written(folder / "packed.nii.gz", gzip.compress(_nifti(values.reshape(3, 1, 20, 24)), mtime=0))


def _pair(folder: Path, values: NDArray[Any], *, packed: bool = False) -> Path:
    """A header, and its voxels in a file beside it (NIfTI-1: magic "ni1", at 344; vox_offset, at 108)."""
    content = _nifti(values)
    header, voxels = bytearray(content[:352]), content[352:]
    header[108:112], header[344:348] = bytes(4), b"ni1\0"
    name = "pair.img.gz" if packed else "pair.img"
    written(folder / name, gzip.compress(voxels, mtime=0) if packed else voxels)
    return written(folder / "pair.hdr", bytes(header))


def _analyze(folder: Path, values: NDArray[Any]) -> Path:
    """A header of Analyze 7.5, big-endian, and its voxels beside it."""
    kind: Any = nib.AnalyzeHeader
    header = kind(endianness=">")
    header.set_data_dtype(values.dtype)
    header.set_data_shape(values.shape[::-1])
    written(folder / "old.img", np.ascontiguousarray(values, values.dtype.newbyteorder(">")).tobytes())
    return written(folder / "old.hdr", bytes(header.binaryblock))


def large(folder: Path) -> Path:
    values = np.tile(smooth_frames(4, 512, 512), (8, 1, 1))
    return written(folder / "large.nii.gz", gzip.compress(_nifti(values), 1, mtime=0))


def liars(folder: Path) -> Iterator[Path]:
    values = smooth_frames(2, 20, 24)
    for name, dims in (("sides", (32767, 32767, 32767)), ("one-more-slice", (24, 20, 3))):
        content = _nifti(values, dims=dims)
        yield written(folder / f"{name}.nii", content)
        yield written(folder / f"{name}.nii.gz", gzip.compress(content, mtime=0))
    yield written(folder / "wide.nii", _nifti(values, version=2, dims=(1 << 40, 1 << 20, 1)))
