"""Fits the weights of `imarium.deid.pixels.likeness`, and prints them.

To lines of 70 generated images with text, and of real CT, MR and other images without: half of those in the
folder IMARIUM_TEST_DATA; burned_text.py measures on the other half. Logistic regression with a small L2
penalty.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from imarium.deid.pixels.candidates import candidates
from imarium.deid.pixels.finding import Options, read_lines
from imarium.deid.pixels.likeness import Reading, reading_of
from imarium.errors import ImariumError
from imarium.formats import recognise
from imarium.formats.base import ReadContext, Refusal
from imarium.model import Series
from imarium.settings import Limits
from imarium.testing.burned_text import Planted, samples

DATA = Path(os.environ.get("IMARIUM_TEST_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
SEED = 5
WITHOUT_TEXT = (
    "covid-ct/**/*.png", "sars-cov-2-ct/**/*.png", "ct-philips-tilt/I*", "mr-nih-ge-siemens/**/*.dcm",
    "cxr-hannover/**/*.png", "nema-wg04-codecs/REF/*", "slicer/*Chest*.nrrd", "lgg-brain-mr/**/*.tif",
)  # fmt: skip
WITH_TEXT = (
    "US1_UNC", "2020.02.13.20022673-p13-77", "2020.03.13.20035212", "1877", "1309", "1221",
    "61bc50d1", "87d50e40",
)  # fmt: skip
"""How names begin that were seen to hold text."""
_EVERY = 9


def real_without_text(folder: Path, *, fitted: bool) -> Iterator[tuple[NDArray[np.generic], Series]]:
    """The first frame of some files: of those that the weights are fitted to, or of others."""
    for pattern in WITHOUT_TEXT:
        files = sorted(path for path in DATA.glob(pattern) if path.is_file())
        step = _EVERY if len(files) > 4 * _EVERY else 1
        for path in files[(0 if fitted else step // 2) :: step]:
            if path.name.startswith(WITH_TEXT) or (
                step == 1 and (path.name.encode()[-5] % 2 == 0) is not fitted
            ):
                continue
            try:
                for source in recognise(path).read([path], ReadContext(Limits(), folder)):
                    if not isinstance(source, Refusal):
                        yield next(iter(source.read_frames())), source.series
            except ImariumError:
                continue


def numbers(
    frame: NDArray[np.generic], series: Series, planted: tuple[Planted, ...] | None
) -> Iterator[tuple[dict[str, float], bool]]:
    """Of each line of a frame what the model takes, and whether it is text; lines that are neither are left
    out."""
    found = candidates(frame, series)
    readings = read_lines({str(number).encode(): one.page for number, one in enumerate(found)}, Options())
    for number, one in enumerate(found):
        within = max((text.box.shared(one.box) / one.box.area for text in planted or ()), default=0.0)
        across = max((text.box.shared(one.box) / text.box.area for text in planted or ()), default=0.0)
        if within and not (within > 0.6 and across > 0.3):
            continue
        reading = readings.get(str(number).encode(), Reading())
        yield one.numbers | reading_of(reading, one.letters), within > 0


def main() -> None:
    if not DATA.is_dir():
        sys.exit(f"no folder {DATA}; set IMARIUM_TEST_DATA")
    rows: list[tuple[dict[str, float], bool]] = []
    with tempfile.TemporaryDirectory() as folder:
        for frame, series in real_without_text(Path(folder), fitted=True):
            rows += numbers(frame, series, None)
    for made in samples(70, seed=SEED):
        rows += numbers(made.frames[0], made.series, made.planted)
    names = list(rows[0][0])
    values = np.asarray([[row[name] for name in names] for row, _ in rows])
    truth = np.asarray([text for _, text in rows], np.float64)

    def loss(weights: NDArray[np.float64]) -> float:
        sums = values @ weights
        return float((np.logaddexp(0, sums) - truth * sums).sum() + 0.5 * (weights[1:] ** 2).sum())

    weights = minimize(loss, np.zeros(len(names))).x
    likely = values @ weights > 0
    print(f"{len(rows)} lines, {int(truth.sum())} of text")
    print(f"text found {likely[truth > 0].mean():.3f}, others taken for text {int(likely[truth == 0].sum())}")
    print({name: round(float(weight), 2) for name, weight in zip(names, weights, strict=True)})


if __name__ == "__main__":
    main()
