"""Boxes made blank in stored values; everything outside them stays bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imarium.codec.color import is_ybr
from imarium.deid.pixels.boxes import Box, TextBox
from imarium.errors import InvalidRequestError
from imarium.model import Series, SourceSeries
from imarium.model.series import Frame, SourceCodestream


def blank_value(series: Series) -> NDArray[Any]:
    """What blanked pixels hold: one stored value a sample, `series.dtype` of shape (samples,), shown as
    black.

    Grey of unsigned values: 0, or the largest of the stored bits for MONOCHROME1. Signed values and floats: 0
    of rescaled values would be tissue in a CT, so it is what the rescale makes of -1024 where the unit is HU,
    else the smallest of the stored bits (0 for floats). Palettes: the index of the darkest colour. RGB: 0;
    YBR: luminance 0 without colour. A fourth sample (alpha) is opaque. Label maps: 0.
    """
    dtype = np.dtype(series.dtype)
    top = _top(series, dtype)
    if series.palette:
        darkest = min(range(len(series.palette)), key=lambda index: sum(series.palette[index]))  # type: ignore[index]
        return np.full(series.samples, darkest, dtype)
    if series.samples >= 3:
        value = np.zeros(series.samples, dtype)
        if is_ybr(series) and dtype.kind == "u":
            value[1:3] = (int(top) + 1) // 2
        if series.samples == 4:
            value[3] = top
        return value
    dark: float = 0
    if not series.label_map:
        if series.photometric == "MONOCHROME1":
            dark = top
        elif dtype.kind == "i":
            dark = _lowest(series, dtype)
    value = np.full(series.samples, dark, dtype)
    if series.samples == 2:
        value[1] = top  # opaque
    return value


def _top(series: Series, dtype: np.dtype[Any]) -> float:
    if dtype.kind == "b":
        return 1
    if dtype.kind not in "iu":
        return 1.0
    bits = min(series.bits_stored or dtype.itemsize * 8, dtype.itemsize * 8)
    return (1 << bits) - 1 if dtype.kind == "u" else (1 << bits - 1) - 1


def _lowest(series: Series, dtype: np.dtype[Any]) -> float:
    bits = min(series.bits_stored or dtype.itemsize * 8, dtype.itemsize * 8)
    lowest = -(1 << bits - 1)
    if series.rescale_unit == "HU" or series.modality == "CT":
        air = round((-1024 - series.rescale_intercept) / (series.rescale_slope or 1.0))
        return max(lowest, min(air, -lowest - 1))
    return lowest


def blanked(
    frames: Iterable[Frame], boxes: Sequence[Box], series: Series, value: NDArray[Any] | None = None
) -> Iterator[Frame]:
    """The frames of a series, in order, with the boxes blank: every sample of every pixel is `value`.

    A frame without a box comes through as the object that it is; one with a box is a copy. Boxes may reach
    beyond the last row, column or frame. Raises InvalidRequestError if `value` is not one number a sample, or
    the frames are not of the series' shape.
    """
    filling = blank_value(series) if value is None else np.asarray(value)
    if filling.shape != (series.samples,) or not np.array_equal(filling.astype(series.dtype), filling):
        raise InvalidRequestError(f"a blank value has {series.samples} numbers of type {series.dtype}")
    for index, frame in enumerate(frames):
        if frame.shape != series.frame_shape:
            raise InvalidRequestError(f"a frame of {frame.shape} is none of a series of {series.frame_shape}")
        here = [box for box in boxes if box.first <= index < box.stop]
        yield _blank(frame, here, filling) if here else frame


def _blank(frame: Frame, boxes: Sequence[Box], filling: NDArray[Any]) -> Frame:
    made = frame.copy()
    for box in boxes:
        made[box.top : box.bottom, box.left : box.right] = filling[0] if frame.ndim == 2 else filling
    return made


def blank_text(frames: Iterable[Frame], found: Sequence[TextBox], series: Series) -> Iterator[Frame]:
    """The frames with what was found blank: `blanked` for the boxes of `find_text`."""
    return blanked(frames, [one.box for one in found], series)


def blanked_source(source: SourceSeries, boxes: Sequence[Box]) -> SourceSeries:
    """A source whose frames are read with the boxes blank.

    Frames with a box no longer offer the codestream of their source, which still holds what was blanked: they
    are encoded without loss. The others keep theirs. Attachments are headers and are not touched here.
    """
    series = source.series
    kept = source.codestream

    def codestream(index: int) -> SourceCodestream | None:
        if kept is None or any(box.first <= index < box.stop for box in boxes):
            return None
        return kept(index)

    read: Callable[[], Iterator[Frame]] = source.read_frames
    return replace(
        source,
        read_frames=lambda: blanked(read(), boxes, series),
        codestream=None if kept is None else codestream,
    )
