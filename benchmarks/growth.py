"""A CT whose slices arrive one file a call, against the same files in one call: time, lanes and bytes.

Slices come in the order of the scanner and, compressed, in any order. The same files as series of their own
show what a call costs that joins nothing.
"""

from __future__ import annotations

import random
import shutil
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from common import Row, options, report, scratch
from imarium.archive import Archive
from imarium.codec.frames import Lane
from imarium.ingest import Summary
from imarium.ingest.outcome import Status
from imarium.pack import SeriesIndex
from imarium.phantoms import ct_chest
from imarium.settings import Settings


class Taken:
    """What an archive holds after some calls, and how long they took."""

    def __init__(self, calls: Sequence[Sequence[Path]], home: Path) -> None:
        archive = Archive(Settings(home=home))
        self.times = []
        processor = time.process_time()
        for files in calls:
            began = time.perf_counter()
            summary = Summary.of(archive.ingest.run(files, collection="bench"))
            self.times.append(time.perf_counter() - began)
            assert summary.files[Status.TAKEN] == len(files)
        self.seconds, self.processor = sum(self.times), time.process_time() - processor
        self.records = archive.catalog.series()[0]
        self.kept = 0
        for record in self.records:
            start, stop = record.index_span
            pack = (archive.settings.objects / record.pack.key).read_bytes()
            index = SeriesIndex.from_bytes(pack[start:stop])
            self.kept += int((index.lanes == Lane.SOURCE).sum())
        self.objects = sum(path.stat().st_size for path in archive.settings.objects.rglob("*.imp"))
        archive.close()
        shutil.rmtree(home)


def compressed(files: Sequence[Path], folder: Path) -> list[Path]:
    """The slices in 8 bits as JPEG (baseline), which the archive keeps."""
    folder.mkdir()
    for file in files:
        dataset = pydicom.dcmread(file)
        pixels = (dataset.pixel_array.astype(np.float32) * (255 / 4095)).round().astype(np.uint8)
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.RescaleSlope = "16.0588"
        dataset.PixelData = encapsulate([bytes(imagecodecs.jpeg8_encode(pixels, level=90))])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        dataset.save_as(folder / file.name)
    return sorted(folder.iterdir())


def apart(files: Sequence[Path], folder: Path) -> list[Path]:
    """The slices as series of their own."""
    folder.mkdir()
    for file in files:
        dataset = pydicom.dcmread(file)
        dataset.SeriesInstanceUID = f"{dataset.SOPInstanceUID}.1"[:64]
        dataset.save_as(folder / file.name)
    return sorted(folder.iterdir())


def main() -> None:
    arguments = options(__doc__ or "")
    count, side = (12, 96) if arguments.smoke else (200, 512)
    rows = []
    with scratch() as folder:
        plain = ct_chest(count, side, side).write_dicom(folder / "plain")
        jpeg = compressed(plain, folder / "jpeg")
        alone = Taken([[file] for file in apart(plain, folder / "apart")], folder / "home")
        each = statistics.median(alone.times)
        rows.append(Row(f"a call with one file that joins nothing (median of {count})", each * 1e3, "ms"))
        for name, files in (("plain", plain), ("JPEG", jpeg)):
            once = [Taken([files], folder / "home") for _ in range(3)]
            order = list(files)
            if name == "JPEG":
                random.Random(0).shuffle(order)
            grown = Taken([[file] for file in order], folder / "home")
            at_once = statistics.median(taken.seconds for taken in once)
            stored = grown.records[0].stored_bytes / once[0].records[0].stored_bytes
            packs = grown.objects / grown.records[0].pack.size
            last = statistics.median(grown.times[-10:])
            rows += [
                Row(f"{name}: {count} slices at once (median)", at_once, "s"),
                Row(f"{name}: one a call", grown.seconds, "s"),
                Row(f"{name}: one a call, processor", grown.processor, "s"),
                Row(f"{name}: one a call, times at once", grown.seconds / at_once, "x"),
                Row(f"{name}: one a call, times calls that join nothing", grown.seconds / alone.seconds, "x"),
                Row(f"{name}: the last ten calls (median)", last * 1e3, "ms"),
                Row(f"{name}: bytes stored, of those at once", stored, "", 1.01, at_most=True),
                Row(f"{name}: objects in the store, packs of the last size", packs, ""),
            ]
            if once[0].kept:
                kept = grown.kept / once[0].kept
                rows.append(Row(f"{name}: codestreams that are kept, of those at once", kept, "", 1.0))
    report("growth", rows, smoke=arguments.smoke)


if __name__ == "__main__":
    main()
