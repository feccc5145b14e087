"""NumPy files: what numpy.load gives back."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imarium.errors import ExportRefusedError, IntegrityError, InvalidRequestError
from imarium.formats.npy import NpyWriter
from imarium.formats.rendering import to_rgb
from imarium.model import Rendition, Series


def _series(**changes: Any) -> Series:
    values: dict[str, Any] = {
        "uid": "2.25.1",
        "study_uid": "2.25.2",
        "format": "dicom",
        "frames": 6,
        "rows": 4,
        "columns": 5,
        "dtype": "int16",
    }
    return Series(**(values | changes))


def _frames(series: Series) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 100, series.frame_shape).astype(series.dtype) for _ in range(series.frames)]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "int64", "float32", "float64", "complex64"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dimensions": (2, 3)},
        {"dimensions": (1, 6)},
        {"frames": 1},
        {"samples": 3, "photometric": "RGB"},
        {"samples": 4, "photometric": "RGB", "frames": 1},
    ],
)
def test_numpy_reads_it_back(dtype: str, changes: dict[str, Any], tmp_path: Path) -> None:
    series = _series(dtype=dtype, **changes)
    frames = _frames(series)
    path = tmp_path / "deep" / "a.npy"
    assert NpyWriter().write(Rendition(series, series, iter(frames), {}), path) == [path]
    array = np.load(path, allow_pickle=False)
    assert array.shape == series.volume_shape
    assert array.dtype == np.dtype(dtype).newbyteorder("<")
    assert np.array_equal(array, np.stack(frames).reshape(series.volume_shape))


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422"])
def test_ybr_becomes_rgb(photometric: str, tmp_path: Path) -> None:
    series = _series(dtype="uint8", samples=3, photometric=photometric)
    frames = _frames(series)
    NpyWriter().write(Rendition(series, series, frames, {}), tmp_path / "a.npy")
    expected = np.stack([to_rgb(frame, series) for frame in frames])
    assert np.array_equal(np.load(tmp_path / "a.npy"), expected)
    assert not np.array_equal(expected, np.stack(frames))


def test_palette_indices_stay_indices(tmp_path: Path) -> None:
    series = _series(dtype="uint8", photometric="PALETTE COLOR", palette=((1, 2, 3),) * 256)
    frames = _frames(series)
    NpyWriter().write(Rendition(series, series, frames, {}), tmp_path / "a.npy")
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.stack(frames))


def test_refusals_leave_nothing_behind(tmp_path: Path) -> None:
    series = _series()
    with pytest.raises(InvalidRequestError, match=r"\.npy"):
        NpyWriter().write(Rendition(series, series, _frames(series), {}), tmp_path / "a.npz")
    with pytest.raises(IntegrityError):
        NpyWriter().write(Rendition(series, series, _frames(series)[1:], {}), tmp_path / "a.npy")
    odd = _series(dtype="uint8", samples=3, photometric="YBR_PARTIAL_422")
    with pytest.raises(ExportRefusedError):
        NpyWriter().write(Rendition(odd, odd, _frames(odd), {}), tmp_path / "a.npy")
    assert list(tmp_path.iterdir()) == []


def test_one_frame_is_in_memory_at_a_time(tmp_path: Path) -> None:
    series = _series(frames=100, rows=256, columns=256)

    def frames() -> Iterator[np.ndarray[Any, Any]]:
        for value in range(100):
            yield np.full((256, 256), value, dtype=np.int16)

    tracemalloc.start()
    NpyWriter().write(Rendition(series, series, frames(), {}), tmp_path / "a.npy")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
    assert np.load(tmp_path / "a.npy", mmap_mode="r")[:, 0, 0].tolist() == list(range(100))
