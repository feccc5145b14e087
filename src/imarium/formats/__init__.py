"""Files to model and back: one module a format, and the registry of them all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from imarium.errors import (
    CorruptFileError,
    ExportRefusedError,
    InvalidRequestError,
    RefusedFileError,
    UnrecognisedFileError,
)
from imarium.formats import dicom
from imarium.formats.base import ReadContext, Reader, Refusal, Writer
from imarium.formats.dicom import evened
from imarium.formats.hdf5 import Hdf5Reader
from imarium.formats.jpeg2000 import Jpeg2000Reader
from imarium.formats.metaimage import MetaImageReader
from imarium.formats.nifti import NiftiReader, NiftiWriter
from imarium.formats.npy import NpyWriter, NumpyReader
from imarium.formats.nrrd import NrrdReader
from imarium.formats.ome_zarr import OmeZarrWriter
from imarium.formats.raster import JpegReader, PngReader, PngWriter
from imarium.formats.rendering import default_window, render_8bit
from imarium.formats.tiff import TiffReader
from imarium.model import Series
from imarium.model.windows import Window

HEAD_BYTES = 4096
"""Bytes that recognition looks at."""

EXPORTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "dicom": ("dicom", "nifti", "png", "npy", "ome-zarr"),
        "nifti": ("nifti", "png", "npy", "ome-zarr"),
        "nrrd": ("nifti", "png", "npy", "ome-zarr"),
        "metaimage": ("nifti", "png", "npy", "ome-zarr"),
        "npy": ("npy", "png", "ome-zarr"),
        "png": ("png", "npy", "ome-zarr"),
        "jpeg": ("png", "npy", "ome-zarr"),
        "jpeg2000": ("png", "npy", "ome-zarr"),
        "tiff": ("png", "npy", "ome-zarr"),
        "hdf5": ("npy", "png", "ome-zarr"),
    }
)
"""What each source format can become. Nothing becomes a format that says more than its source knew."""

EVEN = ("nifti", "npy", "ome-zarr")
"""Formats of volumes, for which tilted or uneven slices may be resampled (`evened`)."""

_REASONS = {
    "dicom": "DICOM names a patient, a study and an acquisition, which only a DICOM source knows",
    "nifti": "NIfTI says how large and where every voxel is, which a plain picture or array does not know",
    "jpeg": "JPEG loses detail, and nothing is lost here",
}

_READERS: tuple[Reader, ...] = (
    dicom.DicomReader(),
    NiftiReader(),
    NrrdReader(),
    MetaImageReader(),
    NumpyReader(),
    PngReader(),
    JpegReader(),
    Jpeg2000Reader(),
    TiffReader(),
    Hdf5Reader(),
)


def readers() -> tuple[Reader, ...]:
    """Every reader, in the order in which they are asked whether they recognise a file."""
    return _READERS


def recognise(path: Path) -> Reader:
    """The reader of a file's format, by its first 4 KiB; the name is not looked at.

    Raises CorruptFileError if the file is empty, RefusedFileError if it cannot be read, and
    UnrecognisedFileError if no reader recognises it.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError as error:
        raise RefusedFileError(
            f"the file cannot be read: {error.strerror or type(error).__name__}"
        ) from error
    if not head:
        raise CorruptFileError("the file is empty")
    for reader in _READERS:
        if reader.recognises(path, head):
            return reader
    names = ", ".join(_TITLES[reader.name] for reader in _READERS)
    raise UnrecognisedFileError(f"the content is of no format that is read here; these are: {names}")


_TITLES = {
    "dicom": "DICOM",
    "nifti": "NIfTI and Analyze (.nii, .nii.gz, .hdr with .img)",
    "nrrd": "NRRD (.nrrd, .nhdr)",
    "metaimage": "MetaImage (.mha, .mhd)",
    "npy": "NumPy (.npy, .npz)",
    "png": "PNG",
    "jpeg": "JPEG",
    "jpeg2000": "JPEG 2000",
    "tiff": "TIFF",
    "hdf5": "HDF5",
}


def writer_for(
    format_name: str,
    series: Series,
    *,
    window: Window | None = None,
    full: bool = False,
    transfer_syntax: str | None = None,
) -> Writer:
    """The writer that exports `series` as dicom, nifti, png, npy or ome-zarr.

    `window` (center and width in rescaled values) and `full` (16-bit grey) are PngWriter's; the other
    formats hold stored values and refuse them. `transfer_syntax` (explicit or htj2k) is DicomWriter's.
    Raises ExportRefusedError if the series' source format cannot become `format_name`, naming what it can
    become, and InvalidRequestError for options that the format does not have.
    """
    allowed = EXPORTS.get(series.format, ())
    if format_name not in allowed:
        reason = _REASONS.get(format_name, f"{format_name!r} is no format that is written here")
        choice = ", ".join(allowed) or "nothing"
        raise ExportRefusedError(
            f"a {series.format} source cannot be exported as {format_name}: {reason}; it can become {choice}"
        )
    if format_name != "png" and (window is not None or full):
        raise InvalidRequestError(f"a window and full depth are options of png; {format_name} has none")
    if format_name != "dicom" and transfer_syntax is not None:
        raise InvalidRequestError(f"a transfer syntax is an option of dicom; {format_name} has none")
    match format_name:
        case "dicom":
            return dicom.DicomWriter(_transfer_syntax(transfer_syntax))
        case "nifti":
            return NiftiWriter()
        case "ome-zarr":
            return OmeZarrWriter()
        case "png":
            return PngWriter(window, full)
        case _:
            return NpyWriter()


def _transfer_syntax(name: str | None) -> dicom.TransferSyntax:
    match name:
        case None | "explicit":
            return "explicit"
        case "htj2k":
            return "htj2k"
        case _:
            raise InvalidRequestError(f"transfer syntaxes are explicit and htj2k, not {name!r}")


__all__ = [
    "EVEN",
    "EXPORTS",
    "ReadContext",
    "Reader",
    "Refusal",
    "Writer",
    "default_window",
    "evened",
    "readers",
    "recognise",
    "render_8bit",
    "writer_for",
]
