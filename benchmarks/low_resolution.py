"""A low-resolution volume over HTTP on loopback against fetching the full volume and resizing it."""

from __future__ import annotations

import statistics
import time

import numpy as np

import imarium
from common import Row, options, report, scratch, serving
from imarium.archive import Archive
from imarium.codec import resample
from imarium.ingest import Summary
from imarium.phantoms import ct_chest
from imarium.settings import Settings
from imarium.testing import proxied


def requests_of(url: str, uid: str, level: int) -> tuple[int, int]:
    """Requests that a level of an opened series takes, and range requests among them; not timed."""
    with proxied(url) as proxy, imarium.connect(proxy.url, cache=False) as db:
        series = db.series(uid)
        assert series.index.levels > level
        proxy.asked.clear()
        series.volume(level=level)
        return len(proxy.asked), sum(len(asked.ranges) == 1 for asked in proxy.asked)


def main() -> None:
    arguments = options(__doc__ or "")
    frames, side, rounds = (16, 128, 3) if arguments.smoke else (128, 512, 9)
    level = 1 if arguments.smoke else 3
    with scratch() as folder:
        ct_chest(frames, side, side).write_dicom(folder / "dicom")
        archive = Archive(Settings(home=folder / "home"))
        (uid,) = Summary.of(archive.ingest.run([folder / "dicom"], collection="bench")).series
        archive.close()
        with serving(folder / "home") as url, imarium.connect(url, cache=False) as db:
            asked, ranged = requests_of(url, uid, level)
            series = db.series(uid)
            assert series.index.levels > level
            low_times, full_times = [], []
            for _ in range(rounds):
                began = time.perf_counter()
                low = series.volume(level=level)
                low_times.append(time.perf_counter() - began)
                began = time.perf_counter()
                full = series.volume(level=0)
                rows, columns = low.shape[1:]
                resized = np.stack([resample(frame, rows, columns) for frame in np.asarray(full)])
                full_times.append(time.perf_counter() - began)
            assert resized.shape == low.shape
            index = series.index
            report(
                "low-resolution",
                [
                    Row("requests for the volume", asked, "", 1, at_most=True),
                    Row("range requests among them", ranged, "", 1),
                    Row(
                        "times faster than full fetch and resize (median)",
                        statistics.median(b / a for a, b in zip(low_times, full_times, strict=True)),
                        "x",
                        20,
                    ),
                    Row(f"{frames} frames of {columns}x{rows}", statistics.median(low_times) * 1e3, "ms"),
                    Row("full volume, resized", statistics.median(full_times) * 1e3, "ms"),
                    Row("bytes, of the full volume's", index.level_bytes(level) / index.level_bytes(0), ""),
                ],
                smoke=arguments.smoke,
            )


if __name__ == "__main__":
    main()
