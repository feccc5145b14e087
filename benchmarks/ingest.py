"""Ingest of the phantom CT against the bare codec's encode and verify, on the same frames and threads."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import nibabel
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


def ingest(source: Path, before: Path, home: Path, threads: int) -> float:
    """Seconds to take a source in, from the first look at the files to the committed catalog.

    The archive took a file in `before`, as one that runs for weeks did: its first statements are compiled.
    """
    archive = Archive(Settings(home=home, threads=threads))
    assert len(Summary.of(archive.ingest.run([before], collection="bench")).series) == 1
    began = time.perf_counter()
    summary = Summary.of(archive.ingest.run([source], collection="bench"))
    elapsed = time.perf_counter() - began
    assert summary.files[Status.REFUSED] == 0
    assert len(summary.series) == 1
    archive.close()
    shutil.rmtree(home)
    return elapsed


def write_nifti(path: Path, pixels: list[np.ndarray]) -> Path:
    """The same frames as one uncompressed NIfTI file."""
    nibabel.save(nibabel.Nifti1Image(np.stack(pixels).T, np.diag([0.7, 0.7, 2.5, 1.0])), path)
    return path


def main() -> None:
    arguments = options(__doc__ or "")
    frames, side, rounds = (16, 128, 2) if arguments.smoke else (128, 512, 9)
    cores = os.cpu_count() or 1
    ratios: dict[tuple[str, int], list[float]] = {}
    speeds: list[float] = []
    with scratch() as folder:
        files = ct_chest(frames, side, side).write_dicom(folder / "dicom")
        pixels = [pydicom.dcmread(file).pixel_array.astype(np.int16) for file in files]
        before = ct_chest(4, 64, 64, seed=1).write_dicom(folder / "before")[0]
        sources = {"NIfTI": write_nifti(folder / "phantom.nii", pixels), "DICOM": folder / "dicom"}
        megabytes = sum(frame.nbytes for frame in pixels) / 1e6
        bare_codec(pixels, cores)
        for _ in range(rounds):
            for threads in sorted({1, cores}):
                for name, source in sources.items():
                    ahead = bare_codec(pixels, threads)
                    whole = ingest(source, before, folder / "home", threads)
                    bare = (ahead + bare_codec(pixels, threads)) / 2
                    ratios.setdefault((name, threads), []).append(bare / whole)
                    speeds.append(megabytes / whole)
    rows = [
        Row(
            f"{name}, {threads} codec threads: speed of the bare codec's (median; "
            f"{min(values):.2f} to {max(values):.2f})",
            statistics.median(values),
            "",
            0.85,
        )
        for (name, threads), values in ratios.items()
    ]
    report("ingest", [*rows, Row("fastest ingest", max(speeds), "MB/s")], smoke=arguments.smoke)


if __name__ == "__main__":
    main()
