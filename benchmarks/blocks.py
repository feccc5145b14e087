"""Frames a block: what low volumes, cold single frames and writing cost for a long series."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import imarium
from common import Row, options, report, scratch, serving
from imarium.archive import Archive
from imarium.ingest import Summary
from imarium.pack import layout
from imarium.settings import Settings
from memory import write_volume


def child(home: Path, source: Path, block_frames: int) -> None:
    """Take the series in with blocks of a size; prints its UID, seconds, and peak above idle in KiB."""
    layout.MOST_BLOCK_FRAMES = block_frames
    archive = Archive(Settings(home=home))
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    (uid,) = Summary.of(archive.ingest.run([source], collection="bench")).series
    elapsed = time.perf_counter() - began
    print(uid, elapsed, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle)


def median(task: Callable[[], object], rounds: int, before: Callable[[], object]) -> float:
    """Milliseconds."""
    times = []
    for _ in range(rounds):
        before()
        began = time.perf_counter()
        task()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e3


def forget(folder: Path) -> None:
    """Have the system drop its copies of the packs, so that they are read from the disk."""
    for path in folder.rglob("*.imp"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(home: Path, source: Path, block: int, level: int, rounds: int) -> list[Row]:
    """Ingest in a process of its own, then reads."""
    command = [sys.executable, __file__, "--child", str(home), str(source), str(block)]
    uid, seconds, peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    archive = Archive(Settings(home=home))
    objects = archive.settings.objects
    record = archive.catalog.get_series(uid)
    index = archive.streaming.index(record)
    reader = archive.streaming.reader(record, 0)
    numbers = iter(np.random.default_rng(0).integers(0, index.series.frames, rounds).tolist())
    cold = median(lambda: reader.frame(next(numbers)), rounds, lambda: forget(objects))
    with serving(home) as url, imarium.connect(url, cache=False) as db:
        series = db.series(uid)
        series.volume(level=level)
        low = median(lambda: series.volume(level=level), rounds, lambda: None)
        cold_low = median(lambda: series.volume(level=level), rounds, lambda: forget(objects))
    archive.close()
    name = f"blocks of {index.block_frames}"
    return [
        Row(f"{name}: level {level} over HTTP, one request of {len(index.spans(level))} ranges", low, "ms"),
        Row(f"{name}: the same, cold", cold_low, "ms"),
        Row(f"{name}: one full frame, cold", cold, "ms"),
        Row(f"{name}: ingest", float(seconds), "s"),
        Row(f"{name}: ingest, peak above idle", float(peak) / 1024, "MiB"),
    ]


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
        return
    arguments = options(__doc__ or "")
    frames, side, rounds, level = (96, 128, 3, 2) if arguments.smoke else (1024, 256, 15, 3)
    rows: list[Row] = []
    with scratch() as folder:
        source = folder / "volume.nii"
        write_volume(source, frames, side)
        for block in (32, 64, 128, 256, 1024):
            if block // 2 < frames:
                rows += measure(folder / f"home-{block}", source, block, level, rounds)
    report("blocks", rows, smoke=arguments.smoke)


if __name__ == "__main__":
    main()
