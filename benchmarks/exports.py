"""Exports of a 1 GB series by HTTP: the server's memory above idle, and the time to the first byte."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import numpy as np
import psutil
from pydicom.dataset import FileDataset

from common import Row, options, report, scratch, serving
from imarium.archive import Archive
from imarium.ingest import Summary
from imarium.settings import Settings
from imarium.testing.dicom_files import make_dataset, write_file

EXPORTS = (
    "format=npy",
    "format=nifti&compress=false",
    "format=nifti",
    "format=dicom",
    "format=dicom&transfer_syntax=htj2k",
    "format=png",
    "format=ome-zarr",
)


def write_series(folder: Path, frames: int, side: int) -> None:
    """A CT series of noisy slices."""
    rng = np.random.default_rng(0)
    wave = 500 * np.sin(np.arange(side) / 40)
    for number in range(1, frames + 1):
        pixels = (wave + rng.normal(0, 15, (side, side))).astype(np.int16)
        dataset: FileDataset = make_dataset(pixels, number, WindowCenter=0, WindowWidth=1000)
        write_file(folder / f"{number:05d}.dcm", dataset)


def peak_since(server: psutil.Process, start: bool = False) -> int:
    """The most memory, in bytes, that a process has had since the last start of counting."""
    if start:
        Path(f"/proc/{server.pid}/clear_refs").write_text("5")
    for line in Path(f"/proc/{server.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the system does not tell the peak of a process's memory")


def fetch(http: httpx.Client, address: str) -> tuple[float, float, int]:
    """Seconds to the first byte and to the last, and how many bytes came."""
    began, first, size = time.perf_counter(), 0.0, 0
    with http.stream("GET", address) as response:
        response.raise_for_status()
        for chunk in response.iter_raw(1 << 20):
            first = first or time.perf_counter() - began
            size += len(chunk)
    return first, time.perf_counter() - began, size


def main() -> None:
    arguments = options(__doc__ or "")
    frames, side = (64, 128) if arguments.smoke else (2000, 512)
    rows: list[Row] = []
    with scratch() as folder:
        write_series(folder / "dicom", frames, side)
        archive = Archive(Settings(home=folder / "home"))
        (uid,) = Summary.of(archive.ingest.run([folder / "dicom"], collection="bench")).series
        levels = archive.catalog.get_series(uid).levels
        archive.close()
        with serving(folder / "home") as url, httpx.Client(base_url=url, timeout=600) as http:
            (server,) = psutil.Process().children()
            address = f"/api/v1/series/{uid}/export?"
            for query in EXPORTS:  # libraries load once
                fetch(http, f"{address}{query}&level={levels - 1}")
            idle = server.memory_info().rss
            rows.append(Row("idle server", idle / 1e6, "MB"))
            for query in EXPORTS:
                peak_since(server, start=True)
                first, last, size = fetch(http, address + query)
                name = query.removeprefix("format=").replace("&", ", ").replace("_", " ")
                growth = (peak_since(server) - idle) / 1e6
                rows.append(Row(f"{name}: peak above idle", growth, "MB", 100, at_most=True))
                rows.append(Row(f"{name}: first byte", first * 1e3, "ms"))
                rows.append(Row(f"{name}: whole", last, "s"))
                rows.append(Row(f"{name}: sent", size / 1e9, "GB"))
    report("exports", rows, smoke=arguments.smoke)


if __name__ == "__main__":
    main()
