"""Answers made of bytes and of ranges that are read while what comes before them is sent."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress

from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from imarium.faces.http.context import found_in_store
from imarium.pack import Span

_LEAST_BYTES, _FIRST_BYTES, _MOST_BYTES = 64 << 10, 128 << 10, 1 << 20
"""Bytes of a chunk, of which an answer holds two: the one that is sent, and the one after it. They grow for a
reader that keeps up, and are small for all others, of whom there may be many."""
_FAST, _TAKEN_BY_THE_SYSTEM = 100e6, 8 << 20
"""Bytes a second of a reader that keeps up; after so many bytes, since the system takes the first ones at
once, whoever reads them."""

Read = Callable[[int, int], bytes]
"""Bytes start to stop - 1 of what is stored."""


def answer_of(
    read: Read, pieces: Iterable[bytes | Span], status: int, headers: Mapping[str, str], media_type: str
) -> Response:
    """An answer of pieces in their order. The first chunk is read now, while errors can still be answered."""
    left = deque(piece for piece in pieces if isinstance(piece, bytes) or piece[0] < piece[1])
    first = _next_chunk(read, left, _FIRST_BYTES)
    if not left:
        return Response(first, status, headers, media_type)
    return StreamingResponse(_ahead(read, first, left), status, headers, media_type)


def _next_chunk(read: Read, left: deque[bytes | Span], size: int) -> bytes:
    """So many bytes from the front of the pieces that are left."""
    content: list[bytes] = []
    while left and size > 0:
        piece = left.popleft()
        if not isinstance(piece, bytes):
            start, stop = piece
            end = min(stop, start + size)
            if end < stop:
                left.appendleft((end, stop))
            with found_in_store():
                piece = read(start, end)
        content.append(piece)
        size -= len(piece)
    return content[0] if len(content) == 1 else b"".join(content)


async def _ahead(read: Read, first: bytes, left: deque[bytes | Span]) -> AsyncIterator[bytes]:
    """Chunks in order, each read on a thread while the one before it is sent."""
    content, size, sent = first, _FIRST_BYTES, 0
    waiting: asyncio.Task[bytes] | None = None
    try:
        while left:
            waiting = asyncio.create_task(run_in_threadpool(_next_chunk, read, left, size))
            began = time.monotonic()
            yield content
            sent += len(content)
            if len(content) < _FAST * (time.monotonic() - began):
                size = _LEAST_BYTES
            elif sent >= _TAKEN_BY_THE_SYSTEM:
                size = min(_MOST_BYTES, 2 * size)
            content = await waiting
        yield content
    finally:
        if waiting is not None:
            waiting.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await waiting
