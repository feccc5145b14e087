"""DICOM files: native and compressed, of one frame and of several."""

from __future__ import annotations

import imarium.formats.dicom.guard  # isort: skip  # noqa: F401 - before anything that imports pydicom

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
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

from imarium.testing.dicom_files import make_dataset, write_file
from imarium.testing.frames import smooth_frames


def small(folder: Path) -> Iterator[Path]:
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


def large(folder: Path) -> Path:
    dataset = make_dataset(np.tile(smooth_frames(4, 512, 512), (8, 1, 1)), NumberOfFrames=32)
    return write_file(folder / "large.dcm", dataset)


def liars(folder: Path) -> Iterator[Path]:
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
