"""From an address or a place to a client."""

from __future__ import annotations

from pathlib import Path

from imarium.client.cache import CachedOrigin, RangeCache
from imarium.client.core import AsyncClient
from imarium.client.listing import ServerListing
from imarium.client.origin import Origin
from imarium.client.remote import HttpOrigin
from imarium.client.wire import Wire

CacheChoice = bool | str | Path | RangeCache | None
"""None or True: the cache that the environment says. False: none. A folder, or a cache: that one."""


def client_over(wire: Wire, cache: CacheChoice = None, threads: int | None = None) -> AsyncClient:
    """A client for a server; asks nothing yet."""
    return AsyncClient(ServerListing(wire), cached(HttpOrigin(wire), cache), threads)


def cached(origin: Origin, choice: CacheChoice) -> Origin:
    """The origin with the cache of a choice before it."""
    if choice is False or origin.near:
        return origin
    if not isinstance(choice, RangeCache):
        choice = RangeCache(None if choice is None or choice is True else Path(choice))
    return CachedOrigin(origin, choice) if choice.limit else origin
