"""Images a second out of the loader, from a warm cache, against the bare codec on the same prefixes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import imagecodecs
from torch.utils.data import DataLoader

from common import Row, options, report, scratch, serving, write_pictures
from imarium.archive import Archive
from imarium.ingest import Summary
from imarium.phantoms import ct_chest
from imarium.settings import Settings
from imarium.torch import StreamingDataset

CORES = 2
BATCH = 32
_EOC = b"\xff\xd9"


@dataclass(frozen=True)
class Case:
    """A collection, and how it is read."""

    name: str
    collection: str
    kind: str
    level: int
    size: int
    """For the resampled batches."""


def write_slices(folder: Path, series: int, frames: int, side: int) -> None:
    """Volumes of CT."""
    for number in range(series):
        ct_chest(frames, side, side, seed=number).write_nifti(folder / f"{number}.nii.gz")


def prefixes(data: StreamingDataset) -> list[tuple[bytes, int]]:
    """The codestream of every sample, cut at its level, and the resolutions to discard."""
    samples = (
        sample for window in data._fetcher.windows(data._order.walk(0, data._share)) for sample in window
    )
    found = [(b"".join(sample.frames[0].parts()), sample.frames[0].plan.level) for sample in samples]
    return [(stream if stream.endswith(_EOC) else stream + _EOC, level) for stream, level in found]


def bare(streams: Sequence[tuple[bytes, int]]) -> None:
    """Each thread decodes its share, one after another."""

    def decode(first: int) -> None:
        for stream, level in streams[first::CORES]:
            imagecodecs.htj2k_decode(stream, planar=False, skipres=level)

    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(decode, range(CORES)))


def emptied(loader: Iterable[object]) -> None:
    for _ in loader:
        pass


def loaders(case: Case, make: Callable[..., StreamingDataset]) -> Iterator[tuple[str, Iterable[object]]]:
    """The ways to iterate, each with its name."""
    workers: dict[str, object] = {"num_workers": CORES, "persistent_workers": True}
    yield f"batches, {CORES} workers", DataLoader(make().batches(BATCH), batch_size=None, **workers)
    yield f"batches, {CORES} threads", make(threads=CORES).batches(BATCH)
    yield f"samples, {CORES} workers", DataLoader(make(batch_size=BATCH), batch_size=BATCH, **workers)
    resampled = make(size=case.size, level=None).batches(BATCH)
    yield (
        f"batches resampled to {case.size}, {CORES} workers",
        DataLoader(resampled, batch_size=None, **workers),
    )


def measured(case: Case, url: str, cache: Path, rounds: int) -> Iterator[Row]:
    """Ratios to the bare codec, taken before and after each epoch."""
    make = partial(
        StreamingDataset, url, case.collection, cache=cache, seed=1, kind=case.kind, level=case.level
    )
    streams = prefixes(make())
    for name, loader in loaders(case, make):
        emptied(loader)
        ratios, speeds, bares = [], [], []
        for _ in range(rounds):
            before = seconds(partial(bare, streams))
            took = seconds(partial(emptied, loader))
            after = seconds(partial(bare, streams))
            ratios.append((before + after) / 2 / took)
            speeds.append(len(streams) / took)
            bares.append(len(streams) * 2 / (before + after))
        target = 0.85 if name.startswith("batches,") and "workers" in name else None
        yield Row(f"{case.name}: {name}, of the bare codec", statistics.median(ratios), "", target)
        yield Row(f"{case.name}: {name}", statistics.median(speeds), "a second")
        yield Row(f"{case.name}: bare codec, beside it", statistics.median(bares), "a second")
        del loader


def seconds(task: Callable[[], object]) -> float:
    began = time.perf_counter()
    task()
    return time.perf_counter() - began


def main() -> None:
    arguments = options(__doc__ or "")
    series, frames, side, pictures, rounds = (2, 8, 128, 60, 1) if arguments.smoke else (8, 128, 512, 5000, 9)
    with scratch() as folder:
        (folder / "ct").mkdir()
        write_slices(folder / "ct", series, frames, side)
        write_pictures(folder / "png", pictures, lambda _: (256, 256))
        archive = Archive(Settings(home=folder / "home"))
        for name in ("ct", "png"):
            Summary.of(archive.ingest.run([folder / name], collection=name))
        archive.close()
        rows: list[Row] = []
        with serving(folder / "home") as url:
            for case in (
                Case("CT slices of 512 at 256", "ct", "slice", 1, side * 7 // 16),
                Case("pictures of 256 at 128", "png", "image", 1, 112),
            ):
                rows += measured(case, url, folder / "cache", rounds)
    report("loader", rows, smoke=arguments.smoke)


if __name__ == "__main__":
    main()
