"""Files of every format that is read, made here: whole small ones, large ones, and some that lie.

A new format adds one entry to SAMPLES; the conformance suite and `scripts/fuzz_readers.py` take it from
there.
"""

from __future__ import annotations

import imarium.formats.dicom.guard  # isort: skip  # noqa: F401 - before anything that imports pydicom

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from imarium.formats.base import Reader
from imarium.testing.dicom_files import make_dataset, write_file
from imarium.testing.frames import smooth_frames


@dataclass(frozen=True, slots=True)
class Samples:
    """Makers of files of one format. Each gets an empty folder.

    A sample that consists of several files lies in a folder of its own, with nothing else in it; its path is
    that of the file that a reader is given.
    """

    small: Callable[[Path], Iterable[Path]]
    """Valid files of at most some 100 kB, as different as the format allows; every byte that ends one of
    sixteen equal parts belongs to what must be there."""
    large: Callable[[Path], Path]
    """A valid file with at least 12 MB of pixels, 16 frames or more where the format has frames."""
    liars: Callable[[Path], Iterable[Path]]
    """Small files whose headers promise far more pixels than they hold, or than anyone may ask for."""


def samples_of(reader: Reader) -> Samples:
    """The makers for a reader's format. Raises LookupError if nobody added them."""
    if reader.name not in SAMPLES:
        raise LookupError(
            f"there are no sample files for the reader {reader.name!r}: add an entry to SAMPLES in "
            "imarium/testing/samples.py"
        )
    return SAMPLES[reader.name]


# DICOM


def _dicom_small(folder: Path) -> Iterator[Path]:
    frames = smooth_frames(3, 24, 20)
    colour = np.stack([smooth_frames(1, 24, 20, "uint8", seed)[0] for seed in range(3)], axis=-1)
    native: dict[str, tuple[NDArray[Any], dict[str, Any], UID]] = {
        "explicit": (frames[0], {}, ExplicitVRLittleEndian),
        "implicit": (frames[0], {}, ImplicitVRLittleEndian),
        "big-endian": (frames[0], {}, ExplicitVRBigEndian),
        "deflated": (frames[0], {}, DeflatedExplicitVRLittleEndian),
        "colour": (colour, {}, ExplicitVRLittleEndian),
        "frames": (frames, {"NumberOfFrames": 3}, ExplicitVRLittleEndian),
    }
    for number, (name, (pixels, elements, syntax)) in enumerate(native.items(), start=1):
        dataset = make_dataset(pixels, number, SeriesInstanceUID=f"1.2.826.0.1.3680043.10.9999.2.{number}")
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = np.ascontiguousarray(pixels, ">i2").tobytes()
        yield write_file(folder / f"{name}.dcm", dataset, syntax)
    unsigned = smooth_frames(2, 24, 20, "uint16")
    compressed: dict[str, tuple[UID, Callable[[NDArray[Any]], bytes]]] = {
        "rle": (RLELossless, _rle),
        "jpeg-ls": (JPEGLSLossless, _jpeg_ls),
        "jpeg-2000": (JPEG2000Lossless, _jpeg2000),
    }
    for number, (name, (syntax, encode)) in enumerate(compressed.items(), start=len(native) + 1):
        dataset = make_dataset(unsigned, number, SeriesInstanceUID=f"1.2.826.0.1.3680043.10.9999.2.{number}")
        dataset.NumberOfFrames = 2
        dataset.PixelData = encapsulate([bytes(encode(frame)) for frame in unsigned])
        dataset["PixelData"].VR = "OB"
        yield write_file(folder / f"{name}.dcm", dataset, syntax)


def _rle(frame: NDArray[Any]) -> bytes:
    """RLE of PS3.5 annex G, in runs of literal bytes: two segments, high bytes first."""
    planes = frame.astype(">u2").view(np.uint8).reshape(-1, 2).T
    segments = []
    for plane in planes:
        rows = [bytes(plane[start : start + 128]) for start in range(0, plane.size, 128)]
        segment = b"".join(bytes([len(row) - 1]) + row for row in rows)
        segments.append(segment + bytes(len(segment) % 2))
    offsets = [2, 64, 64 + len(segments[0]), *[0] * 13]
    return np.array(offsets, "<u4").tobytes() + b"".join(segments)


def _jpeg_ls(frame: NDArray[Any]) -> bytes:
    return bytes(imagecodecs.jpegls_encode(frame))


def _jpeg2000(frame: NDArray[Any]) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(frame, codecformat="j2k", reversible=True, level=0))


def _dicom_large(folder: Path) -> Path:
    dataset = make_dataset(np.tile(smooth_frames(4, 512, 512), (8, 1, 1)), NumberOfFrames=32)
    return write_file(folder / "large.dcm", dataset)


