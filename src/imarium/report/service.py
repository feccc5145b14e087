"""Measures the series of a manifest: what each level costs, and how good it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from imarium.client import Client
from imarium.errors import IntegrityError, NotFoundError
from imarium.report.costs import requests_of
from imarium.report.fidelity import Fidelity, fidelity
from imarium.report.results import Dataset, LevelResult, SeriesResult

if TYPE_CHECKING:
    from imarium.manifest import ManifestRow

_AT_ONCE = 4
"""Series that are read and compared at the same time."""
_LARGE_VALUES = 4 << 20
"""Frames of more values take turns, so that memory is that of one of them."""


def costs(rows: Iterable[ManifestRow]) -> Iterator[SeriesResult]:
    """What every level costs, from the manifest alone."""
    return (_costs(row) for row in rows)


def measured(client: Client, rows: Iterable[ManifestRow], frames: int) -> Iterator[SeriesResult]:
    """What every level costs and how good it is, in the order of the rows; memory is bounded.

    At most `frames` frames of a series are compared, spread evenly. Reads each of them once, at full
    resolution. A series whose pack is damaged or gone says so in its result. Raises TransportError,
    AuthenticationError and StorageError, which every series would meet.
    """
    turn = Lock()
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="report") as pool:
        waiting: deque[Future[SeriesResult]] = deque()
        try:
            for row in rows:
                waiting.append(pool.submit(_measured, client, row, frames, turn))
                if len(waiting) > _AT_ONCE:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def expected_bytes(rows: Iterable[ManifestRow], frames: int) -> int:
    """About what `measured` reads."""
    total = 0
    for row in rows:
        if _comparable(row):
            start, stop = row.index
            total += stop - start + row.levels[0].bytes * min(frames, row.frames) // row.frames
    return total


def sampled(count: int, most: int) -> list[int]:
    """At most `most` of the numbers below `count`, evenly spread; first and last are among several."""
    return sorted({round(number) for number in np.linspace(0, count - 1, min(count, most))})


def _comparable(row: ManifestRow) -> bool:
    return len(row.levels) > 1 and np.dtype(row.dtype).kind != "c"


def _costs(row: ManifestRow) -> SeriesResult:
    start, stop = row.index
    return SeriesResult(
        series=row.series,
        dataset=Dataset(row.collection, row.modality, row.label_map),
        frames=row.frames,
        rows=row.rows,
        columns=row.columns,
        samples=row.samples,
        dtype=row.dtype,
        index_bytes=stop - start,
        levels=tuple(
            LevelResult(item.level, item.rows, item.columns, item.bytes, requests_of(row, item.level))
            for item in row.levels
        ),
    )


def _measured(client: Client, row: ManifestRow, frames: int, turn: Lock) -> SeriesResult:
    result = _costs(row)
    if not _comparable(row):
        return result
    numbers = sampled(row.frames, frames)
    large = row.rows * row.columns * row.samples > _LARGE_VALUES
    found: list[list[Fidelity]] = [[] for _ in row.levels]
    try:
        with turn if large else nullcontext():
            series = client.series_at(row)
            read = result.index_bytes + int(series.index.lengths[:, numbers].sum(dtype=np.int64))
            for full, *smaller in series.pyramids(numbers):
                for level, frame in enumerate(smaller, 1):
                    found[level].append(fidelity(full, frame, level, label_map=row.label_map))
    except (IntegrityError, NotFoundError) as error:
        return replace(result, error=str(error))
    levels = tuple(
        replace(level, fidelity=Fidelity.mean(several) if several else None)
        for level, several in zip(result.levels, found, strict=True)
    )
    return replace(result, levels=levels, sampled=len(numbers), read_bytes=read)
