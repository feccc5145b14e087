"""Writes docs/design/measurements.md from the results of the full runs in build/benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

from common import RESULTS

TARGET = Path(__file__).parent.parent / "docs" / "design" / "measurements.md"
SCRIPTS = {
    "ingest": "ingest.py",
    "decode": "decode.py",
    "low-resolution": "low_resolution.py",
    "memory": "memory.py",
    "exports": "exports.py",
    "rewrap": "rewrap.py",
    "small-series": "small_series.py",
    "manifest": "manifest.py",
    "blocks": "blocks.py",
    "growth": "growth.py",
    "slow-line": "slow_line.py",
    "serving": "serving.py",
    "loader": "loader.py",
    "small-images": "small_images.py",
}
HEAD = """\
# Measurements

Made by `benchmarks/table.py` from the results of the scripts named below. Ratios are taken within one run,
since machines are noisy; this one has two shared cores. The bare codec is imagecodecs' HTJ2K encode, decode
and compare on the same frames in as many threads.
"""
NOTES = """
## Where ingest's time goes

128 DICOM files of 512x512 with two codec threads on two cores, in ms: 20 headers, 10 stacking and the first
look at the catalog, 200 encoding and verifying (the bare codec takes 180; reading and hashing the files and
the digests of pixels take the rest), 5 to 45 writing the pack, 8 syncing it while it is hashed, 10 catalog.
The spread of the writing is the machine's: 5 where the system's file cache has pages at hand, 45 where a
virtual machine touches memory for the first time.

What brought it from 0.61 of the bare codec to 0.7: files are hashed from the bytes that are read for their
pixels, not before; whether a file is known is told by its SOP Instance UID and size first; a slice whose
header differs from the one before in nothing but its place and identity is described from that one (0.07 ms
instead of 0.19); the pack's parts go to the file without a copy and are hashed on a thread of their own;
there is one transaction a series.

Tried and dropped: encoding frames while the headers of their series are still read, hashing files while
headers are read, and reading files in the encoding threads. None was faster: threads that need the
interpreter's lock for many short steps wait for one another.

## What a slice costs that joins a series

With 190 slices of 512x512 stored, 0.1 s of processor time: most of it reading, checking, laying out and
hashing the 36 MB of the pack, the rest describing the stored headers from one another. It was 1.1 s when
every stored frame was decoded and encoded again and every stored header parsed: 99 s for 200 slices, and
153 s for those in JPEG, whose codestreams were lost and took 2.9 times their bytes.

## Exports before they were streams

The same series on the same machine, when every export was written to the scratch folder before it was sent,
in ms to the first byte: 5,300 .npy, 4,600 .nii, 58,000 .nii.gz, 9,400 DICOM, 6,800 DICOM in HTJ2K, 26,000
OME-Zarr; and 97 to 230 MB above idle, since iterations over frames read 32 MB at once and held two such
batches. From a disk they now read 4 MB at once, which is as fast.
"""


def main() -> None:
    lines = [HEAD]
    for name, script in SCRIPTS.items():
        path = RESULTS / f"{name}.json"
        if not path.exists():
            raise SystemExit(f"{path} is missing; run python benchmarks/{script} first")
        facts = json.loads(path.read_text())
        lines.append(
            f"## benchmarks/{script}\n\n{facts['machine']}\n\n| what | value | target | |\n|---|---|---|---|"
        )
        for row in facts["rows"]:
            sign = "<=" if row["at_most"] else ">="
            target = "" if row["target"] is None else f"{sign} {row['target']:g}"
            verdict = "" if row["target"] is None else ("met" if row["met"] else "**missed**")
            lines.append(f"| {row['what']} | {row['value']:.3g} {row['unit']} | {target} | {verdict} |")
        lines.append("")
    TARGET.write_text("\n".join(lines) + NOTES)
    print(f"written to {TARGET}")


if __name__ == "__main__":
    main()
