"""The pictures of COVID-CT, or generated ones, and the ways to come by them at a size."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

import httpx
import numpy as np
import torch
from PIL import Image
from torch.nn import functional

import imarium
from accuracy_training import Pictures
from imarium.archive import Archive
from imarium.ingest.outcome import Status
from imarium.manifest import ManifestRow
from imarium.settings import Settings
from imarium.torch import StreamingDataset

COLLECTION = "covid-ct"
CLASSES = {"NonCOVID": "normal", "COVID": "covid"}
"""Folders, and the labels that their pictures get; their places are the numbers that are trained on."""
SPLITS = ("train", "val")
CONNECTIONS = 8
_LUMA = np.array([0.299, 0.587, 0.114])

Found = dict[str, tuple[torch.Tensor, int]]
"""By series or file: (1, size, size), and the number of the class."""
Way = Callable[[str, str | None, int], Found]
"""Of the address of a server, a token for it, and a size."""


@dataclass(frozen=True)
class Picture:
    """A line of the official lists."""

    path: str
    """Below the folder of the data."""
    split: str
    label: int
    patient: str
    """As the meta-information says; a picture of unknown patient has one of its own."""


def listed(data: Path) -> list[Picture]:
    """What the lists name, in their order. Raises ValueError for lists and folders that do not agree."""
    patients = _patients(data / "Info")
    found = []
    for split in SPLITS:
        for folder in CLASSES:
            names = (data / "Data-split" / folder / f"{split}CT_{folder}.txt").read_text().split("\n")
            names = [name.strip() for name in names if name.strip()]
            held = {path.name for path in (data / split / folder).iterdir()}
            if set(names) != held or len(names) != len(held):
                raise ValueError(f"{split}/{folder} is not what its list names")
            for name in names:
                path = f"{split}/{folder}/{name}"
                patient = patients.get(f"{folder}/{name}", path)
                found.append(Picture(path, split, list(CLASSES).index(folder), patient))
    seen = [{picture.patient for picture in found if picture.split == split} for split in SPLITS]
    if seen[0] & seen[1]:
        raise ValueError("patients are on both lists")
    return found


def _patients(info: Path) -> dict[str, str]:
    found = {}
    for folder, name, patient in (
        ("COVID", "File name", "Patient ID"),
        ("NonCOVID", "image name", "patient id"),
    ):
        path = info / f"{folder}-CT-MetaInfo.csv"
        if path.exists():
            with path.open(newline="", encoding="utf-8", errors="replace") as lines:
                for row in csv.DictReader(lines):
                    if row[patient]:
                        found[f"{folder}/{row[name]}"] = f"{folder} {row[patient]}"
    return found


def generated(data: Path, train: int, val: int) -> None:
    """Pictures in the same layout and mix of formats, `train` and `val` a class: discs with soft shapes, and
    with stripes in class 1."""
    random = np.random.default_rng(0)
    for split, count in zip(SPLITS, (train, val), strict=True):
        for folder in CLASSES:
            (data / split / folder).mkdir(parents=True)
            (data / "Data-split" / folder).mkdir(parents=True, exist_ok=True)
            names = []
            for number in range(count):
                kind = number % 4
                names.append(f"{number}%1.{'jpg' if kind == 3 else 'png'}")
                picture = _generated(random, stripes=folder == "COVID")
                if kind:
                    picture = picture.convert("RGBA" if kind == 2 else "RGB")
                picture.save(data / split / folder / names[-1])
            (data / "Data-split" / folder / f"{split}CT_{folder}.txt").write_text("\n".join(names) + "\n")


def _generated(random: np.random.Generator, *, stripes: bool) -> Image.Image:
    rows = int(random.integers(40, 200))
    columns = rows + int(random.integers(0, 80))
    y, x = np.ogrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    pixels = 90 + 40 * np.sin(x * random.uniform(1, 4) + y * random.uniform(1, 4)) + 0 * y
    if stripes:
        pixels = pixels + 40 * np.sign(np.sin(18 * (x + y) + random.uniform(0, math.tau)))
    pixels = np.where(x**2 + y**2 < 0.9, pixels, 0) + random.normal(0, 4, (rows, columns))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def ingest(data: Path, pictures: Sequence[Picture], home: Path) -> dict[str, str]:
    """Take all in, with labels for class and split; gives the series of each path."""
    series = {}
    archive = Archive(Settings(home=home))
    for split in SPLITS:
        for label, name in enumerate(CLASSES.values()):
            paths = {
                data / picture.path: picture.path
                for picture in pictures
                if (picture.split, picture.label) == (split, label)
            }
            labels = {"class": name, "split": split}
            for outcome in archive.ingest.run(list(paths), collection=COLLECTION, labels=labels):
                assert outcome.status is Status.TAKEN, (outcome.status, outcome.reason)
                assert outcome.series is not None
                series[paths[outcome.path]] = outcome.series
    archive.close()
    assert len(set(series.values())) == len(pictures)
    return series


# --- ways to the pictures ---------------------------------------------------------------------------------


def files(pictures: Sequence[Picture], *, antialias: bool) -> Way:
    """What one does without Imarium: whole files over HTTP, decoded, and made small by linear interpolation.
    A size of 0 leaves them as they are."""

    def read(url: str, _: str | None, size: int) -> Found:
        with httpx.Client(base_url=url, limits=httpx.Limits(max_connections=CONNECTIONS)) as http:

            def one(picture: Picture) -> tuple[torch.Tensor, int]:
                content = http.get(f"/{quote(picture.path)}").raise_for_status().content
                image = decoded(content)
                return (fitted(image, size, antialias=antialias) if size else image), picture.label

            with ThreadPoolExecutor(CONNECTIONS) as pool:
                found = pool.map(one, pictures)
                return dict(zip((picture.path for picture in pictures), found, strict=True))

    return read


def decoded(content: bytes) -> torch.Tensor:
    """(1, rows, columns) grey of a file, from 0 to 255; of colours as the data set makes it, no alpha."""
    values = np.asarray(Image.open(io.BytesIO(content)))
    grey = values if values.ndim == 2 else values[..., :3] @ _LUMA
    return torch.from_numpy(grey.astype(np.float32)).unsqueeze(0)


def fitted(image: torch.Tensor, size: int, *, antialias: bool = True) -> torch.Tensor:
    """(1, size, size): the shorter side made so long, and the middle of it."""
    rows, columns = image.shape[-2:]
    shorter = min(rows, columns)
    target = (round(rows * size / shorter), round(columns * size / shorter))
    made = functional.interpolate(image[None], target, mode="bilinear", antialias=antialias)[0]
    top, left = (target[0] - size) // 2, (target[1] - size) // 2
    return made[:, top : top + size, left : left + size].clone()


def streamed(url: str, token: str | None, size: int) -> Found:
    """As docs/guide/training.md has it: of each series the smallest level that is large enough, made
    smaller by linear interpolation with antialiasing. Pictures that are too small are made larger."""
    found: Found = {}
    with imarium.connect(url, token, cache=False) as client:
        for split in SPLITS:
            data = StreamingDataset(
                client,
                f"{COLLECTION} label.split={split}",
                size=size,
                upsample=True,
                channels=1,
                label="class",
                info=True,
                shuffle=False,
            )
            numbers = [list(CLASSES.values()).index(name) for name in data.classes]
            found.update((where["series"], (image, numbers[label])) for image, label, where in data)
    return found


def at_level_nearest(url: str, token: str | None, size: int) -> Found:
    """Of each series the level whose shorter side is nearest to `size` by ratio, made that size. A size of 0
    is the full resolution as it is."""
    found: Found = {}
    with imarium.connect(url, token, cache=False) as client:
        for split in SPLITS:
            manifest = client.manifest(f"{COLLECTION} label.split={split}")
            for level in sorted({nearest(row, size) for row in manifest.rows()}):
                data = StreamingDataset(
                    client,
                    manifest=manifest.filter(partial(_is_at, size, level)),
                    level=level,
                    channels=1,
                    transform=(lambda image: fitted(image, size)) if size else torch.clone,
                    label=_label,
                    info=True,
                    shuffle=False,
                )
                found.update((where["series"], (image, label)) for image, label, where in data)
    return found


def nearest(row: ManifestRow, size: int) -> int:
    """A level."""
    if not size:
        return 0
    sides = [min(level.rows, level.columns) for level in row.levels]
    return min(range(len(sides)), key=lambda level: abs(math.log(sides[level] / size)))


def _is_at(size: int, level: int, row: ManifestRow) -> bool:
    return nearest(row, size) == level


def _label(row: ManifestRow) -> int:
    return list(CLASSES.values()).index(dict(row.labels)["class"])


def in_order(found: Found, keys: Sequence[str], pictures: Sequence[Picture]) -> Pictures:
    """The same pictures in the order of the lists, whatever order they came in; what came must be all of
    them, and of the classes that the lists say. Raises AssertionError."""
    assert sorted(found) == sorted(keys), "other pictures than the lists name"
    labels = [found[key][1] for key in keys]
    assert labels == [picture.label for picture in pictures], "other classes than the lists say"
    return Pictures(torch.stack([found[key][0] for key in keys]), torch.tensor(labels))


def parts(pictures: Sequence[Picture], held: Pictures) -> Iterator[Pictures]:
    """Those of each split."""
    for split in SPLITS:
        places = torch.tensor([place for place, one in enumerate(pictures) if one.split == split])
        yield Pictures(held.images[places], held.labels[places])
