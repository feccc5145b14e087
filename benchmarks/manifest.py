"""Manifests of many small series: rows a second the first time, when indexes are read, and later."""

from __future__ import annotations

import resource
import time

from common import Row, options, report, scratch, small_sides, write_pictures
from imarium.archive import Archive
from imarium.ingest import Summary
from imarium.manifest import Format, Manifest
from imarium.model import Selection
from imarium.settings import Settings

_TRIES = 5


def main() -> None:
    arguments = options(__doc__ or "")
    count = 200 if arguments.smoke else 5000
    with scratch() as folder:
        source = folder / "pictures"
        write_pictures(source, count, small_sides)
        archive = Archive(Settings(home=folder / "home"))
        Summary.of(archive.ingest.run([source], collection="bench", labels={"split": "train"}))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        target, speeds = folder / "manifest.parquet", []
        for _ in range(_TRIES):
            began = time.perf_counter()
            with archive.manifests.draft(Selection("bench")) as draft:
                draft.write(target, Format.PARQUET)
            speeds.append(count / (time.perf_counter() - began))
        archive.close()
        manifest = Manifest.read(target)
        assert len(manifest) == count
        began = time.perf_counter()
        read = sum(1 for _ in manifest.rows()) / (time.perf_counter() - began)
        size = target.stat().st_size / count
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
    rows = [
        Row("made, indexes read", speeds[0], "rows/s"),
        Row("made, later", max(speeds[1:]), "rows/s", 5000),
        Row("read back as rows", read, "rows/s"),
        Row("bytes a row, Parquet", size, ""),
        Row("peak above that of the ingest", grown, "MiB"),
    ]
    report("manifest", rows, smoke=arguments.smoke)


if __name__ == "__main__":
    main()
