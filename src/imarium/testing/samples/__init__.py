"""Files of every format that is read, made here: whole small ones, large ones, and some that lie.

A new format adds one entry to SAMPLES, and its makers to the module of its family; the conformance suite
and `scripts/fuzz_readers.py` take it from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from imarium.formats.base import Reader
from imarium.testing.samples import arrays, dicom, nifti, pictures, tiff, volumes


@dataclass(frozen=True, slots=True)
class Samples:
    """Makers of files of one format. Each gets an empty folder.

    A sample that consists of several files lies in a folder of its own, with nothing else in it; its path is
    that of the file that a reader is given. A small sample may hold several series where the format does.
    """

    small: Callable[[Path], Iterable[Path]]
    """Valid files of at most some 100 kB, as different as the format allows; every byte that ends one of
    sixteen equal parts belongs to what must be there."""
    large: Callable[[Path], Path]
    """A valid file of one series with at least 12 MB of pixels, in 16 frames or more where the format has
    frames."""
    liars: Callable[[Path], Iterable[Path]]
    """Small files whose headers promise far more pixels than they hold, or than anyone may ask for."""


def samples_of(reader: Reader) -> Samples:
    """The makers for a reader's format. Raises LookupError if nobody added them."""
    if reader.name not in SAMPLES:
        raise LookupError(
            f"there are no sample files for the reader {reader.name!r}: add an entry to SAMPLES in "
            "imarium/testing/samples"
        )
    return SAMPLES[reader.name]


SAMPLES: Mapping[str, Samples] = {
    "dicom": Samples(dicom.small, dicom.large, dicom.liars),
    "nifti": Samples(nifti.small, nifti.large, nifti.liars),
    "nrrd": Samples(volumes.nrrd_small, volumes.nrrd_large, volumes.nrrd_liars),
    "metaimage": Samples(volumes.meta_small, volumes.meta_large, volumes.meta_liars),
    "npy": Samples(arrays.npy_small, arrays.npy_large, arrays.npy_liars),
    "png": Samples(pictures.png_small, pictures.png_large, pictures.png_liars),
    "jpeg": Samples(pictures.jpeg_small, pictures.jpeg_large, pictures.jpeg_liars),
    "jpeg2000": Samples(pictures.jpeg2000_small, pictures.jpeg2000_large, pictures.jpeg2000_liars),
    "tiff": Samples(tiff.small, tiff.large, tiff.liars),
    "hdf5": Samples(arrays.hdf5_small, arrays.hdf5_large, arrays.hdf5_liars),
}
"""By the reader's name."""
