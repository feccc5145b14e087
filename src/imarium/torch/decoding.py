"""Encoded frames to the numbers that are trained on, written straight into a batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from imarium.codec import decode_frame, decode_integers
from imarium.codec.color import FULL_YBR, ybr_full_to_rgb
from imarium.errors import IntegrityError, InvalidRequestError
from imarium.manifest import Manifest
from imarium.model import Series
from imarium.model.series import Frame
from imarium.model.windows import limits
from imarium.torch.fetching import Encoded, Sample
from imarium.torch.gpu import GpuDecoder
from imarium.torch.items import Items, Size
from imarium.torch.tables import Plan

Window = tuple[float, float] | Literal["default"] | None

_LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601, as most decoders make grey of colours."""
_WIDE_BYTES = 4
"""Integers of so many bytes are not exact in float32."""


def stored_values(encoded: Encoded, into: NDArray[Any] | None = None) -> Frame:
    """A frame at its level, (rows, columns) or (rows, columns, samples), in any type that holds its values.

    Written into an array, and given back as that, where one is given that has its shape. Raises
    IntegrityError.
    """
    plan = encoded.plan
    if encoded.decoded is not None:
        target = encoded.decoded if into is None or into.shape != plan.shape else into
        clipped: Frame = np.clip(encoded.decoded, encoded.low, encoded.high, out=target, casting="unsafe")
        return clipped
    parts = encoded.parts()
    if encoded.plain:
        frame = decode_integers(parts, encoded.low, encoded.high, plan.level, into=into)
        if frame.shape != plan.shape:
            raise IntegrityError(f"a stored frame decodes to {frame.shape} where {plan.shape} was expected")
        return frame
    index, number = plan.index, encoded.frame
    lane, params = int(index.lanes[number]), index.params[number].tobytes()
    return decode_frame(lane, params, parts, index.series, index.decompositions, plan.level)


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

    def shape(self, items: Items, sample: Sample) -> tuple[int, ...]:
        """Of a sample: (channels, rows, columns), or (channels, slices, rows, columns)."""
        channels = self.channels or int(items.channels[sample.row])
        if self.size is None:
            rows, columns = items.shape[sample.row].tolist()
        elif isinstance(self.size, int):
            rows = columns = self.size
        else:
            rows, columns = self.size[-2:]
        if not self.volume:
            return channels, rows, columns
        several = isinstance(self.size, tuple) and len(self.size) == 3
        return channels, self.size[0] if several else len(sample.frames), rows, columns  # type: ignore[index]

    def working_dtype(self, stored: str) -> torch.dtype:
        """The type in which stored values of a type are rescaled and resampled."""
        if self.dtype == torch.float64:
            return torch.float64
        kind = np.dtype(stored)
        wide = self.stored and (kind.kind == "f" or kind.itemsize >= _WIDE_BYTES)
        return torch.float64 if wide else torch.float32


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a decoder does with a series."""

    shape: tuple[int, ...]
    """Of a sample."""
    direct: bool
    """Frames are decoded in their place: they are not resampled, nor cropped, nor of another type."""
    working: torch.dtype
    """What they are decoded into otherwise."""
    fitted: tuple[int, int]
    """Rows and columns after resampling."""
    scale: tuple[float, float] | None
    """What stored values are multiplied with, and what is added then; None where frames differ."""


class Decoder:
    """Makes samples. Safe to use from several threads."""

    def __init__(self, items: Items, form: Form, gpu: GpuDecoder | None = None) -> None:
        """With a GPU, what it can decode is decoded there."""
        self._items, self._form, self._gpu = items, form, gpu
        self.dtype = form.dtype
        self.in_numpy = form.dtype != torch.bfloat16
        """Whether NumPy has the type."""

    def shape(self, sample: Sample) -> tuple[int, ...]:
        """Of a sample."""
        plan = sample.frames[0].plan
        facts: _Facts = plan.memo or self._facts(plan, sample)
        return facts.shape

    def prepare(self, samples: Sequence[Sample]) -> None:
        """What is done for several samples at once, before they are filled in."""
        if self._gpu is not None:
            self._gpu.ahead([frame for sample in samples for frame in sample.frames])

    def fill(
        self,
        sample: Sample,
        images: Sequence[torch.Tensor] | torch.Tensor,
        number: int,
        array: NDArray[Any] | None,
    ) -> None:
        """Decode a sample into the one of `images`, of `shape`, with a number; `array` is the same memory.

        Raises IntegrityError for bytes that do not decode, and InvalidRequestError where there is no default
        window.
        """
        form, plan = self._form, sample.frames[0].plan
        facts: _Facts = plan.memo or self._facts(plan, sample)
        if array is None and self.in_numpy:
            array = images[number].numpy()
        target = None
        if array is None or not facts.direct:
            channels = facts.shape[0]
            target = torch.empty((channels, len(sample.frames), *plan.shape[:2]), dtype=facts.working)
            array = target.numpy()
        if array.ndim == 3:
            self._write(sample.frames[0], facts, array)
        else:
            for place, encoded in enumerate(sample.frames):
                self._write(encoded, facts, array[:, place])
        series = plan.index.series
        if target is not None:
            slices = facts.shape[1] if form.volume else 1
            made = resampled(target, slices, *facts.fitted, nearest=series.label_map)
            target = _cropped(made, *facts.shape[-2:])
            if form.stored and target.is_floating_point():
                target = target.round()
            array = target.numpy()
        if form.window is not None:
            np.clip(array, 0, 1, out=array)
            if series.photometric == "MONOCHROME1":
                np.subtract(1, array, out=array)
        if target is not None:
            images[number].copy_(target.reshape(facts.shape))

    def _facts(self, plan: Plan, sample: Sample) -> _Facts:
        form, series = self._form, plan.index.series
        fitted = tuple(self._items.fitted[sample.row].tolist())
        shape = form.shape(self._items, sample)
        working = form.working_dtype(series.dtype)
        kept = plan.shape[:2] == fitted and (not form.volume or shape[1] == len(sample.frames))
        facts = _Facts(
            shape=shape,
            direct=kept and shape[-2:] == fitted and (form.stored or form.dtype == working),
            working=form.dtype if form.stored and kept else working,
            fitted=fitted,
            scale=None if form.stored or series.frame_rescale is not None else self._scale(series, 0),
        )
        plan.memo = facts
        return facts

    def _write(self, encoded: Encoded, facts: _Facts, out: NDArray[Any]) -> None:
        """One frame into (channels, rows, columns), in the series' own unit, or from 0 to 1 in a window."""
        plane = out[0]
        frame = stored_values(encoded, plane)
        if frame.ndim == 3:
            if not self._form.stored:
                frame = _colours(frame, encoded.plan.index.series.photometric, len(out))
            _spread(frame, out)
        else:
            out[1 if frame is plane else 0 :] = frame
        if self._form.stored:
            return
        factor, offset = facts.scale or self._scale(encoded.plan.index.series, encoded.frame)
        if factor != 1.0:
            out *= out.dtype.type(factor)
        if offset != 0.0:
            out += out.dtype.type(offset)

    def _scale(self, series: Series, number: int) -> tuple[float, float]:
        window = self._form.window
        factor, offset = series.rescale_of(number)
        if window is None:
            return factor, offset
        low, high = limits(series, window, number)
        return factor / (high - low), (offset - low) / (high - low)


def check_form(form: Form, manifest: Manifest, items: Items) -> None:
    """Raises InvalidRequestError for numbers that the series cannot give."""
    window, count = form.window, len(manifest)
    if window is not None and window != "default":
        center, width = window
        if not (math.isfinite(center) and math.isfinite(width) and width > 0):
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


def _colours(frame: Frame, photometric: str, channels: int) -> NDArray[Any]:
    """YBR as RGB, and colours as grey where there is one channel for them."""
    if photometric in FULL_YBR:
        frame = ybr_full_to_rgb(frame.astype(np.uint8, copy=False))
    if channels == 1 and frame.shape[-1] > 2:
        mixed: NDArray[Any] = frame[..., :3] @ _LUMA
        return mixed
    return frame


def _spread(frame: NDArray[Any], out: NDArray[Any]) -> None:
    """(rows, columns, samples), or grey, into (channels, rows, columns); grey is repeated, and alpha
    left out where it has no channel."""
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
