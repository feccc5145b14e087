"""Pictures for a reviewer: a finding with what is around it, and a sheet of many."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from imarium.deid.pixels.boxes import Box
from imarium.deid.pixels.review import Decision, Finding
from imarium.deid.pixels.views import colours_of, pictures
from imarium.model import Series
from imarium.model.series import Frame

_AROUND = 40
"""Pixels around a box that are shown too."""
_WIDE = 480
_HIGH = 160
"""Pixels of a cell of a sheet."""
_MOST_CELLS = 200
_COLOURS = {
    Decision.OPEN: (255, 200, 0),
    Decision.ACCEPTED: (230, 40, 40),
    Decision.MENDED: (230, 40, 40),
    Decision.DISMISSED: (60, 200, 60),
}


def preview(frame: Frame, series: Series, finding: Finding) -> bytes:
    """PNG of a finding in one of its frames, with an outline: yellow while open, red where it will be
    blanked, green where dismissed. At most 1,024 pixels a side. It shows what was found: keep it where the
    source is."""
    return _png(_cell(frame, series, finding, 1024, 1024))


def contact_sheet(findings: Sequence[Finding], series: Series, frame_of: Callable[[int], Frame]) -> bytes:
    """PNG of up to 200 findings of a series, each from the first of its frames, which `frame_of` gives."""
    shown = list(findings)[:_MOST_CELLS]
    columns = 2 if len(shown) > 1 else 1
    sheet = Image.new(
        "RGB", (columns * (_WIDE + 8), max(1, math.ceil(len(shown) / columns)) * (_HIGH + 8)), (40, 40, 40)
    )
    for number, finding in enumerate(shown):
        cell = _cell(frame_of(finding.first), series, finding, _WIDE, _HIGH)
        sheet.paste(cell, ((number % columns) * (_WIDE + 8) + 4, (number // columns) * (_HIGH + 8) + 4))
    return _png(sheet)


def shown(frame: Frame, series: Series) -> NDArray[np.uint8]:
    """A frame as a reviewer sees it: RGB (rows, columns, 3), grey spread from the smallest to the largest
    value."""
    if not series.palette and frame.ndim == 3 and frame.shape[2] >= 3:
        return colours_of(frame, series)
    for picture in pictures(frame, series):
        return np.repeat(picture[..., None], 3, axis=2)
    return np.zeros((series.rows, series.columns, 3), np.uint8)


def _cell(frame: Frame, series: Series, finding: Finding, wide: int, high: int) -> Image.Image:
    box = finding.box or finding.found
    around = box.joined(finding.found).grown(_AROUND, series.rows, series.columns)
    picture = Image.fromarray(shown(frame, series)[around.top : around.bottom, around.left : around.right])
    factor = min(4.0, wide / picture.width, high / picture.height)
    picture = picture.resize((max(1, round(picture.width * factor)), max(1, round(picture.height * factor))))
    draw = ImageDraw.Draw(picture)
    draw.rectangle(_scaled(box, around, factor), outline=_COLOURS[finding.decision], width=2)
    return picture


def _scaled(box: Box, around: Box, factor: float) -> tuple[float, float, float, float]:
    left, top = (box.left - around.left) * factor, (box.top - around.top) * factor
    return left, top, left + box.width * factor - 1, top + box.height * factor - 1


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()