def _dicom_liars(folder: Path) -> Iterator[Path]:
    frame = smooth_frames(1, 24, 20)[0]
    lies: dict[str, dict[str, Any]] = {
        "sides": {"Rows": 65535, "Columns": 65535},
        "frames": {"NumberOfFrames": 2_000_000_000},
        "one-more-row": {"Rows": 25},
    }
    for name, elements in lies.items():
        yield write_file(folder / f"{name}.dcm", make_dataset(frame, **elements))
    dataset = make_dataset(frame.astype(np.uint16), Rows=65535, Columns=16)
    dataset.PixelData = encapsulate([_rle(frame.astype(np.uint16))])
    dataset["PixelData"].VR = "OB"
    yield write_file(folder / "compressed.dcm", dataset, RLELossless)


# NIfTI


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


def _written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _nifti_small(folder: Path) -> Iterator[Path]:
    values = smooth_frames(3, 20, 24)
    yield _written(folder / "plain.nii", _nifti(values))
    yield _written(folder / "big-endian.nii", _nifti(values, order=">"))
    yield _written(folder / "second.nii", _nifti(values.astype(np.float32) / 7, version=2))
    yield _written(folder / "packed.nii.gz", gzip.compress(_nifti(values.reshape(3, 1, 20, 24)), mtime=0))


def _nifti_large(folder: Path) -> Path:
    values = np.tile(smooth_frames(4, 512, 512), (8, 1, 1))
    return _written(folder / "large.nii.gz", gzip.compress(_nifti(values), 1, mtime=0))


def _nifti_liars(folder: Path) -> Iterator[Path]:
    values = smooth_frames(2, 20, 24)
    for name, dims in (("sides", (32767, 32767, 32767)), ("one-more-slice", (24, 20, 3))):
        content = _nifti(values, dims=dims)
        yield _written(folder / f"{name}.nii", content)
        yield _written(folder / f"{name}.nii.gz", gzip.compress(content, mtime=0))
    yield _written(folder / "wide.nii", _nifti(values, version=2, dims=(1 << 40, 1 << 20, 1)))


# Pictures


def _pixels(rows: int, columns: int, samples: int, dtype: str = "uint8") -> NDArray[Any]:
    planes = [smooth_frames(1, rows, columns, "uint8", seed)[0] for seed in range(samples)]
    stacked = np.stack(planes, axis=-1).astype(dtype)
    if dtype == "uint16":
        stacked *= 257
    return np.ascontiguousarray(stacked[..., 0] if samples == 1 else stacked)


def _png_small(folder: Path) -> Iterator[Path]:
    for samples in (1, 2, 3, 4):
        for dtype in ("uint8", "uint16"):
            content = bytes(imagecodecs.png_encode(_pixels(30, 26, samples, dtype), level=6))
            yield _written(folder / f"{samples}-{dtype}.png", content)
    grey = Image.fromarray(_pixels(30, 26, 1))
    grey.convert("1").save(folder / "bits.png")
    yield folder / "bits.png"
    Image.fromarray(_pixels(30, 26, 3)).quantize(16).save(folder / "palette.png")
    yield folder / "palette.png"


def _png_large(folder: Path) -> Path:
    content = imagecodecs.png_encode(_pixels(2048, 2048, 2, "uint16"), level=1)
    return _written(folder / "large.png", bytes(content))


def _png_liars(folder: Path) -> Iterator[Path]:
    content = bytes(imagecodecs.png_encode(_pixels(30, 26, 1), level=6))
    for name, columns, rows in (("sides", 16384, 16384), ("vast", 1 << 31, 1 << 31), ("one-more", 26, 31)):
        header = b"IHDR" + columns.to_bytes(4, "big") + rows.to_bytes(4, "big") + content[24:29]
        lie = content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:]
        yield _written(folder / f"{name}.png", lie)


def _jpeg_small(folder: Path) -> Iterator[Path]:
    for name, samples, options in (
        ("grey", 1, {}),
        ("colour", 3, {}),
        ("progressive", 3, {"progressive": True}),
        ("restarts", 3, {"restart_marker_rows": 1}),
    ):
        path = folder / f"{name}.jpg"
        Image.fromarray(_pixels(30, 26, samples)).save(path, "JPEG", **options)
        yield path


def _jpeg_large(folder: Path) -> Path:
    path = folder / "large.jpg"
    Image.fromarray(_pixels(2048, 2048, 3)).save(path, "JPEG")
    return path


def _jpeg_liars(folder: Path) -> Iterator[Path]:
    path = next(iter(_jpeg_small(folder)))
    content = path.read_bytes()
    path.unlink()
    start = content.index(b"\xff\xc0") + 5
    for name, rows, columns in (("sides", 65535, 65535), ("large", 16000, 16000)):
        lie = content[:start] + rows.to_bytes(2, "big") + columns.to_bytes(2, "big") + content[start + 4 :]
        yield _written(folder / f"{name}.jpg", lie)


SAMPLES: Mapping[str, Samples] = {
    "dicom": Samples(_dicom_small, _dicom_large, _dicom_liars),
    "nifti": Samples(_nifti_small, _nifti_large, _nifti_liars),
    "png": Samples(_png_small, _png_large, _png_liars),
    "jpeg": Samples(_jpeg_small, _jpeg_large, _jpeg_liars),
}
"""By the reader's name."""
