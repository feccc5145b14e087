"""Answers made of bytes and of ranges that are read while what comes before them is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from imarium.errors import IntegrityError, NotFoundError
from imarium.faces.http.context import LOST
from imarium.pack import Span

_CHUNK_BYTES = 1 << 20
"""Read and sent at once. A slow reader costs two: the one that is sent, and the one after it."""

Read = Callable[[int, int], bytes]
"""Bytes start to stop - 1 of what is stored."""


def answer_of(
    read: Read, pieces: Iterable[bytes | Span], status: int, headers: Mapping[str, str], media_type: str
) -> Response:
    """An answer of pieces in their order. The first chunk is read now, while errors can still be answered."""
    batches = _batches(pieces)
    first = _joined(read, next(batches, ()))
    rest = next(batches, None)
    if rest is None:
        return Response(first, status, headers, media_type)
    return StreamingResponse(_ahead(read, first, rest, batches), status, headers, media_type)


def _batches(pieces: Iterable[bytes | Span]) -> Iterator[Sequence[bytes | Span]]:
    """Pieces of a chunk each; ranges are cut where a chunk is full."""
    batch: list[bytes | Span] = []
    room = _CHUNK_BYTES
    for piece in pieces:
        if isinstance(piece, bytes):
            batch.append(piece)
            room -= len(piece)
            continue
        start, stop = piece
        while start < stop:
            if room <= 0:
                yield batch
                batch, room = [], _CHUNK_BYTES
            end = min(stop, start + room)
            batch.append((start, end))
            room -= end - start
            start = end
    if batch:
        yield batch


def _joined(read: Read, batch: Sequence[bytes | Span]) -> bytes:
    try:
        content = [piece if isinstance(piece, bytes) else read(*piece) for piece in batch]
    except NotFoundError as error:
        raise IntegrityError(LOST) from error
    return content[0] if len(content) == 1 else b"".join(content)


async def _ahead(
    read: Read,
    first: bytes,
    batch: Sequence[bytes | Span],
    following: Iterator[Sequence[bytes | Span]],
) -> AsyncIterator[bytes]:
    """Chunks in order, each read on a thread while the one before it is sent."""
    content = first
    waiting = asyncio.create_task(run_in_threadpool(_joined, read, batch))
    try:
        yield content
        for batch in following:
            content = await waiting
            waiting = asyncio.create_task(run_in_threadpool(_joined, read, batch))
            yield content
        yield await waiting
    finally:
        waiting.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await waiting
