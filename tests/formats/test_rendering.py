"""Rendering for display, against the formulas of PS3.3 C.11.2.1.2.1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imarium.codec.color import to_rgb
from imarium.errors import ExportRefusedError, InvalidRequestError
from imarium.formats.rendering import default_window, render_8bit, rescaled
from imarium.model import Series


def _series(**changes: Any) -> Series:
    values: dict[str, Any] = {
        "uid": "2.25.1",
        "study_uid": "2.25.2",
        "format": "dicom",
        "frames": 1,
        "rows": 1,
        "columns": 5,
        "dtype": "int16",
    }
    return Series(**(values | changes))


def _linear(x: float, c: float, w: float) -> float:
    """The pseudo-code of C.11.2.1.2.1, word for word."""
    if x <= c - 0.5 - (w - 1) / 2:
        return 0.0
    if x > c - 0.5 + (w - 1) / 2:
        return 255.0
    return ((x - (c - 0.5)) / (w - 1) + 0.5) * 255


@given(
    values=st.lists(st.integers(-32768, 32767), min_size=1, max_size=20),
    center=st.integers(-2000, 2000),
    width=st.integers(1, 5000),
    slope=st.sampled_from([1.0, 0.5, -2.0]),
)
def test_linear_window(values: list[int], center: int, width: int, slope: float) -> None:
    series = _series(rescale_slope=slope, rescale_intercept=-1024.0)
    shown = render_8bit(np.array([values], dtype=np.int16), series, (center, width))
    expected = [_linear(value * slope - 1024, center, width) for value in values]
    assert np.abs(shown[0] - np.array(expected)).max() <= 0.5 + 1e-9
    inverse = render_8bit(
        np.array([values], dtype=np.int16),
        _series(rescale_slope=slope, rescale_intercept=-1024.0, photometric="MONOCHROME1"),
        (center, width),
    )
    assert np.array_equal(inverse, 255 - shown)


def test_example_of_the_standard() -> None:
    """C.11.2.1.2.1, note 3: center 2048 and width 4096 map 0 to 4095 to the whole range."""
    frame = np.array([[0, 2047, 2048, 4095, 5000]], dtype=np.int16)
    assert render_8bit(frame, _series(), (2048, 4096)).tolist() == [[0, 127, 128, 255, 255]]
    assert render_8bit(frame, _series(), (2048, 1)).tolist() == [[0, 0, 255, 255, 255]]


def test_windows_below_one_are_exact() -> None:
    frame = np.array([[0.0, 0.25, 0.5, 0.75, 1.0]], dtype=np.float32)
    assert render_8bit(frame, _series(dtype="float32"), (0.5, 0.5)).tolist() == [[0, 0, 128, 255, 255]]


def test_default_windows() -> None:
    frame = np.arange(1000, dtype=np.int16).reshape(1, 1000)
    own = _series(columns=1000, window_center=40.0, window_width=400.0)
    assert default_window([frame], own) == (40.0, 400.0)
    assert np.array_equal(render_8bit(frame, own), render_8bit(frame, own, (40, 400)))
    useless = _series(columns=1000, window_center=40.0, window_width=0.0)
    center, width = default_window([frame], useless)
    low, high = np.percentile(frame, [0.5, 99.5])
    assert (center - width / 2, width - 1) == pytest.approx((low, high - low))
    shown = render_8bit(frame, useless)
    assert (shown.min(), shown.max(), shown[0, 500]) == (0, 255, 128)
    assert default_window([], _series()) == (0.5, 1.0)


def test_odd_values() -> None:
    series = _series(dtype="float32")
    frame = np.array([[np.nan, -np.inf, 0, 1, np.inf]], dtype=np.float32)
    assert render_8bit(frame, series).tolist() == [[0, 0, 0, 255, 255]]
    assert render_8bit(np.full((1, 5), np.nan, dtype=np.float32), series).tolist() == [[0] * 5]
    assert render_8bit(np.full((1, 5), 7, dtype=np.float32), series).tolist() == [[0] * 5]
    mask = np.zeros((1, 1000), dtype=np.uint8)
    mask[0, 0] = 1
    assert render_8bit(mask, _series(dtype="uint8")).max() == 255
    waves = np.array([[0, 3 + 4j]], dtype=np.complex64)
    assert rescaled(waves, _series(dtype="complex64")).tolist() == [[0, 5]]
    assert render_8bit(waves, _series(dtype="complex64")).tolist() == [[0, 255]]


@pytest.mark.parametrize("window", [(0, 0), (0, -5), (float("nan"), 5), (0, float("inf"))])
def test_senseless_windows(window: tuple[float, float]) -> None:
    with pytest.raises(InvalidRequestError):
        render_8bit(np.zeros((1, 5), dtype=np.int16), _series(), window)


def test_palette() -> None:
    series = _series(photometric="PALETTE COLOR", palette=((1, 2, 3), (4, 5, 6)), dtype="uint8")
    shown = render_8bit(np.array([[0, 1, 200]], dtype=np.uint8), series)
    assert shown.tolist() == [[[1, 2, 3], [4, 5, 6], [4, 5, 6]]]


def test_colours() -> None:
    rgb = np.array([[[0, 100, 255], [1, 2, 3]]], dtype=np.uint8)
    series = _series(dtype="uint8", samples=3, photometric="RGB")
    assert np.array_equal(render_8bit(rgb, series), rgb)
    alpha = np.concatenate([rgb, rgb[..., :1]], axis=-1)
    assert np.array_equal(render_8bit(alpha, _series(dtype="uint8", samples=4, photometric="RGB")), rgb)
    deep = rgb.astype(np.uint16) * 257
    assert np.array_equal(render_8bit(deep, _series(dtype="uint16", samples=3, photometric="RGB")), rgb)
    twelve = np.array([[[0, 4095, 2048]]], dtype=np.uint16)
    series = _series(dtype="uint16", samples=3, photometric="RGB", bits_stored=12)
    assert render_8bit(twelve, series).tolist() == [[[0, 255, 128]]]
    with pytest.raises(ExportRefusedError):
        render_8bit(rgb.astype(np.float32), _series(dtype="float32", samples=3, photometric="RGB"))
    grey_alpha = np.array([[[0, 9], [255, 9]]], dtype=np.uint8)
    assert render_8bit(grey_alpha, _series(dtype="uint8", samples=2)).tolist() == [[0, 255]]


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422"])
def test_ybr(photometric: str) -> None:
    series = _series(dtype="uint8", samples=3, photometric=photometric)
    ybr = np.array([[[76, 85, 255], [150, 44, 21], [29, 255, 107], [128, 128, 128]]], dtype=np.uint8)
    expected = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [128, 128, 128]]])
    assert np.abs(render_8bit(ybr, series).astype(int) - expected).max() <= 2
    assert np.array_equal(render_8bit(ybr, series), to_rgb(ybr, series))
    with pytest.raises(ExportRefusedError, match="YBR_PARTIAL_420"):
        render_8bit(ybr, _series(dtype="uint8", samples=3, photometric="YBR_PARTIAL_420"))


def test_frames_with_slopes_of_their_own() -> None:
    series = _series(frames=2, frame_rescale=((1.0, 0.0), (2.0, 10.0)))
    frame = np.array([[0, 1, 2, 3, 4]], dtype=np.int16)
    assert rescaled(frame, series, 1).tolist() == [[10, 12, 14, 16, 18]]
    assert rescaled(frame, series).tolist() == rescaled(frame, series, 0).tolist() == [[0, 1, 2, 3, 4]]
    shown = render_8bit(frame, series, (10, 21), 1)
    assert np.array_equal(shown, render_8bit(rescaled(frame, series, 1), _series(dtype="float64"), (10, 21)))
    center, width = default_window([frame, frame], series, range(2))
    assert (center - width / 2, center + width / 2) == pytest.approx((0, 19), abs=0.2)
