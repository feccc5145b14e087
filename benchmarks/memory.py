"""Peak memory while a 1 GB volume is taken in, above the idle process."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np

from common import Row, options, report, scratch
from imarium.archive import Archive
from imarium.ingest import Summary
from imarium.settings import Settings


def child(home: Path, source: Path) -> None:
    """Open an archive, note the memory, take the volume in, note the peak; prints both in KiB."""
    archive = Archive(Settings(home=home))
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (uid,) = Summary.of(archive.ingest.run([source], collection="bench")).series
    print(idle, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, uid)


def write_volume(path: Path, frames: int, side: int) -> int:
    """A NIfTI file of noisy slices, written slice by slice; returns its bytes."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((side, side, frames))
    header["magic"], header["vox_offset"] = b"n+1", 352
    header.set_sform(np.diag([0.7, 0.7, 1.0, 1.0]), code=1)
    rng = np.random.default_rng(0)
    wave = 500 * np.sin(np.arange(side) / 40)
    with path.open("wb") as file:
        file.write(header.binaryblock + bytes(4))
        for _ in range(frames):
            file.write((wave + rng.normal(0, 15, (side, side))).astype("<i2").tobytes())
    return path.stat().st_size


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    arguments = options(__doc__ or "")
    frames, side = (64, 512) if arguments.smoke else (2000, 512)
    with scratch() as folder:
        size = write_volume(folder / "volume.nii", frames, side)
        command = [sys.executable, __file__, "--child", str(folder / "home"), str(folder / "volume.nii")]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        idle, peak = int(said[0]) * 1024, int(said[1]) * 1024
    report(
        "memory",
        [
            Row("volume", size / 1e9, "GB"),
            Row("idle process", idle / 1e6, "MB"),
            Row("peak above idle", (peak - idle) / 1e6, "MB", 1000, at_most=True),
            Row("peak above idle, of the volume", (peak - idle) / size, ""),
        ],
        smoke=arguments.smoke,
    )


if __name__ == "__main__":
    main()
