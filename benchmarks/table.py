"""Writes docs/design/measurements.md from the results of the full runs in build/benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

from common import RESULTS

TARGET = Path(__file__).parent.parent / "docs" / "design" / "measurements.md"
SCRIPTS = {
    "ingest": "ingest.py",
    "low-resolution": "low_resolution.py",
    "memory": "memory.py",
    "rewrap": "rewrap.py",
    "small-series": "small_series.py",
    "blocks": "blocks.py",
}
HEAD = """\
# Measurements

Made by `benchmarks/table.py` from the results of the scripts named below. Ratios are taken within one run,
since machines are noisy; this one has two shared cores. The bare codec is imagecodecs' HTJ2K encode, decode
and compare on the same frames in as many threads.
"""
NOTES = """
## Where ingest's time goes

Of the time that DICOM ingest takes beyond the codec, most is Python reading 128 headers (about 0.3 ms
each, down from 1.1 ms) before the first frame can be placed, then reading and hashing files, syncing the
pack, and the catalog. With two codec threads on two cores nothing is left to hide it behind. Tried and
dropped: encoding frames while the headers of their series are still read (no faster: the threads then wait
for the interpreter's lock).
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
