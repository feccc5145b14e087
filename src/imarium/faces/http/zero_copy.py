"""Files to sockets without a copy: the ASGI extension `http.response.zerocopysend`, which uvicorn lacks.

https://asgi.readthedocs.io/en/latest/extensions.html#zero-copy-send
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any, BinaryIO

from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

EXTENSION = "http.response.zerocopysend"

_MOST_BYTES = 8 << 20
"""Of one call of the system, which keeps a thread where the disk is slow."""
_SHORT, _LONG = 0.001, 0.05
"""Seconds between two looks at whether the head of an answer has gone out."""


def takes_files(scope: Scope) -> bool:
    """Whether the server that asks knows the extension."""
    return EXTENSION in scope.get("extensions", {})


class FileAnswer(Response):
    """Bytes offset to offset + count - 1 of a file, which is closed afterwards; without a copy."""

    def __init__(
        self,
        file: BinaryIO,
        offset: int,
        count: int,
        status: int,
        headers: Mapping[str, str],
        media_type: str,
    ) -> None:
        super().__init__(None, status, {**headers, "Content-Length": str(count)}, media_type)
        self._file, self._offset, self._count = file, offset, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Answer."""
        with self._file:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            await send({"type": EXTENSION, "file": self._file, "offset": self._offset, "count": self._count})


class ZeroCopyProtocol(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn speaks it, and the extension."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if hasattr(os, "sendfile") and cycle.transport.get_extra_info("sslcontext") is None:
            scope: Scope = cycle.scope  # type: ignore[assignment]
            scope.setdefault("extensions", {})[EXTENSION] = {}
            cycle.send = _sender(cycle, cycle.send)  # type: ignore[method-assign, assignment, arg-type]
        super()._start_asgi_task(cycle, app)


def _sender(cycle: RequestResponseCycle, plain: Send) -> Send:
    """What sends messages of the extension itself, and hands all others on."""

    async def send(message: Message) -> None:
        if message["type"] != EXTENSION:
            await plain(message)
            return
        count = message["count"]
        await _send_file(cycle, message["file"].fileno(), message["offset"], count)
        cycle.expected_content_length -= count
        await plain({"type": "http.response.body", "body": b"", "more_body": message.get("more_body", False)})

    return send


async def _send_file(cycle: RequestResponseCycle, file: int, offset: int, count: int) -> None:
    """Send so many bytes. Raises OSError where the file is shorter: the answer must not look whole."""
    pause = _SHORT
    await asyncio.sleep(0)  # what was written leaves at the end of the loop's turn
    while cycle.transport.get_write_buffer_size() and not cycle.disconnected:
        await asyncio.sleep(pause)
        pause = min(_LONG, 2 * pause)
    if cycle.transport.is_closing():
        return
    # The loop watches no descriptor that a transport has, but another of the same socket.
    target = os.dup(cycle.transport.get_extra_info("socket").fileno())
    try:
        while count and not cycle.disconnected:
            try:
                sent = await run_in_threadpool(os.sendfile, target, file, offset, min(count, _MOST_BYTES))
            except BlockingIOError:
                await _writable(target)
                continue
            except (BrokenPipeError, ConnectionError):
                cycle.transport.abort()
                cycle.disconnected = True
                return
            if not sent:
                raise OSError("a file ends before the bytes that were promised")
            offset, count = offset + sent, count - sent
    finally:
        os.close(target)


async def _writable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_writer(descriptor, wake)
    try:
        await ready
    finally:
        loop.remove_writer(descriptor)
