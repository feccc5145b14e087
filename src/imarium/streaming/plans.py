"""What pictures of a series can be made: what was asked for becomes a plan, or is refused.

A plan costs no pixels, and tells by its tag whether the client has the picture already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from imarium.errors import InvalidRequestError, LevelError
from imarium.model import Series
from imarium.model.windows import Window
from imarium.settings import Limits
from imarium.streaming.levels import parse_window

PictureFormat: TypeAlias = Literal["png", "jpeg", "webp"]

_SIZE = 128
"""Longer side of a picture where nothing is said."""
_CINE_SIZE = 256
_FPS = 15.0
"""Frames a second where nothing is said, and time steps are none or give no film to look at."""
_WATCHABLE = (5.0, 60.0)
_WEBP_SIDE = 16383
_JPEG_SIDE = 65500
_QUALITY = {"jpeg": 85, "webp": 80}


@dataclass(frozen=True, slots=True)
class Still:
    """A picture that can be made."""

    rows: int
    columns: int
    """Before it is turned as radiologists look at it."""
    frame: int
    window: Window | Literal["auto"] | None
    """Center and width in rescaled values; measured on the frame; or the series' own, if it has one."""
    format: PictureFormat
    quality: int | None
    """1 to 100; None keeps every pixel of what was rendered."""


@dataclass(frozen=True, slots=True)
class Cine:
    """A film that can be made."""

    rows: int
    columns: int
    frames: tuple[int, ...]
    window: Window | Literal["auto"] | None
    fps: float
    quality: int | None
    notes: tuple[str, ...] = ()
    """What was not as it was asked for."""


def plan_still(
    series: Series,
    limits: Limits,
    *,
    size: int | None = None,
    frame: int | None = None,
    window: str | None = None,
    upsample: bool = False,
    format: PictureFormat = "png",
    quality: int | None = None,
) -> Still:
    """One frame, the middle one unless said, its longer side `size` pixels, square on the screen.

    `window` is CENTER,WIDTH or auto. Raises InvalidRequestError for what makes no sense or is too large,
    and LevelError for a size beyond the full resolution without `upsample`.
    """
    rows, columns = _shape(series, size, _SIZE, upsample=upsample)
    if rows * columns > limits.picture_pixels:
        fits = _fitting(rows, columns, limits.picture_pixels)
        raise InvalidRequestError(
            f"a picture of {rows}x{columns} is beyond the limit of {limits.picture_pixels} pixels; "
            f"ask for a size of at most {fits}"
        )
    _check_side(rows, columns, format)
    if frame is None:
        frame = series.frames // 2 if len(series.dimensions) == 1 else series.dimensions[-1] // 2
    if not 0 <= frame < series.frames:
        raise InvalidRequestError(
            f"frame {frame} does not exist: this series has frames 0 to {series.frames - 1}"
        )
    if quality is None and not (format == "webp" and _is_named(series)):
        quality = _QUALITY.get(format)
    elif format == "png" and quality is not None:
        raise InvalidRequestError("PNG loses nothing and has no quality; ask for jpeg or webp")
    return Still(rows, columns, frame, _window(window, series), format, quality)


