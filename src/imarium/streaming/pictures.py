"""Pictures for whoever has no codec: one frame as PNG, JPEG or WebP, or many as an animated WebP."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import astuple
from itertools import pairwise

import numpy as np
from blake3 import blake3
from PIL import Image

from imarium.catalog import SeriesRecord
from imarium.errors import LevelError
from imarium.formats.rendering import default_window, measured_window, render_8bit
from imarium.model import Series, radiological_turn
from imarium.model.series import Frame
from imarium.model.windows import Window
from imarium.streaming.plans import Cine, Still
from imarium.streaming.service import Streaming

_DRAWING = 1
"""Part of every tag: raise it when pictures of the same plan become others."""
_LOOKED_AT = 5
"""Frames that a film's window is measured on."""
_STRIPE_PIXELS = 1 << 20
_CINE_EFFORT = 2
"""WebP's method, 0 to 6: a third of the default's time, for a few per cent more bytes."""


def tag(record: SeriesRecord, plan: Still | Cine) -> str:
    """The same for the same picture, and another one when the series or the plan is another."""
    facts = (_DRAWING, record.pack.digest, record.index_span, type(plan).__name__, astuple(plan))
    return blake3(repr(facts).encode()).hexdigest(16)


def draw(streaming: Streaming, record: SeriesRecord, plan: Still | Cine) -> bytes:
    """The bytes of a picture or a film. Raises ExportRefusedError for colours that have no rendering,
    and IntegrityError."""
    if isinstance(plan, Cine):
        return _draw_cine(streaming, record, plan)
    return _draw_still(streaming, record, plan)


def _draw_still(streaming: Streaming, record: SeriesRecord, plan: Still) -> bytes:
    reader = streaming.reader(record, _level(streaming, record, plan))
    values = reader.frame(plan.frame)
    window = plan.window
    if window == "auto":
        window = measured_window([values], reader.series, [plan.frame])
    picture = _picture(values, reader.series, window, plan.frame, plan)
    target = io.BytesIO()
    if plan.format == "webp" and plan.quality is None:
        picture.save(target, "WEBP", lossless=True)
    elif plan.quality is None:
        picture.save(target, "PNG")
    else:
        picture.save(target, plan.format.upper(), quality=plan.quality)
    return target.getvalue()


def _draw_cine(streaming: Streaming, record: SeriesRecord, plan: Cine) -> bytes:
    reader = streaming.reader(record, _level(streaming, record, plan))
    window = plan.window
    if window is None or window == "auto":
        middle = max(0, len(plan.frames) // 2 - _LOOKED_AT // 2)
        looked_at = plan.frames[middle : middle + _LOOKED_AT]
        measure = measured_window if window == "auto" else default_window
        grey = reader.series.samples < 3 and not reader.series.palette
        window = measure(map(reader.frame, looked_at), reader.series, looked_at) if grey else None

    def pictures() -> Iterator[Image.Image]:
        whole = plan.frames == tuple(range(plan.frames[0], plan.frames[-1] + 1))
        frames = (
            reader.frames(plan.frames[0], plan.frames[-1] + 1) if whole else map(reader.frame, plan.frames)
        )
        for number, values in zip(plan.frames, frames, strict=True):
            yield _picture(values, reader.series, window, number, plan)

    film = _Film(pictures(), len(plan.frames))
    times = [round(1000 * number / plan.fps) for number in range(len(plan.frames) + 1)]
    target = io.BytesIO()
    film.save(
        target,
        "WEBP",
        save_all=True,
        duration=[after - before for before, after in pairwise(times)],
        loop=0,
        lossless=plan.quality is None,
        quality=80 if plan.quality is None else plan.quality,
        method=_CINE_EFFORT,
    )
    return target.getvalue()


def _level(streaming: Streaming, record: SeriesRecord, plan: Still | Cine) -> int:
    """The smallest level that has all the pixels of the picture."""
    index = streaming.index(record)
    full = index.series
    try:
        return index.level_for_size(min(plan.rows, full.rows), min(plan.columns, full.columns))
    except LevelError:
        return 0


class _Film(Image.Image):
    """Pictures in turn, as Pillow's writers of animations take them: only one is there at a time."""

    def __init__(self, pictures: Iterator[Image.Image], count: int) -> None:
        super().__init__()
        first = next(pictures).convert("RGB")
        self.im, self._mode, self._size = first.im, first.mode, first.size
        self.n_frames = count
        self._pictures, self._at = pictures, 0

    def tell(self) -> int:
        """Number of the present picture."""
        return self._at

    def seek(self, frame: int) -> None:
        """Go to the next picture; there is no way back."""
        if frame == self._at + 1:
            self.paste(next(self._pictures).convert("RGB"))
            self._at = frame


def _picture(
    values: Frame, series: Series, window: Window | None, number: int, plan: Still | Cine
) -> Image.Image:
    """A frame of a level of a series, with the window, at the plan's size and the right way round."""
    grey = series.samples < 3 and not series.palette
    if grey and window is None:
        window = default_window([values], series, [number])
    # In stripes, since rendering counts in float64.
    rows = max(1, _STRIPE_PIXELS // values.shape[1])
    shown = np.concatenate(
        [
            render_8bit(values[top : top + rows], series, window if grey else None, number)
            for top in range(0, len(values), rows)
        ]
    )
    picture = Image.fromarray(shown)
    filtering = Image.Resampling.NEAREST if series.label_map else Image.Resampling.BILINEAR
    if picture.size != (plan.columns, plan.rows):
        picture = picture.resize((plan.columns, plan.rows), filtering)
    return _turned(picture, series)


def _turned(picture: Image.Image, series: Series) -> Image.Image:
    """DICOM slices are stored as they are to be seen; others are turned as radiologists look at them."""
    if series.format == "dicom" or series.affine is None:
        return picture
    transpose, flip_columns, flip_rows = radiological_turn(series.affine)
    for wanted, turn in (
        (transpose, Image.Transpose.TRANSPOSE),
        (flip_columns, Image.Transpose.FLIP_LEFT_RIGHT),
        (flip_rows, Image.Transpose.FLIP_TOP_BOTTOM),
    ):
        if wanted:
            picture = picture.transpose(turn)
    return picture
