"""Decoding a whole volume from its pack against the bare codec, and what a second thread is worth."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import imagecodecs
import numpy as np

from common import Row, options, report, scratch
from imarium.codec import decompositions_for, encode_frames
from imarium.pack import LevelReader, PackWriter
from imarium.phantoms import ct_chest
from imarium.store import open_local
from imarium.testing import series_of


def seconds(task: Callable[[], object]) -> float:
    began = time.perf_counter()
    task()
    return time.perf_counter() - began


def stored(volume: np.ndarray, folder: Path) -> Callable[[int], np.ndarray]:
    """Store a volume as a pack in a folder; what is given reads and decodes it on so many threads."""
    frames, rows, columns = volume.shape
    series = series_of(volume[0], frames=frames, uid="1.2.3")
    depth = decompositions_for(rows, columns)
    store = open_local(folder / "objects")
    with PackWriter(folder) as writer:
        index = writer.add(series, depth, encode_frames(volume, series, depth, 2), {})
        store.put("pack", writer.finish().path)

    def read(threads: int) -> np.ndarray:
        many = partial(store.read_many, "pack")
        reader = LevelReader(index, store.fetch("pack"), 0, threads, many, near=store.near)
        return np.asarray(reader.volume())

    return read


def encoding(volume: np.ndarray, threads: int) -> None:
    series = series_of(volume[0], frames=len(volume), uid="1.2.3")
    for _ in encode_frames(volume, series, decompositions_for(*volume.shape[1:]), threads):
        pass


def bare(codestreams: Sequence[bytes], volume: np.ndarray, threads: int) -> None:
    out = np.empty_like(volume)
    with ThreadPoolExecutor(threads) as pool:
        jobs = zip(codestreams, out, strict=True)
        list(pool.map(lambda job: imagecodecs.htj2k_decode(job[0], out=job[1]), jobs))


def main() -> None:
    arguments = options(__doc__ or "")
    frames, side, rounds = (16, 128, 2) if arguments.smoke else (128, 512, 9)
    cores = os.cpu_count() or 1
    volume = np.stack(list(ct_chest(frames, side, side).hounsfield()))
    depth = decompositions_for(side, side)
    codestreams = [
        bytes(imagecodecs.htj2k_encode(frame, resolutions=depth, reversible=True)) for frame in volume
    ]
    ratios: dict[int, list[float]] = {}
    scaling: dict[str, list[float]] = {}
    with scratch() as folder:
        ours = stored(volume, folder)
        assert np.array_equal(ours(cores), volume)
        tasks: dict[str, Callable[[int], object]] = {
            "decode": ours,
            "encode and verify": partial(encoding, volume),
            "bare decode": partial(bare, codestreams, volume),
        }
        for _ in range(rounds):
            for threads in sorted({1, cores}):
                before = seconds(partial(tasks["bare decode"], threads))
                whole = seconds(partial(ours, threads))
                after = seconds(partial(tasks["bare decode"], threads))
                ratios.setdefault(threads, []).append((before + after) / 2 / whole)
            for name, task in tasks.items():
                scaling.setdefault(name, []).append(seconds(partial(task, 1)) / seconds(partial(task, 2)))
    rows = [
        Row(f"full volume, {threads} threads: speed of the bare codec's", statistics.median(values), "", 0.9)
        for threads, values in ratios.items()
    ]
    rows += [
        Row(
            f"{name}: two threads, times one", statistics.median(values), "x", None if "bare" in name else 1.8
        )
        for name, values in scaling.items()
    ]
    report("decode", rows, smoke=arguments.smoke)


if __name__ == "__main__":
    main()