def plan_cine(
    series: Series,
    limits: Limits,
    *,
    size: int | None = None,
    start: int | None = None,
    stop: int | None = None,
    step: int | None = None,
    frames: int | None = None,
    fps: float | None = None,
    window: str | None = None,
    upsample: bool = False,
    quality: int | None = None,
) -> Cine:
    """Frames start to stop - 1, each `step`-th, or `frames` of them evenly chosen.

    Without `step` and `frames` a long series is thinned to the limit, with a note; all other requests
    that are too large are refused. Raises as `plan_still`.
    """
    numbers, notes = _chosen(series, limits, start, stop, step, frames)
    rows, columns = _shape(series, size, _CINE_SIZE, upsample=upsample)
    _check_side(rows, columns, "webp")
    limit = limits.cine_pixels
    if rows * columns * len(numbers) > limit:
        fits = _fitting(rows, columns, max(1, limit // len(numbers)))
        raise InvalidRequestError(
            f"{len(numbers)} frames of {rows}x{columns} are beyond the limit of {limit} pixels a film; "
            f"ask for a size of at most {fits}, or for fewer frames with step= or frames="
        )
    if quality is None and not _is_named(series):
        quality = _QUALITY["webp"]
    return Cine(
        rows,
        columns,
        tuple(numbers),
        _window(window, series),
        fps or _natural_fps(series, numbers),
        quality,
        notes,
    )


def _chosen(
    series: Series, limits: Limits, start: int | None, stop: int | None, step: int | None, frames: int | None
) -> tuple[Sequence[int], tuple[str, ...]]:
    first, end = start or 0, series.frames if stop is None else stop
    if not 0 <= first < end <= series.frames:
        raise InvalidRequestError(f"frames {first} to {end} do not exist: this series has {series.frames}")
    if step is not None and frames is not None:
        raise InvalidRequestError("ask for a step or for a number of frames, not for both")
    limit, count = limits.cine_frames, end - first
    thinned = -(-count // limit)
    if step is None and frames is None:
        note = f"Every frame in {thinned} is shown, of {count}." if thinned > 1 else ""
        return range(first, end, thinned), (note,) if note else ()
    if frames is not None:
        frames = min(frames, count)
        numbers: Sequence[int] = [first + (2 * i + 1) * count // (2 * frames) for i in range(frames)]
    else:
        numbers = range(first, end, step or 1)
    if len(numbers) > limit:
        raise InvalidRequestError(
            f"{len(numbers)} frames are beyond the limit of {limit} a film; "
            f"ask for step={thinned} or frames={limit}"
        )
    return numbers, ()


def _is_named(series: Series) -> bool:
    """Whether values are names: a lossy codec would make up new ones around each."""
    return series.label_map or bool(series.palette)


def _window(text: str | None, series: Series) -> Window | Literal["auto"] | None:
    if text is None:
        return None
    if series.samples >= 3 or series.palette:
        raise InvalidRequestError("a window is for grey values, and this series is in colour")
    return "auto" if text == "auto" else parse_window(text)


def _shape(series: Series, size: int | None, default: int, *, upsample: bool) -> tuple[int, int]:
    """Rows and columns of a picture whose longer side is `size`."""
    height, width = _displayed(series)
    longest = max(height, width)
    if size is None:
        size = min(default, round(longest))
    if size < 1:
        raise InvalidRequestError("a picture has at least 1 pixel a side")
    if size > round(longest) and not upsample:
        raise LevelError(
            f"{size} is larger than the full resolution, which shows as {round(height)}x{round(width)}; "
            f"ask for at most {round(longest)}, or add upsample=true"
        )
    return _scaled(height, size, longest), _scaled(width, size, longest)


def _displayed(series: Series) -> tuple[float, float]:
    """Rows and columns of the full resolution with square pixels, none smaller than those that are stored."""
    if series.spacing is None:
        return series.rows, series.columns
    _, row, column = series.spacing
    if not (0 < row < 1e6 and 0 < column < 1e6):
        return series.rows, series.columns
    unit = min(row, column)
    return series.rows * row / unit, series.columns * column / unit


def _fitting(rows: int, columns: int, pixels: int) -> int:
    """The largest longer side with at most so many pixels."""
    longest = max(rows, columns)
    size = max(1, min(pixels, int(longest * (pixels / (rows * columns)) ** 0.5)))
    while size > 1 and _scaled(rows, size, longest) * _scaled(columns, size, longest) > pixels:
        size -= 1
    return size


def _scaled(side: float, size: int, longest: float) -> int:
    """A side of a picture whose longest becomes `size`."""
    return max(1, round(side * size / longest))


def _check_side(rows: int, columns: int, format_name: PictureFormat) -> None:
    most = {"webp": _WEBP_SIDE, "jpeg": _JPEG_SIDE}.get(format_name)
    if most is not None and max(rows, columns) > most:
        raise InvalidRequestError(f"{format_name} has at most {most} pixels a side; ask for less, or for png")


def _natural_fps(series: Series, numbers: Sequence[int]) -> float:
    """Frames a second at which time passes as it did, where that can be watched."""
    step, count = series.time_step, series.dimensions[-1]
    gaps = np.diff(np.asarray(numbers))
    volumes = len(series.dimensions) > 1
    if not step or not step > 0 or gaps.size == 0 or (volumes and (gaps % count).any()):
        return _FPS
    fps = 1 / (step * float(gaps.mean()) / (count if volumes else 1))
    return fps if _WATCHABLE[0] <= fps <= _WATCHABLE[1] else _FPS
