"""DICOM in HTJ2K out of the stored codestreams, against decoding and encoding, and copying the bytes."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pydicom

from common import Row, options, report, scratch
from imarium.archive import Archive
from imarium.formats.dicom import DicomWriter
from imarium.ingest import Summary
from imarium.phantoms import ct_chest
from imarium.settings import Settings


def timed(folder: Path, export: Callable[[Path], object]) -> float:
    """Seconds for one export into a fresh folder, of which the page cache has all sources."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    began = time.perf_counter()
    export(folder)
    return time.perf_counter() - began


def synced(kept: Path, target: Path) -> None:
    """Write the files of one folder to another so that they are on the disk: the disk's own speed."""
    for source in sorted(path for path in kept.rglob("*") if path.is_file()):
        with (target / source.name).open("wb") as file:
            file.write(source.read_bytes())
            file.flush()
            os.fsync(file.fileno())


def multi_frame(frames: int, side: int, path: Path) -> None:
    """The phantom's slices in one file, unsigned 12-bit: the smallest resolution has to be coded anew."""
    ct_chest(frames, side, side).write_dicom(path.parent / "slices")
    slices = [pydicom.dcmread(file) for file in sorted((path.parent / "slices").iterdir())]
    pixels = np.clip(np.stack([item.pixel_array for item in slices]).astype(np.int32) + 1024, 0, 4095)
    dataset = slices[0]
    dataset.NumberOfFrames, dataset.PixelRepresentation = frames, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{dataset.SOPInstanceUID}.1"
    dataset.SeriesInstanceUID = f"{dataset.SeriesInstanceUID}.1"
    dataset.PixelData = pixels.astype("<u2").tobytes()
    dataset.save_as(path)


def main() -> None:
    arguments = options(__doc__ or "")
    frames, side, rounds = (16, 128, 3) if arguments.smoke else (128, 512, 7)
    rows = []
    with scratch() as folder:
        multi_frame(frames, side, folder / "one.dcm")
        archive = Archive(Settings(home=folder / "home"))
        streaming = archive.streaming
        sources = {"files": folder / "slices", "one file": folder / "one.dcm"}
        for name, source in sources.items():
            (uid,) = Summary.of(archive.ingest.run([source], collection="bench")).series
            notes: list[str] = []
            record = archive.catalog.get_series(uid)

            def rewrap(target: Path, uid: str = uid, notes: list[str] = notes) -> None:
                streaming.export(uid, "dicom", target / "out", transfer_syntax="htj2k", report=notes.append)

            def anew(target: Path, uid: str = uid) -> None:
                rendition = replace(streaming.rendition(uid), codestreams=None)
                DicomWriter("htj2k").write(rendition, target / "out")

            def native(target: Path, uid: str = uid) -> None:
                streaming.export(uid, "dicom", target / "out")

            pack = archive.settings.objects / record.pack.key
            written = folder / "written"
            timed(written, rewrap)
            total = sum(path.stat().st_size for path in written.rglob("*") if path.is_file())
            kept = folder / "kept"
            shutil.copytree(written, kept)

            def copy(target: Path, kept: Path = kept) -> None:
                shutil.copytree(kept, target / "out")

            times: dict[str, list[float]] = {}
            for _ in range(rounds):
                for label, task in (
                    ("rewrap", rewrap),
                    ("anew", anew),
                    ("native", native),
                    ("copy", copy),
                    ("disk", partial(synced, kept)),
                ):
                    times.setdefault(label, []).append(timed(written, task))
            assert notes == []
            shutil.rmtree(kept)
            median = {label: statistics.median(found) for label, found in times.items()}
            ratio = statistics.median(b / a for a, b in zip(times["rewrap"], times["anew"], strict=True))
            disk = statistics.median(a / b for a, b in zip(times["disk"], times["rewrap"], strict=True))
            against = statistics.median(a / b for a, b in zip(times["rewrap"], times["copy"], strict=True))
            rows += [
                Row(f"{name}: times faster than decode and encode (median)", ratio, "x", 5),
                Row(f"{name}: of the speed at which the disk takes the same files, synced", disk, ""),
                Row(f"{name}: of a plain copy's time, between caches", against, "x"),
                Row(f"{name}: {frames} frames of {side}x{side}, re-wrapped", median["rewrap"] * 1e3, "ms"),
                Row(f"{name}: decoded and encoded, {os.cpu_count()} threads", median["anew"] * 1e3, "ms"),
                Row(f"{name}: decoded and written uncompressed", median["native"] * 1e3, "ms"),
                Row(f"{name}: the files copied", median["copy"] * 1e3, "ms"),
                Row(f"{name}: pack", pack.stat().st_size / 1e6, "MB"),
                Row(f"{name}: exported", total / 1e6, "MB"),
            ]
        archive.close()
        report("rewrap", rows, smoke=arguments.smoke)


if __name__ == "__main__":
    main()
