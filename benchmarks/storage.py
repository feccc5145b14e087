"""Bytes and fidelity: what is stored of real images, level by level, beside other lossless codecs.

Each folder below a PATH is a dataset. Its images are taken into a temporary archive, and measured there:

- all bytes of the archive's objects (pixels, headers, indexes) against the source files that were taken;
- on frames sampled evenly: the bytes of the stored frames against gzip NIfTI (level 6), JPEG-LS, JPEG XL
  (lossless, effort 7), PNG, and the settings of a peer that casts to unsigned 16 bits and encodes HTJ2K with
  a smallest level of 64. Every codec's result is decoded and compared; ratios are over the frames that both
  sides hold exactly, and nothing is extrapolated;
- on the same frames: SSIM and PSNR of each level against bilinear, antialiased downsampling (Pillow's) of the
  full frame to the same size, with the range of the full frame's values as data range.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import nibabel
import numpy as np

from common import report, scratch
from imarium.archive import Archive
from imarium.catalog import SeriesRecord
from imarium.ingest import Status
from imarium.model import Series
from imarium.pack import SeriesIndex
from imarium.phantoms import ct_chest
from imarium.report import sampled
from imarium.settings import Settings
from storage_codecs import add_codecs
from storage_quality import quality
from storage_results import Dataset, ImageResult
from storage_tables import codec_lines, level_lines, markdown, peer_lines, rows_of, size_lines

KINDS = (
    # What neither DICOM's Modality nor an intent code says of the sets of images we know.
    ("labelled-volumes/derivatives/*", "labels"),
    ("labelled-volumes/*", "MR"),
    ("nifti-niivue/CIT168*", "labels"),
    ("nifti-niivue/CT_*", "CT"),
    ("nifti-niivue/fmri_*", "MR"),
    ("nifti-nibabel/anatomical*", "MR"),
    ("nifti-nibabel/functional*", "MR"),
    ("nifti-nibabel/example4d*", "MR"),
    ("nifti-mni152/*", "MR, skull-stripped"),  # the template holds the brain alone (looked at)
    ("mr-*/*", "MR"),
    ("*.seg.nrrd", "labels"),
    ("*/label.nrrd", "labels"),
    ("slicer/CT*", "CT"),
)
MODALITIES = {"CT": "CT", "MR": "MR", "SEG": "labels"}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="folders of images")
    parser.add_argument(
        "--smoke", action="store_true", help="two frames a series; a phantom where no PATH is given"
    )
    parser.add_argument("--limit", type=int, default=8, metavar="N", help="most frames measured a series (8)")
    parser.add_argument(
        "--series", type=int, default=32, metavar="N", help="most series measured a dataset (32)"
    )
    parser.add_argument(
        "--without", action="append", default=[], metavar="NAME", help="leave a dataset out; may be repeated"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything measured, image by image")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the tables, as Markdown")
    found = parser.parse_args()
    if not found.paths and not found.smoke:
        parser.error("give a folder of images, or --smoke")
    if found.smoke:
        found.limit, found.series = min(found.limit, 2), min(found.series, 2)
    return found


def datasets(paths: Iterable[Path], without: Iterable[str]) -> Iterable[tuple[str, Path]]:
    """(name, folder): the folders below each path, or the path itself if there are none."""
    for path in paths:
        folders = sorted(folder for folder in path.iterdir() if folder.is_dir()) if path.is_dir() else []
        for folder in folders or [path]:
            if folder.name not in without:
                yield folder.name, folder


def kind_of(series: Series, place: str) -> str:
    """What an image shows, for the targets; `place` is dataset/path of one of its files."""
    if series.palette:
        return "palette"
    if series.label_map:
        return "labels"
    if series.modality:
        return MODALITIES.get(series.modality, series.modality)
    for pattern, kind in KINDS:
        if fnmatch.fnmatch(place, pattern):
            return kind
    return "picture" if series.samples > 1 or series.dtype == "uint8" else "other"


def measure_dataset(name: str, folder: Path, arguments: argparse.Namespace, home: Path) -> Dataset:
    archive = Archive(Settings(home=home, threads=2))
    found = Dataset(name)
    places: dict[str, str] = {}
    refused: Counter[str] = Counter()
    for outcome in archive.ingest.run([folder], collection="bench"):
        if outcome.status is Status.TAKEN and outcome.series:
            found.taken += 1
            found.source += outcome.source_bytes
            relative = outcome.path.relative_to(folder) if folder.is_dir() else outcome.path.name
            places.setdefault(outcome.series, f"{name}/{relative}")
        elif outcome.status is Status.KNOWN:
            found.known += 1
        else:
            refused[outcome.reason or ""] += 1
    found.refused = dict(refused)
    objects = archive.settings.objects
    found.stored = sum(path.stat().st_size for path in objects.rglob("*") if path.is_file())
    records = archive.catalog.series()[0]
    found.series = len(records)
    for number in sampled(len(records), arguments.series):
        record = records[number]
        result = measure_series(archive, record, places.get(record.series.uid, name), arguments.limit)
        found.images.append(result)
    archive.close()
    return found


def measure_series(archive: Archive, record: SeriesRecord, place: str, most: int) -> ImageResult:
    index = archive.streaming.index(record)
    series = index.series
    numbers = sampled(series.frames, most)
    reader = archive.streaming.reader(record, 0)
    frames = [reader.frame(number) for number in numbers]
    ours = [frame_bytes(index, number) for number in numbers]
    result = ImageResult(
        name=place,
        kind=kind_of(series, place),
        dtype=series.dtype,
        samples=series.samples,
        frames=series.frames,
        sampled=len(frames),
        lane=record.lane,
        raw=sum(frame.nbytes for frame in frames),
        ours=sum(ours),
    )
    add_codecs(result, frames, ours, series)
    for level in range(index.levels):
        result.levels.append(quality(archive, record, index, level, numbers, frames))
    return result


def frame_bytes(index: SeriesIndex, number: int) -> int:
    """Bytes of one frame at full resolution, as stored."""
    return int(index.lengths[: index.parts_at(0), number].sum())


def phantom(folder: Path) -> Path:
    """A dataset for the smoke run: a CT and a label map."""
    phantom = ct_chest(6, 64, 64)
    phantom.write_dicom(folder / "phantom" / "dicom")
    labels = np.zeros((64, 48, 4), np.uint8)
    labels[10:30, 10:30, 1:3] = 2
    image = nibabel.Nifti1Image(labels, np.eye(4))
    image.header["intent_code"] = 1002
    nibabel.save(image, folder / "phantom" / "labels.nii.gz")
    return folder


def main() -> None:
    arguments = options()
    began = time.monotonic()
    found: list[Dataset] = []
    with scratch() as folder:
        if not arguments.paths:
            arguments.paths = [phantom(folder / "data")]
        for number, (name, place) in enumerate(datasets(arguments.paths, arguments.without)):
            started = time.monotonic()
            dataset = measure_dataset(name, place, arguments, folder / f"home{number}")
            note = "" if dataset.taken else ", left out: nothing in it was taken"
            print(
                f"{name}: {dataset.taken} files, {dataset.series} series, "
                f"{time.monotonic() - started:.1f} s{note}",
                file=sys.stderr,
            )
            if dataset.taken:
                found.append(dataset)
    if not found:
        raise SystemExit("no image was taken in")
    for lines in (size_lines(found), codec_lines(found), level_lines(found), peer_lines(found)):
        print("\n" + "\n".join(lines))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(dataset) for dataset in found], indent=1) + "\n")
    if arguments.markdown:
        arguments.markdown.write_text(markdown(found, arguments, time.monotonic() - began))
        print(f"written to {arguments.markdown}")
    report("storage", rows_of(found), smoke=arguments.smoke)


if __name__ == "__main__":
    main()
