"""Small DICOM files made to order, for tests."""

from __future__ import annotations

import imarium.formats.dicom.guard  # isort: skip  # noqa: F401 - before anything that imports pydicom

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.filewriter import dcmwrite
from pydicom.pixels.utils import pixel_array
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    MediaStorageDirectoryStorage,
)

STUDY = "1.2.826.0.1.3680043.10.9999.1"
SERIES = f"{STUDY}.1"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

PIXEL_ENCODING = frozenset(
    {
        0x00280004,  # photometric interpretation
        0x00280006,  # planar configuration
        0x7FE00001,
        0x7FE00002,
        0x7FE00008,
        0x7FE00009,
        0x7FE00010,
    }
)
"""Elements that say how pixels are encoded, and hold them."""


def make_dataset(pixels: NDArray[Any], instance: int = 1, **elements: Any) -> Dataset:
    """A CT slice of `pixels`: (rows, columns[, 3]), or more frames with NumberOfFrames among `elements`.

    The instance number is the end of its UID; `elements` are set last, by keyword, and removed where None.
    """
    colour = pixels.shape[-1] == 3 and pixels.ndim > 2
    rows, columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    bits = pixels.dtype.itemsize * 8
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = f"{SERIES}.{instance}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, SERIES
    dataset.Modality = "CT"
    dataset.PatientName, dataset.PatientID = "Nobody^Known", "ID-0815"
    dataset.PatientBirthDate = "19010203"
    dataset.InstanceNumber = instance
    dataset.StudyDate, dataset.SeriesDescription = "20260102", "Made for tests"
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.ImageOrientationPatient = list(AXIAL)
    dataset.ImagePositionPatient = [0.0, 0.0, float(instance)]
    dataset.PixelSpacing, dataset.SliceThickness = [0.5, 0.75], 1.0
    data = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = data + bytes(len(data) % 2)
    dataset["PixelData"].VR = "OB" if bits <= 8 else "OW"
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def make_table(files: Iterable[Sequence[str] | str | None], used: int = 0xFFFF) -> Dataset:
    """A DICOMDIR with one record a file ID; offsets all lead back to the first record."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = MediaStorageDirectoryStorage, f"{STUDY}.99"
    records = []
    for file in files:
        record = Dataset()
        record.OffsetOfTheNextDirectoryRecord = record.OffsetOfReferencedLowerLevelDirectoryEntity = 400
        record.RecordInUseFlag = used
        record.DirectoryRecordType = "IMAGE"
        if file is not None:
            record.ReferencedFileID = file if isinstance(file, str) else list(file)
        records.append(record)
    dataset.DirectoryRecordSequence = DicomSequence(records)
    return dataset


def write_file(path: Path, dataset: Dataset, syntax: UID = ExplicitVRLittleEndian) -> Path:
    """Write a dataset as a DICOM file."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    path.parent.mkdir(parents=True, exist_ok=True)
    dcmwrite(
        path,
        dataset,
        implicit_vr=syntax.is_implicit_VR,
        little_endian=syntax.is_little_endian,
        enforce_file_format=True,
    )
    return path


def elements(dataset: Dataset, path: str = "") -> dict[tuple[str, int], Any]:
    """All elements but those of the pixels' encoding, nested ones too: place -> value, or number of items.

    Items outside a sequence, which only broken files have, are no elements.
    """
    found: dict[tuple[str, int], Any] = {}
    for tag in list(dataset.keys()):
        if tag.element == 0 or tag.group == 0xFFFE or (not path and int(tag) in PIXEL_ENCODING):
            continue
        element = dataset[tag]
        if element.VR == "SQ":
            found[path, int(tag)] = len(element.value)
            for number, item in enumerate(element.value):
                found.update(elements(item, f"{path}/{int(tag):08x}[{number}]"))
        else:
            found[path, int(tag)] = element.value
    return found


def decoded(dataset: Dataset, *, raw: bool = False) -> NDArray[Any]:
    """The pixels of a dataset by pydicom; `raw` keeps YBR as it is.

    Decoders of lossy JPEG differ by 1. Imarium's is libjpeg-turbo, which Pillow brings for 8 bits and
    imagecodecs for 12.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax == JPEGExtended12Bit and dataset.SamplesPerPixel == 1:
        frames = generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames", 1)))
        pixels = np.stack([imagecodecs.jpeg8_decode(frame) for frame in frames])
        return pixels if len(pixels) > 1 else pixels[0]
    plugin = "pillow" if syntax == JPEGBaseline8Bit else ""
    found: NDArray[Any] = pixel_array(dataset, raw=raw, decoding_plugin=plugin)
    return found
