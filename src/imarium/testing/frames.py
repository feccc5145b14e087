"""Generators of frames: any type, any shape, any values, and pictures that look like images."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from imarium.model import Series

DTYPES = (
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
    "float16", "float32", "float64", "complex64", "complex128",
)  # fmt: skip
"""Every type of stored value."""


def frames_of(dtypes: tuple[str, ...], most: int = 80) -> st.SearchStrategy[NDArray[Any]]:
    """Frames from 1x1 up, with 1 to 4 samples, of any values that their type has."""
    shapes = st.tuples(st.integers(1, most), st.integers(1, most), st.integers(1, 4)).map(
        lambda shape: shape[:2] if shape[2] == 1 else shape
    )
    return st.sampled_from(dtypes).flatmap(lambda name: hnp.arrays(np.dtype(name), shapes))


def series_of(frame: NDArray[Any], frames: int = 1, **facts: Any) -> Series:
    """The series that a frame belongs to."""
    samples = frame.shape[2] if frame.ndim == 3 else 1
    photometric = {3: "RGB", 4: "RGB"}.get(samples, "MONOCHROME2")
    known: dict[str, Any] = {
        "uid": "1.2.3", "study_uid": "1.2", "format": "nifti", "frames": frames,
        "rows": frame.shape[0], "columns": frame.shape[1], "dtype": frame.dtype.name,
        "samples": samples, "photometric": photometric,
    }  # fmt: skip
    return Series(**{**known, **facts})


def smooth_frames(frames: int, rows: int, columns: int, dtype: str = "int16", seed: int = 0) -> NDArray[Any]:
    """(frames, rows, columns) of soft waves with noise, in -900 to 900 or, unsigned, 0 to 200."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    waves = np.stack([np.sin(x / 17 + number / 5) * np.cos(y / 23) for number in range(frames)])
    noisy = waves + rng.normal(0, 0.02, waves.shape)
    if np.dtype(dtype).kind == "u":
        return np.clip(100 + 90 * noisy, 0, 200).astype(dtype)
    return np.clip(850 * noisy, -900, 900).astype(dtype)
