"""Text burned into pixels: how much of what was planted is found, and what else is taken for text.

Generated images of seven kinds (`imarium.testing.burned_text`), with names, dates, numbers and places in 9 to
32 pixels, white, grey, dark, boxed and coloured, at the edges, cut off by them and over tissue. An identifier
counts as found if boxes cover at least 95 % of its ink. Then the same kinds of images without text, real
images without text, and a real one with a name (the folder IMARIUM_TEST_DATA, if it is there). Seed and
images differ from those that the weights were fitted to (burned_text_weights.py).
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from burned_text_weights import DATA, real_without_text
from common import Row, options, report
from imarium.deid.pixels import tesseract
from imarium.deid.pixels.boxes import TextBox
from imarium.deid.pixels.finding import find_text
from imarium.formats import recognise
from imarium.formats.base import ReadContext, Refusal
from imarium.model import Series
from imarium.settings import Limits
from imarium.testing.burned_text import Sample, fonts_available, samples

SEED = 2
NAMED = DATA / "deid-phi" / "presidio" / "2_ORIGINAL.dicom"


def covered(found: list[TextBox], series: Series) -> NDArray[np.bool_]:
    mask = np.zeros((series.rows, series.columns), bool)
    for one in found:
        mask[one.box.top : one.box.bottom, one.box.left : one.box.right] = True
    return mask


def planted_rows(made: Iterator[Sample]) -> list[Row]:
    shares: list[tuple[bool, float]] = []
    boxes = beside = frames = 0
    began = time.perf_counter()
    for image in made:
        found = find_text(image.frames[:1], image.series)
        frames += 1
        mask = covered(found, image.series)
        for planted in image.planted:
            shares.append((planted.identifies, float((mask & planted.ink).sum() / planted.ink.sum())))
        boxes += len(found)
        beside += sum(not any(one.box.shared(planted.box) for planted in image.planted) for one in found)
    seconds = time.perf_counter() - began
    ours = np.asarray([share for identifies, share in shares if identifies])
    return [
        Row("images with text", frames, ""),
        Row("identifiers planted", len(ours), ""),
        Row("identifiers found", 100 * float((ours >= 0.95).mean()), "%", 99),
        Row("ink of all text covered", 100 * float(np.mean([share for _, share in shares])), "%", 99),
        Row("boxes that touch planted text", 100 * (1 - beside / max(boxes, 1)), "%", 97),
        Row("seconds a frame, drawing of the image included", seconds / frames, "s"),
    ]


def clean_rows(name: str, images: Iterator[tuple[NDArray[np.generic], Series]], most: float) -> list[Row]:
    frames = boxes = hit = area = pixels = 0
    for frame, series in images:
        found = find_text([frame], series)
        frames, boxes, hit = frames + 1, boxes + len(found), hit + bool(found)
        area, pixels = area + int(covered(found, series).sum()), pixels + series.rows * series.columns
    return [
        Row(f"{name}: frames", frames, ""),
        Row(f"{name}: boxes a frame", boxes / max(frames, 1), "", most, at_most=True),
        Row(f"{name}: frames with any", 100 * hit / max(frames, 1), "%"),
        Row(f"{name}: pixels taken", 100 * area / max(pixels, 1), "%"),
    ]


def named_rows(folder: Path) -> list[Row]:
    (source,) = recognise(NAMED).read([NAMED], ReadContext(Limits(), folder))
    assert not isinstance(source, Refusal)
    (frame,) = itertools.islice(source.read_frames(), 1)
    mask = covered(find_text([frame], source.series), source.series)
    ink = (frame == frame.max())[:30]
    return [Row("real CT with a name: ink of its two lines", 100 * float(mask[:30][ink].mean()), "%", 100)]


def main() -> None:
    smoke = options(__doc__ or "").smoke
    if not tesseract.available() or not fonts_available():
        print("SKIPPED burned text: apt-get install tesseract-ocr fonts-dejavu-core", file=sys.stderr)
        return
    count = 7 if smoke else 280
    rows = planted_rows(samples(count, seed=SEED))
    clean = samples(7 if smoke else 140, text=False, seed=SEED)
    rows += clean_rows("without text", ((made.frames[0], made.series) for made in clean), 0.05)
    if not NAMED.exists():
        print(f"SKIPPED real images: no folder {DATA}; set IMARIUM_TEST_DATA", file=sys.stderr)
    else:
        with tempfile.TemporaryDirectory() as folder:
            rows += named_rows(Path(folder))
            real = real_without_text(Path(folder), fitted=False)
            rows += clean_rows("real, without text", itertools.islice(real, 7 if smoke else None), 0.3)
    report("burned-text", rows, smoke=smoke)


if __name__ == "__main__":
    main()
