"""Samples decoded several together, on threads, into one piece of memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import torch

from imarium.torch.buffers import Memory
from imarium.torch.decoding import Decoder
from imarium.torch.fetching import Sample

_AHEAD = 2
"""Chunks that are decoded before they are asked for."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Samples that were decoded together."""

    samples: Sequence[Sample]
    images: Sequence[torch.Tensor] | torch.Tensor
    """One tensor with a leading axis for the samples where all have the same shape."""


def decoded(
    windows: Iterator[list[Sample]], decoder: Decoder, memory: Memory, size: int, threads: int
) -> Iterator[Chunk]:
    """The samples of windows, `size` in each chunk but the last. Threads go on while a chunk is used."""
    jobs = (sample for window in windows for sample in window)
    groups = iter(lambda: list(islice(jobs, size)), [])
    try:
        if threads == 1:
            for group in groups:
                chunk, fill = _begun(group, decoder, memory)
                fill(0, len(group))
                yield chunk
            return
        yield from _on_threads(groups, decoder, memory, threads)
    finally:
        jobs.close()
        windows.close()  # type: ignore[attr-defined]


def _on_threads(
    groups: Iterable[list[Sample]], decoder: Decoder, memory: Memory, threads: int
) -> Iterator[Chunk]:
    waiting: deque[tuple[Chunk, list[Future[None]]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        for group in groups:
            chunk, fill = _begun(group, decoder, memory)
            step = -(-len(group) // threads)
            futures = [
                pool.submit(fill, first, min(first + step, len(group)))
                for first in range(0, len(group), step)
            ]
            waiting.append((chunk, futures))
            if len(waiting) > _AHEAD:
                yield _finished(*waiting.popleft())
        while waiting:
            yield _finished(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(chunk: Chunk, futures: Sequence[Future[None]]) -> Chunk:
    for future in futures:
        future.result()
    return chunk


def _begun(
    group: Sequence[Sample], decoder: Decoder, memory: Memory
) -> tuple[Chunk, Callable[[int, int], None]]:
    """A chunk that is still empty, and what fills some of it."""
    decoder.prepare(group)
    shapes = [decoder.shape(sample) for sample in group]
    images: Sequence[torch.Tensor] | torch.Tensor
    if shapes.count(shapes[0]) == len(shapes):
        images = memory.take((len(group), *shapes[0]), decoder.dtype)
    else:
        images = [memory.take(shape, decoder.dtype) for shape in shapes]
    # Views of one array cost less than arrays of many tensors.
    whole = isinstance(images, torch.Tensor) and decoder.in_numpy
    arrays = images.numpy() if whole else None  # type: ignore[union-attr]

    def fill(start: int, stop: int) -> None:
        for number in range(start, stop):
            decoder.fill(group[number], images, number, None if arrays is None else arrays[number])

    return Chunk(group, images), fill
