"""What is written as PNG, and what PNG cannot hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from imarium.errors import ExportRefusedError, InvalidRequestError
from imarium.formats.raster import PngWriter
from imarium.formats.rendering import default_window, render_8bit
from imarium.model import Rendition, Series


def _series(**changes: Any) -> Series:
    values: dict[str, Any] = {
        "uid": "2.25.1",
        "study_uid": "2.25.2",
        "format": "dicom",
        "frames": 3,
        "rows": 4,
        "columns": 5,
        "dtype": "int16",
    }
    return Series(**(values | changes))


def _frames(series: Series, top: int = 100) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(1)
    low = 0 if np.dtype(series.dtype).kind == "u" else -top
    return [rng.integers(low, top, series.frame_shape).astype(series.dtype) for _ in range(series.frames)]


def test_rendered_frames_go_to_a_folder(tmp_path: Path) -> None:
    series = _series(rescale_intercept=-50.0)
    frames = _frames(series)
    for window in (None, (0.0, 50.0)):
        out = tmp_path / f"{window}"
        paths = PngWriter(window).write(Rendition(series, series, frames, {}), out)
        assert [path.name for path in paths] == ["00001.png", "00002.png", "00003.png"]
        used = window or default_window(frames, series)
        for path, frame in zip(paths, frames, strict=True):
            expected = render_8bit(frame, series, used)
            assert np.array_equal(np.asarray(Image.open(path)), expected)
        assert sorted(out.iterdir()) == paths


def test_the_series_window_is_used(tmp_path: Path) -> None:
    series = _series(frames=1, window_center=10.0, window_width=40.0)
    frames = _frames(series)
    out = tmp_path / "a.png"
    assert PngWriter().write(Rendition(series, series, frames, {}), out) == [out]
    expected = render_8bit(frames[0], series, (10.0, 40.0))
    assert np.array_equal(np.asarray(Image.open(out)), expected)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int8", "int16", "int32", "uint32", "int64", "uint64"])
def test_full_depth_gives_back_stored_values(dtype: str, tmp_path: Path) -> None:
    series = _series(dtype=dtype)
    frames = _frames(series, 100 if dtype.endswith("8") and len(dtype) < 6 else 30000)
    paths = PngWriter(full=True).write(Rendition(series, series, frames, {}), tmp_path / "a")
    for path, frame in zip(paths, frames, strict=True):
        image = Image.open(path)
        offset = int(image.info.get("imarium:offset", 0))
        assert image.mode == "I;16"
        assert np.array_equal(np.asarray(image).astype(np.int64) + offset, frame)
        assert (offset < 0) == (np.dtype(dtype).kind == "i")


@pytest.mark.parametrize(
    ("changes", "full"),
    [
        ({"dtype": "float32"}, True),
        ({"dtype": "uint8", "samples": 3, "photometric": "RGB"}, True),
        ({"dtype": "float32", "samples": 3, "photometric": "RGB"}, False),
        ({"format": "png", "dtype": "int16"}, False),
    ],
)
def test_refused_exports(changes: dict[str, Any], full: bool, tmp_path: Path) -> None:
    series = _series(**changes)
    with pytest.raises(ExportRefusedError):
        PngWriter(full=full).write(Rendition(series, series, _frames(series), {}), tmp_path / "a")


def test_ranges_and_options_that_are_refused(tmp_path: Path) -> None:
    series = _series(dtype="int32")
    with pytest.raises(ExportRefusedError, match="65536"):
        PngWriter(full=True).write(Rendition(series, series, _frames(series, 10**6), {}), tmp_path / "a")
    with pytest.raises(InvalidRequestError):
        PngWriter((40, 400), full=True)
    with pytest.raises(InvalidRequestError):
        PngWriter((40, 0)).write(Rendition(series, series, _frames(series), {}), tmp_path / "a")


def test_frames_with_slopes_of_their_own(tmp_path: Path) -> None:
    series = Series(
        "1", "2", "dicom", 2, 1, 3, "int16",
        frame_rescale=((1.0, 0.0), (100.0, 0.0)), window_center=100.0, window_width=201.0,
    )  # fmt: skip
    frame = np.array([[0, 1, 2]], dtype=np.int16)
    paths = PngWriter().write(Rendition(series, series, [frame, frame], {}), tmp_path / "out")
    assert [imagecodecs.png_decode(path.read_bytes()).tolist() for path in paths] == [
        [[1, 2, 3]],
        [[1, 128, 255]],
    ]
