"""Encoded frames to the numbers that are trained on, written straight into a batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from imarium.codec import decode_frame
from imarium.codec.color import ybr_full_to_rgb
from imarium.errors import InvalidRequestError
from imarium.manifest import Manifest
from imarium.model import Series
from imarium.model.series import Frame
from imarium.torch.fetching import Fetched
from imarium.torch.items import Items, Place, Size

Window = tuple[float, float] | Literal["default"] | None

_LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601, as most decoders make grey of colours."""
_WIDE_BYTES = 4
"""Integers of so many bytes are not exact in float32."""

Decode = Callable[[Fetched, int, int], Frame]
"""Stored values of a frame at a level, from the parts that were fetched."""


def decode_on_cpu(fetched: Fetched, frame: int, level: int) -> Frame:
    """By the codec of the package, in the calling thread."""
    index = fetched.index
    return decode_frame(
        int(index.lanes[frame]),
        index.params[frame].tobytes(),
        fetched.parts(frame),
        index.series,
        index.decompositions,
        level,
    )


@dataclass(frozen=True)
class Form:
    """What becomes of stored values."""

    size: Size | None
    window: Window
    dtype: torch.dtype
    channels: int | None
    volume: bool

    @property
    def stored(self) -> bool:
        """Whether stored values are given as they are."""
        return not self.dtype.is_floating_point

    def shape(self, items: Items, place: Place) -> tuple[int, ...]:
        """Of a sample: (channels, rows, columns), or (channels, slices, rows, columns)."""
        channels = self.channels or int(items.channels[place.row])
        if self.size is None:
            rows, columns = items.shape[place.row].tolist()
        elif isinstance(self.size, int):
            rows = columns = self.size
        else:
            rows, columns = self.size[-2:]
        if not self.volume:
            return channels, rows, columns
        slices = self.size[0] if isinstance(self.size, tuple) and len(self.size) == 3 else place.count
        return channels, slices, rows, columns

    def working_dtype(self, stored: str) -> torch.dtype:
        """The type in which stored values of a type are rescaled and resampled."""
        if self.dtype == torch.float64:
            return torch.float64
        kind = np.dtype(stored)
        wide = self.stored and (kind.kind == "f" or kind.itemsize >= _WIDE_BYTES)
        return torch.float64 if wide else torch.float32


class Decoder:
    """Makes samples. Safe to use from several threads."""

    def __init__(self, items: Items, form: Form, decode: Decode = decode_on_cpu) -> None:
        self._items, self._form, self._decode = items, form, decode
        self.dtype = form.dtype

    def shape(self, place: Place) -> tuple[int, ...]:
        """Of a sample."""
        return self._form.shape(self._items, place)

    def fill(self, fetched: Fetched, place: Place, out: torch.Tensor) -> None:
        """Decode a sample into `out`, of `Form.shape`.

        Raises IntegrityError for bytes that do not decode, and InvalidRequestError where there is no default
        window.
        """
        form, items, series = self._form, self._items, fetched.index.series
        level = int(items.level[place.row])
        before = (place.count, *items.shape[place.row].tolist())
        slices = out.shape[1] if form.volume else 1
        after = (slices, *items.fitted[place.row].tolist())
        working = form.working_dtype(series.dtype)
        if before == after and before[1:] == out.shape[-2:] and (form.stored or form.dtype == working):
            target = out
        else:
            dtype = form.dtype if form.stored and before == after else working
            target = torch.empty((out.shape[0], *before), dtype=dtype)
        array = target.numpy().reshape(out.shape[0], *before)
        for number in range(place.count):
            frame = self._decode(fetched, place.first + number, level)
            if form.stored:
                _spread(frame, array[:, number])
            else:
                self._write(frame, series, place.first + number, array[:, number])
        if target is not out:
            made = resampled(target, *after, nearest=series.label_map)
            made = _cropped(made, *out.shape[-2:])
            if form.stored and made.is_floating_point():
                made = made.round_()
            target = made
        if form.window is not None:
            values = target.numpy()
            np.clip(values, 0, 1, out=values)
            if series.photometric == "MONOCHROME1":
                np.subtract(1, values, out=values)
        if target is not out:
            out.copy_(target.reshape(out.shape))

    def _write(self, frame: Frame, series: Series, number: int, out: NDArray[Any]) -> None:
        """One frame into (channels, rows, columns), in the series' own unit, or with its window from 0 to 1."""
        if frame.ndim == 3:
            if series.photometric in ("YBR_FULL", "YBR_FULL_422") and frame.dtype == np.uint8:
                frame = ybr_full_to_rgb(frame)
            if len(out) == 1 and frame.shape[-1] > 2:
                frame = frame[..., :3] @ _LUMA
        _spread(frame, out)
        slope, intercept = series.rescale_of(number)
        if self._form.window is None:
            if slope != 1.0:
                out *= out.dtype.type(slope)
            if intercept != 0.0:
                out += out.dtype.type(intercept)
            return
        low, high = limits(series, self._form.window, number)
        factor = 1.0 / (high - low)
        out *= out.dtype.type(slope * factor)
        out += out.dtype.type((intercept - low) * factor)


