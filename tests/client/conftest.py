"""What tests of the client share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from imarium.client import Client
from imarium.client.opening import CacheChoice, client_over
from imarium.client.wire import Wire
from imarium.testing import Proxy, proxied


@pytest.fixture
def uid(live, phantom) -> str:
    """A series of 12 frames of 96x96 on the server."""
    return next(live.archive.ingest.run([phantom / "dicom"], collection="c")).series


@pytest.fixture
def proxy(live) -> Iterator[Proxy]:
    """Between the client and the server."""
    with proxied(live.url) as proxy:
        yield proxy


@pytest.fixture
def hasty(proxy) -> Iterator[Callable[..., Client]]:
    """Makes clients through the proxy that lose patience soon."""
    made: list[Client] = []

    def make(cache: CacheChoice = False, attempts: int = 4) -> Client:
        wire = Wire(proxy.url, attempts=attempts, first_pause=0.001)
        made.append(Client.of(client_over(wire, cache, threads=2)))
        return made[-1]

    yield make
    for client in made:
        client.close()
