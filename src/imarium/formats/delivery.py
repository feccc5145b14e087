"""Names and bundles of exported files."""

from __future__ import annotations

import zipfile
from pathlib import Path

_NAMES = {"dicom": "series.dcm", "nifti": "series.nii.gz", "png": "series.png", "npy": "series.npy"}


def download_name(format_name: str, *, compress: bool = True) -> str:
    """A file name that tells the format and nothing of the patient."""
    name = _NAMES[format_name]
    return name if compress else name.removesuffix(".gz")


def gather(files: list[Path], folder: Path) -> Path:
    """The file itself, or a zip (stored, not compressed) of several in `folder`."""
    if len(files) == 1:
        return files[0]
    target = folder / "series.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            archive.write(file, file.name)
    return target