def check_form(form: Form, manifest: Manifest, items: Items) -> None:
    """Raises InvalidRequestError for numbers that the series cannot give."""
    window, count = form.window, len(manifest)
    own = window is None or window == "default"
    if not own and not (len(window) == 2 and all(map(math.isfinite, window)) and window[1] > 0):
        raise InvalidRequestError('a window is (center, width) with a width above 0, or "default"')
    if form.channels not in (None, 1, 3):
        raise InvalidRequestError("channels are 1, 3, or None for those that are stored")
    kinds = sorted(set(items.channels.tolist()))
    if form.channels is None and form.size is not None and len(kinds) > 1:
        raise InvalidRequestError(
            f"some series have {kinds[0]} values a pixel and others {kinds[-1]}; say channels=1 or channels=3"
        )
    types = set(manifest.table["dtype"].to_pylist())
    if any(np.dtype(name).kind == "c" for name in types):
        raise InvalidRequestError("complex numbers are not trained on here; choose other series")
    if not form.stored:
        return
    if window is not None or form.channels is not None:
        raise InvalidRequestError(
            "stored values (an integer dtype) have no window, and the channels they have"
        )
    target = torch.empty(0, dtype=form.dtype).numpy().dtype
    unfit = sorted(name for name in types if not np.can_cast(np.dtype(name), target))
    if unfit:
        raise InvalidRequestError(
            f"some of {count} series store {', '.join(unfit)}, which {target.name} does not hold exactly"
        )


def limits(
    series: Series, window: tuple[float, float] | Literal["default"], number: int
) -> tuple[float, float]:
    """The rescaled values that become 0 and 1: the LINEAR window of PS3.3 C.11.2.1.2.1, LINEAR_EXACT for
    widths up to 1.

    Without a window of its own, integers of a series go from the smallest to the largest that its bits hold.
    Raises InvalidRequestError where nothing says so.
    """
    if window != "default":
        center, width = window
    elif series.window_center is not None and (series.window_width or 0) > 0:
        center, width = series.window_center, series.window_width or 1.0
    else:
        return _range_of_bits(series, number)
    if not (math.isfinite(center) and math.isfinite(width)):
        return _range_of_bits(series, number)
    if width <= 1:
        return center - width / 2, center + width / 2
    return center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2


def _range_of_bits(series: Series, number: int) -> tuple[float, float]:
    dtype = np.dtype(series.dtype)
    bits = series.bits_stored or (8 if dtype == np.uint8 else None)
    if bits is None or dtype.kind not in "iu":
        raise InvalidRequestError(
            f"a series of {series.dtype} says no window, and not how many bits it uses; give window=(center, "
            "width)"
        )
    low, high = (0, 2**bits - 1) if dtype.kind == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    slope, intercept = series.rescale_of(number)
    first, second = low * slope + intercept, high * slope + intercept
    return min(first, second), max(first, second)


def _spread(frame: Any, out: NDArray[Any]) -> None:
    """Values of (rows, columns) or (rows, columns, samples) into (channels, rows, columns); grey is repeated,
    and alpha left out where it has no channel."""
    if frame.ndim == 2:
        out[...] = frame
        return
    colours = frame.shape[-1] if frame.shape[-1] > 2 or len(out) == 2 else 1
    for channel, plane in enumerate(out):
        np.copyto(plane, frame[..., min(channel, colours - 1)], casting="unsafe")


def resampled(
    frames: torch.Tensor, slices: int, rows: int, columns: int, *, nearest: bool = False
) -> torch.Tensor:
    """(channels, slices, rows, columns) of another size; the outer edges stay where they are.

    Linear interpolation with antialiasing, as `imarium.codec.resample` does it; `nearest` for label maps.
    """
    mode: dict[str, Any] = {"mode": "nearest-exact"} if nearest else {"mode": "bilinear", "antialias": True}
    before = frames.shape
    if frames.ndim == 3:
        frames = frames.unsqueeze(1)
    if frames.shape[-2:] != (rows, columns):
        frames = functional.interpolate(frames, (rows, columns), **mode)
    if frames.shape[1] != slices:
        flat = frames.reshape(before[0], 1, -1, rows * columns)
        frames = functional.interpolate(flat, (slices, rows * columns), **mode)
    return frames.reshape(before[0], slices, rows, columns)


def _cropped(frames: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """The middle of each frame."""
    top, left = (frames.shape[-2] - rows) // 2, (frames.shape[-1] - columns) // 2
    return frames[..., top : top + rows, left : left + columns]
