"""Decoding a whole volume from its pack against the bare codec, and what a second thread is worth."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import imagecodecs
import numpy as np

from common import Row, options, report, scratch
from imarium.codec import decompositions_for, encode_frames
from imarium.pack import LevelReader, PackWriter
from imarium.phantoms import ct_chest
from imarium.testing import series_of


def seconds(task: Callable[[], object]) -> float:
    began = time.perf_counter()
    task()
    return time.perf_counter() - began


def main() -> None:
    arguments = options(__doc__ or "")
    frames, side, rounds = (16, 128, 2) if arguments.smoke else (128, 512, 9)
    cores = os.cpu_count() or 1
    volume = np.stack(list(ct_chest(frames, side, side).hounsfield()))
    series = series_of(volume[0], frames=frames, uid="1.2.3")
    depth = decompositions_for(side, side)
    with scratch() as folder, PackWriter(folder) as writer:
        index = writer.add(series, depth, encode_frames(volume, series, depth, cores), {})
        content = memoryview(writer.finish().path.read_bytes())

    def fetch(start: int, stop: int) -> bytes:
        return bytes(content[start:stop])

    codestreams = [
        bytes(imagecodecs.htj2k_encode(frame, resolutions=depth, reversible=True)) for frame in volume
    ]

    def bare(threads: int) -> None:
        out = np.empty_like(volume)
        with ThreadPoolExecutor(threads) as pool:
            jobs = zip(codestreams, out, strict=True)
            list(pool.map(lambda job: imagecodecs.htj2k_decode(job[0], out=job[1]), jobs))

    def ours(threads: int) -> None:
        LevelReader(index, fetch, 0, threads).volume()

    def encoding(threads: int) -> None:
        for _ in encode_frames(volume, series, depth, threads):
            pass

    assert np.array_equal(LevelReader(index, fetch, 0, cores).volume(), volume)
    ratios: dict[int, list[float]] = {}
    scaling: dict[str, list[float]] = {}
    for _ in range(rounds):
        for threads in sorted({1, cores}):
            before = seconds(lambda threads=threads: bare(threads))  # type: ignore[misc]
            whole = seconds(lambda threads=threads: ours(threads))  # type: ignore[misc]
            after = seconds(lambda threads=threads: bare(threads))  # type: ignore[misc]
            ratios.setdefault(threads, []).append((before + after) / 2 / whole)
        for name, task in {"decode": ours, "encode and verify": encoding, "bare decode": bare}.items():
            one = seconds(lambda task=task: task(1))  # type: ignore[misc]
            two = seconds(lambda task=task: task(2))  # type: ignore[misc]
            scaling.setdefault(name, []).append(one / two)
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
