"""What DICOM itself says about text in pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imarium.deid.pixels.boxes import Box, TextBox
from imarium.model import Series

TEXT_IS_USUAL = frozenset({"US", "ES", "XC", "SC", "OT", "DOC", "IVUS", "RF", "XA", "GM", "SM", "OP", "ECG"})
"""Modalities whose images often hold text (PS3.3 C.7.3.1.1.1 names them)."""


def needs_review(series: Series, burned_in: str | None, found: Sequence[TextBox]) -> bool:
    """Whether a person should look before release.

    `burned_in` is Burned In Annotation (0028,0301), "YES", "NO" or None. So it is where anything was found,
    where the source says that there is text and none was found, and where nothing is said of a modality that
    often has text.
    """
    if found:
        return True
    said = (burned_in or "").strip().upper()
    return said == "YES" or (said != "NO" and series.modality in TEXT_IS_USUAL)


def outside_regions(regions: Sequence[tuple[int, int, int, int]], series: Series) -> list[TextBox]:
    """Everything outside the regions of ultrasound data, as boxes of all frames.

    `regions` are of the Sequence of Ultrasound Regions (0018,6011): Region Location Min X0, Min Y0, Max X1
    and Max Y1 (PS3.3 C.8.5.5), columns and rows from 0, the last included. Scanners put the patient's name
    there and nothing that is measured. No regions give no boxes.
    """
    image = np.zeros((series.rows, series.columns), bool)
    for left, top, right, bottom in regions:
        image[max(0, top) : max(0, bottom + 1), max(0, left) : max(0, right + 1)] = True
    if not image.any():
        return []
    return [
        TextBox(Box(top, left, bottom, right, 0, series.frames), "declared", 1.0)
        for top, left, bottom, right in _rectangles(~image)
    ]


def _rectangles(mask: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> list[tuple[int, int, int, int]]:
    """Rectangles that cover a mask exactly, none over another: runs of each row, joined with equal runs
    below."""
    done: list[tuple[int, int, int, int]] = []
    going: dict[tuple[int, int], int] = {}
    for row in range(mask.shape[0] + 1):
        edges = np.zeros(0, np.intp)
        if row < mask.shape[0]:
            edges = np.flatnonzero(np.diff(np.concatenate([[False], mask[row], [False]]).astype(np.int8)))
        runs = {(int(left), int(right)) for left, right in edges.reshape(-1, 2)}
        done += [(top, left, row, right) for (left, right), top in going.items() if (left, right) not in runs]
        going = {run: going.get(run, row) for run in runs}
    return sorted(done)
