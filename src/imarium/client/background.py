"""One event loop in a thread of its own, for those who do not await."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class _Background:
    """Made when it is first needed, and anew in a fork, where the thread is not."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="imarium-client", daemon=True).start()
            return self._loop


_background = _Background()
_inherited: list[Any] = []
"""What a fork took over of its parent: connections that are the parent's, and must not be closed."""


def _after_fork() -> None:
    _inherited.append(_background._loop)
    _background.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def start(coroutine: Coroutine[Any, Any, T]) -> Future[T]:
    """Have a coroutine run in the background; cancelling the future ends it."""
    return asyncio.run_coroutine_threadsafe(coroutine, _background.loop())


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, from any thread but the loop's own; an interrupt ends it."""
    future = start(coroutine)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def iterate(items: AsyncIterator[T]) -> Iterator[T]:
    """What an asynchronous iterator yields, one at a time."""

    async def following() -> tuple[T] | None:
        try:
            return (await anext(items),)
        except StopAsyncIteration:
            return None

    try:
        while (item := run(following())) is not None:
            yield item[0]
    finally:
        if isinstance(items, AsyncGenerator):  # not waited for: the interpreter may be ending
            asyncio.run_coroutine_threadsafe(_end(items), _background.loop())


async def _end(items: AsyncGenerator[Any, None]) -> None:
    await items.aclose()
