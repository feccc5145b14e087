"""Ingest of many small pictures, with shared packs and with a pack for each: speed and objects made."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from common import Row, options, report, scratch, small_sides, write_pictures
from imarium.archive import Archive
from imarium.ingest import Summary
from imarium.ingest.outcome import Status
from imarium.settings import Settings, Sharing


def ingest(source: Path, home: Path, sharing: Sharing) -> tuple[float, int, int]:
    """Pictures a second, objects made, and bytes stored."""
    archive = Archive(Settings(home=home, sharing=sharing))
    began = time.perf_counter()
    summary = Summary.of(archive.ingest.run([source], collection="bench"))
    elapsed = time.perf_counter() - began
    assert summary.files[Status.REFUSED] == 0
    objects = [path.stat().st_size for path in archive.settings.objects.rglob("*.imp")]
    archive.close()
    shutil.rmtree(home)
    return summary.files[Status.TAKEN] / elapsed, len(objects), sum(objects)


def main() -> None:
    arguments = options(__doc__ or "")
    count = 200 if arguments.smoke else 5000
    with scratch() as folder:
        source = folder / "pictures"
        write_pictures(source, count, small_sides)
        shared = ingest(source, folder / "home", Sharing())
        alone = ingest(source, folder / "home", Sharing(series_bytes=0))
    rows = [
        Row("with shared packs", shared[0], "a second"),
        Row("with a pack for each", alone[0], "a second"),
        Row("shared over each", shared[0] / alone[0], "", 2.0),
        Row("objects with shared packs", shared[1], "", max(1, count // 100), at_most=True),
        Row("objects with a pack for each", alone[1], ""),
        Row("bytes stored, shared over each", shared[2] / alone[2], "", 1.0, at_most=True),
    ]
    report("small-series", rows, smoke=arguments.smoke)


if __name__ == "__main__":
    main()
