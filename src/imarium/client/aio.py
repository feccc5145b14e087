"""The doors of the client for those who await: `imarium.aio.connect` and `imarium.aio.open`."""

from __future__ import annotations

from imarium.client.core import AsyncClient, AsyncSeries
from imarium.client.opening import CacheChoice, client_over
from imarium.client.opening import opened as open
from imarium.client.wire import Wire

__all__ = ["AsyncClient", "AsyncSeries", "connect", "open"]


async def connect(
    url: str,
    token: str | None = None,
    *,
    cache: CacheChoice = None,
    threads: int | None = None,
) -> AsyncClient:
    """Open a client for a server: see `imarium.connect`. Raises TransportError."""
    client = client_over(Wire(url, token), cache, threads)
    try:
        await client.listing.status(attempts=1)
    except BaseException:
        await client.close()
        raise
    return client
