"""Ingest of the phantom CT against the bare codec's encode and verify, on the same frames and threads."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom

from common import Row, options, report, scratch
from imarium.archive import Archive
from imarium.ingest import Summary
from imarium.ingest.outcome import Status
from imarium.phantoms import ct_chest
from imarium.settings import Settings


def bare_codec(frames: list[np.ndarray], threads: int) -> float:
    """Seconds to encode every frame, decode it and compare."""

    def once(frame: np.ndarray) -> None:
        codestream = imagecodecs.htj2k_encode(frame, resolutions=5, reversible=True, tlm=True, tilepart=1)
        assert np.array_equal(imagecodecs.htj2k_decode(codestream), frame)

    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(once, frames))
    return time.perf_counter() - began


def ingest(source: Path, home: Path, threads: int) -> float:
    """Seconds to take a folder in, from the first look at the files to the committed catalog."""
    archive = Archive(Settings(home=home, threads=threads))
    began = time.perf_counter()
    summary = Summary.of(archive.ingest.run([source], collection="bench"))
    elapsed = time.perf_counter() - began
    assert summary.files[Status.REFUSED] == 0
    assert len(summary.series) == 1
    archive.close()
    return elapsed


def main() -> None:
    arguments = options(__doc__ or "")
    frames, side, rounds = (16, 128, 2) if arguments.smoke else (128, 512, 7)
    threads = os.cpu_count() or 1
    with scratch() as folder:
        files = ct_chest(frames, side, side).write_dicom(folder / "dicom")
        pixels = [pydicom.dcmread(file).pixel_array.astype(np.int16) for file in files]
        ratios, speeds = [], []
        bare_codec(pixels, threads)
        for number in range(rounds):
            bare = bare_codec(pixels, threads)
            whole = ingest(folder / "dicom", folder / f"home-{number}", threads)
            bare = (bare + bare_codec(pixels, threads)) / 2
            shutil.rmtree(folder / f"home-{number}")
            ratios.append(bare / whole)
            speeds.append(sum(frame.nbytes for frame in pixels) / whole / 1e6)
    report(
        "ingest",
        [
            Row("speed of ingest, of the bare codec's (median)", statistics.median(ratios), "", 0.70),
            Row("lowest round", min(ratios), ""),
            Row("highest round", max(ratios), ""),
            Row("ingest", statistics.median(speeds), "MB/s"),
            Row("threads", threads, ""),
        ],
        smoke=arguments.smoke,
    )


if __name__ == "__main__":
    main()
