"""Every transfer syntax of PS3.6 is read with the pixels that were written, or refused with a reason."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from imarium.errors import UnsupportedFileError
from imarium.formats.base import Refusal
from imarium.formats.dicom import DicomWriter
from imarium.model import Rendition
from imarium.testing.dicom_files import elements, make_dataset, write_file

Pixels = np.ndarray[Any, Any]

NATIVE = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)

_JPEG = "1.2.840.10008.1.2.4."


def _rle(pixels: Pixels) -> bytes:
    options = {
        "rows": pixels.shape[0],
        "columns": pixels.shape[1],
        "samples_per_pixel": 1 if pixels.ndim == 2 else 3,
        "photometric_interpretation": "MONOCHROME2" if pixels.ndim == 2 else "RGB",
        "bits_allocated": pixels.dtype.itemsize * 8,
        "bits_stored": pixels.dtype.itemsize * 8,
        "pixel_representation": 0,
        "number_of_frames": 1,
    }
    if pixels.ndim == 3:
        options["planar_configuration"] = 0
    encoded: bytes = RLELosslessEncoder.encode(pixels, **options)
    return encoded


def _jpeg2000(pixels: Pixels) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True, mct=False))


LOSSLESS: dict[str, Callable[[Pixels], bytes]] = {
    RLELossless: _rle,
    f"{_JPEG}57": lambda pixels: imagecodecs.ljpeg_encode(pixels),
    f"{_JPEG}70": lambda pixels: imagecodecs.ljpeg_encode(pixels),
    f"{_JPEG}80": lambda pixels: imagecodecs.jpegls_encode(pixels),
    f"{_JPEG}90": _jpeg2000,
    f"{_JPEG}91": _jpeg2000,
    f"{_JPEG}201": lambda pixels: imagecodecs.htj2k_encode(pixels, reversible=True),
    f"{_JPEG}202": lambda pixels: imagecodecs.htj2k_encode(pixels, reversible=True, tlm=True),
    f"{_JPEG}203": lambda pixels: imagecodecs.htj2k_encode(pixels, reversible=True),
}
LOSSY: dict[str, tuple[Callable[[Pixels], bytes], Callable[[bytes], Pixels]]] = {
    f"{_JPEG}50": (imagecodecs.jpeg8_encode, imagecodecs.jpeg8_decode),
    f"{_JPEG}51": (imagecodecs.jpeg8_encode, imagecodecs.jpeg8_decode),
    f"{_JPEG}81": (lambda pixels: imagecodecs.jpegls_encode(pixels, level=3), imagecodecs.jpegls_decode),
    f"{_JPEG}91": (
        lambda pixels: imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=False, level=40),
        imagecodecs.jpeg2k_decode,
    ),
    f"{_JPEG}203": (
        lambda pixels: imagecodecs.htj2k_encode(pixels, reversible=False, level=0.01),
        imagecodecs.htj2k_decode,
    ),
}
READ = {*NATIVE, *LOSSLESS, *LOSSY}


def _picture(dtype: str, samples: int = 1) -> Pixels:
    rows, columns = 44, 50
    smooth = np.add.outer(np.arange(rows) * 3, np.arange(columns) * 2)
    noise = np.random.default_rng(0).integers(0, 9, (rows, columns, samples))
    made = np.clip(smooth[..., None] + noise, 0, np.iinfo(dtype).max).astype(dtype)
    return made if samples > 1 else made[..., 0]


def _encapsulated(path: Path, pixels: Pixels, codestream: bytes, syntax: str) -> Path:
    dataset = make_dataset(pixels)
    dataset.PixelData = encapsulate([codestream])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return write_file(path, dataset, UID(syntax))


def _check(path: Path, read: Any, expected: Pixels, target: Path) -> None:
    """What is read is what was expected, and so is what is written again."""
    (source,) = read(path)
    assert not isinstance(source, Refusal), source.error
    (frame,) = source.read_frames()
    assert frame.dtype == expected.dtype
    assert np.array_equal(frame, expected)
    (written,) = DicomWriter().write(
        Rendition(source.series, source.series, source.read_frames(), source.attachments), target
    )
    after = dcmread(written)
    assert np.array_equal(after.pixel_array, expected)
    assert elements(after) == elements(dcmread(path))


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda uid: uid.name)
@pytest.mark.parametrize(("dtype", "samples"), [("uint8", 1), ("uint16", 1), ("int16", 1), ("uint8", 3)])
def test_native(tmp_path: Path, read: Any, syntax: UID, dtype: str, samples: int) -> None:
    pixels = _picture(dtype, samples)
    dataset = make_dataset(pixels)
    if syntax == ExplicitVRBigEndian:  # OW: bytes are swapped within words, whatever the pixels are
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()
        dataset["PixelData"].VR = "OW"
    _check(write_file(tmp_path / "a", dataset, syntax), read, pixels, tmp_path / "b.dcm")


KINDS = [
    (syntax, dtype, samples)
    for syntax in LOSSLESS
    for dtype, samples in (("uint8", 1), ("uint16", 1), ("uint8", 3))
    if samples == 1 or syntax not in (f"{_JPEG}57", f"{_JPEG}70")  # what encodes them here has no colours
]


@pytest.mark.parametrize(("syntax", "dtype", "samples"), KINDS)
def test_lossless(tmp_path: Path, read: Any, syntax: str, dtype: str, samples: int) -> None:
    pixels = _picture(dtype, samples)
    path = _encapsulated(tmp_path / "a", pixels, bytes(LOSSLESS[syntax](pixels)), syntax)
    _check(path, read, pixels, tmp_path / "b.dcm")


@pytest.mark.parametrize("syntax", LOSSY, ids=lambda uid: UID(uid).name)
def test_lossy(tmp_path: Path, read: Any, syntax: str) -> None:
    pixels = _picture("uint8")
    encode, decode = LOSSY[syntax]
    codestream = bytes(encode(pixels))
    expected = np.asarray(decode(codestream))
    assert not np.array_equal(expected, pixels)
    path = _encapsulated(tmp_path / "a", pixels, codestream, syntax)
    _check(path, read, expected, tmp_path / "b.dcm")
    (source,) = read(path)
    assert any("lossy before it came here" in note for note in source.series.notes)


@pytest.mark.parametrize("syntax", sorted(set(AllTransferSyntaxes) - READ), ids=lambda uid: UID(uid).name)
def test_all_others_are_refused(tmp_path: Path, read: Any, syntax: UID) -> None:
    path = _encapsulated(tmp_path / "a", _picture("uint8"), _jpeg2000(_picture("uint8")), JPEG2000Lossless)
    content = path.read_bytes()
    old = JPEG2000Lossless.encode() + b"\0" * (len(JPEG2000Lossless) % 2)
    new = syntax.encode() + b"\0" * (len(syntax) % 2)
    at = content.index(old)
    start = bytearray(content[:at])
    start[-2:] = len(new).to_bytes(2, "little")
    grown = int.from_bytes(start[140:144], "little") + len(new) - len(old)
    start[140:144] = grown.to_bytes(4, "little")
    path.write_bytes(bytes(start) + new + content[at + len(old) :])
    (found,) = read(path)
    assert isinstance(found, Refusal)
    assert isinstance(found.error, UnsupportedFileError), found.error
    assert "no decoder for it is installed" in str(found.error)


def test_whatever_pydicom_can_decode_here_is_read() -> None:
    """In a process of its own, since pydicom loads every decoder that is installed."""
    code = """
from pydicom.pixels import get_decoder
from pydicom.uid import AllTransferSyntaxes
for uid in AllTransferSyntaxes:
    try:
        if get_decoder(uid).is_available:
            print(uid)
    except NotImplementedError:
        pass
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    decoded = set(done.stdout.split())
    assert len(decoded) >= 12
    assert decoded <= READ
