"""Which reader takes a file, and what may become what."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import h5py
import imagecodecs
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from imarium.errors import (
    CorruptFileError,
    ExportRefusedError,
    InvalidRequestError,
    RefusedFileError,
    UnrecognisedFileError,
)
from imarium.formats import EXPORTS, readers, recognise, writer_for
from imarium.model import Series
from imarium.phantoms import ct_chest


def _picture(kind: str) -> bytes:
    out = io.BytesIO()
    Image.new("L", (9, 9)).save(out, kind)
    return out.getvalue()


def _nifti() -> bytes:
    return nib.Nifti1Image(np.zeros((2, 2, 2), dtype=np.int16), np.eye(4)).to_bytes()


def _numpy(write: Callable[..., None]) -> bytes:
    out = io.BytesIO()
    write(out, np.zeros((2, 2)))
    return out.getvalue()


def _hdf5() -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file["x"] = np.zeros((3, 3))
    return out.getvalue()


def _series(format_name: str) -> Series:
    return Series("2.25.1", "2.25.2", format_name, 1, 4, 4, "int16")


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    dicom = ct_chest(4, 16, 16).write_dicom(tmp_path / "dicom")[0].read_bytes()
    contents = {
        "dicom": [dicom],
        "nifti": [_nifti(), gzip.compress(_nifti())],
        "nrrd": [b"NRRD0004\ntype: short\n"],
        "metaimage": [b"ObjectType = Image\nNDims = 2\nDimSize = 2 2\n", b"NDims = 2\nDimSize = 2 2\n"],
        "npy": [_numpy(np.save), _numpy(np.savez), _numpy(np.savez_compressed)],
        "png": [_picture("PNG")],
        "jpeg": [_picture("JPEG")],
        "jpeg2000": [_picture("JPEG2000"), bytes(imagecodecs.htj2k_encode(np.zeros((20, 20), np.uint8)))],
        "tiff": [_picture("TIFF")],
        "hdf5": [_hdf5()],
    }
    assert [reader.name for reader in readers()] == list(contents)
    for name, files in contents.items():
        for content in files:
            path = tmp_path / "picture.txt"
            path.write_bytes(content)
            assert recognise(path).name == name
            takers = [reader.name for reader in readers() if reader.recognises(path, content[:4096])]
            assert takers == [name]


def test_files_that_nobody_reads(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    with pytest.raises(CorruptFileError, match="the file is empty"):
        recognise(path)
    for content in (b"hello", bytes(5000), gzip.compress(b"hello"), b"GIF89a"):
        path.write_bytes(content)
        with pytest.raises(UnrecognisedFileError, match="DICOM, NIfTI"):
            recognise(path)
    with pytest.raises(RefusedFileError, match="cannot be read"):
        recognise(tmp_path / "nothing")


@pytest.mark.parametrize("source", EXPORTS)
@pytest.mark.parametrize("target", ["dicom", "nifti", "png", "npy", "jpeg", "tiff"])
def test_the_hierarchy_of_formats(source: str, target: str) -> None:
    if target in EXPORTS[source]:
        assert writer_for(target, _series(source)).name == target
    else:
        with pytest.raises(ExportRefusedError, match=f"{source} source .* {target}") as refused:
            writer_for(target, _series(source))
        assert ", ".join(EXPORTS[source]) in str(refused.value)


def test_options_belong_to_png() -> None:
    writer_for("png", _series("dicom"), window=(40, 400))
    writer_for("png", _series("dicom"), full=True)
    for options in ({"window": (40.0, 400.0)}, {"full": True}):
        with pytest.raises(InvalidRequestError, match="options of png"):
            writer_for("npy", _series("dicom"), **options)
