"""Other codecs on the frames that storage.py measures; each must give the same values back."""

from __future__ import annotations

import gzip
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import imagecodecs
import nibabel
import numpy as np
from numpy.typing import NDArray

from imarium.model import Series
from storage_results import ImageResult, Size

Frames = list[NDArray[Any]]


class Unfit(Exception):  # noqa: N818 - a verdict, not an error
    """The codec cannot hold these values."""


def add_codecs(result: ImageResult, frames: Frames, ours: Sequence[int], series: Series) -> None:
    packed = gzip_nifti(frames, series)
    if packed is not None:
        result.codecs["gzip NIfTI"] = Size(packed, sum(ours), len(frames))
    unsigned = [as_unsigned(frame) for frame in frames]
    for name, encode, decode in (
        ("JPEG-LS", imagecodecs.jpegls_encode, imagecodecs.jpegls_decode),
        ("JPEG XL", _jpegxl, imagecodecs.jpegxl_decode),
        ("PNG", _png, imagecodecs.png_decode),
    ):
        size = Size()
        for number, values in enumerate(unsigned):
            if values is None:
                continue
            try:
                data = encode(values)
                exact = np.array_equal(decode(data), values)
            except (ValueError, RuntimeError):
                continue  # a shape that the codec does not have (two samples, three of 16 bits)
            if exact:
                size.add(Size(len(data), ours[number], 1))
        if size.frames:
            result.codecs[name] = size
    peer, fails = Size(), Counter[str]()
    low = min((int(frame.min()) for frame in frames if frame.dtype.kind in "iub"), default=0)
    for number, frame in enumerate(frames):
        try:
            peer.add(Size(peer_bytes(frame, series, min(low, 0)), ours[number], 1))
        except Unfit as verdict:
            fails[str(verdict)] += 1
    if peer.frames:
        result.codecs["peer"] = peer
    result.peer_fails = dict(fails)


def _jpegxl(values: NDArray[Any]) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(values, lossless=True, effort=7, numthreads=1))


def _png(values: NDArray[Any]) -> bytes:
    return bytes(imagecodecs.png_encode(values, level=6))


def as_unsigned(frame: NDArray[Any]) -> NDArray[Any] | None:
    """The frame as uint8 or uint16, less its minimum where that is needed; None if it does not fit.

    Floats that hold whole numbers are taken as those: the other codecs are given every chance.
    """
    if frame.dtype.kind == "f":
        whole = _whole(frame)
        if whole is None:
            return None
        frame = whole
    if frame.dtype.kind not in "iub":
        return None
    if frame.dtype in (np.dtype(np.uint8), np.dtype(np.uint16)):
        return np.ascontiguousarray(frame)
    low, high = int(frame.min()), int(frame.max())
    if high - low > 65535:
        return None
    shift = low if low < 0 or high > 65535 else 0
    kind = np.uint8 if high - shift < 256 else np.uint16
    return np.ascontiguousarray((frame.astype(np.int64) - shift).astype(kind))


def _whole(frame: NDArray[Any]) -> NDArray[Any] | None:
    if not np.isfinite(frame).all() or np.abs(frame).max(initial=0) > 2**52:
        return None
    rounded = np.rint(frame)
    return rounded.astype(np.int64) if np.array_equal(rounded, frame) else None


def peer_bytes(frame: NDArray[Any], series: Series, low: int) -> int:
    """Bytes with the peer's settings: values less `low` as unsigned 16 bits, HTJ2K, as many decompositions as
    leave a smallest level of 64: floor(log2(min(rows, columns) / 64)), and one where that gives none."""
    if frame.dtype.kind == "f":
        whole = _whole(frame)
        if whole is None:
            raise Unfit("floating point: fractions would be lost")
        frame, low = whole, min(0, int(whole.min()))
    if frame.dtype.kind not in "iub":
        raise Unfit(f"{frame.dtype.name} is no number that fits 16 bits")
    if frame.ndim == 3 and frame.dtype.itemsize > 1:
        raise Unfit("colour of 16 bits: refused")
    if int(frame.max()) - low > 65535:
        raise Unfit("integers that span more than 16 bits: would be clipped")
    shifted = (frame.astype(np.int64) - low).astype(np.uint16)
    rgb = series.photometric == "RGB" if frame.ndim == 3 else None
    halvings = max(1, int(math.log2(max(1, min(frame.shape[:2]) / 64))))
    data = bytes(imagecodecs.htj2k_encode(shifted, rgb=rgb, resolutions=halvings, reversible=True))
    if not np.array_equal(imagecodecs.htj2k_decode(data, planar=False), shifted):
        raise Unfit("decodes to other values (the wavelet of unsigned values wraps below zero)")
    return len(data)


def gzip_nifti(frames: Frames, series: Series) -> int | None:
    """Bytes of a .nii.gz of the frames, gzip level 6; None if NIfTI has no type for them."""
    if series.samples == 1:
        if np.dtype(series.dtype).kind == "b":
            frames = [frame.astype(np.uint8) for frame in frames]
        if frames[0].dtype == np.float16:
            return None
    elif series.samples not in (3, 4) or series.dtype != "uint8":
        return None
    content = bytes(nibabel.Nifti1Header().binaryblock) + bytes(4)
    content += b"".join(np.ascontiguousarray(frame).tobytes() for frame in frames)
    return len(gzip.compress(content, compresslevel=6, mtime=0))
