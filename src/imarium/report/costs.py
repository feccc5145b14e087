"""What reading a level costs: bytes, requests, and the time that a link takes for them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imarium.client.origin import pieces_of_row
from imarium.client.remote import requests_for
from imarium.client.wire import CONNECTIONS
from imarium.errors import InvalidRequestError

if TYPE_CHECKING:
    from imarium.manifest import ManifestRow

_MOST_LINKS = 8


@dataclass(frozen=True, slots=True)
class Link:
    """A way to the server."""

    bandwidth: float
    """Mbit/s."""
    latency: float
    """Milliseconds from a request to the first byte of its answer."""

    def seconds(self, size: int, requests: int) -> float:
        """An estimate for so many bytes in so many requests, of which the client has several under way.

        It counts bytes and round trips alone, not connecting, headers, a server's work, or a link that needs
        a while to get up to speed.
        """
        rounds = math.ceil(requests / CONNECTIONS)
        return rounds * self.latency / 1e3 + size * 8 / (self.bandwidth * 1e6)


def parse_links(bandwidths: str, latency: float) -> tuple[Link, ...]:
    """Links of "10,100,1000" in Mbit/s with a latency in ms, slowest first. Raises InvalidRequestError."""
    try:
        values = sorted({float(item) for item in bandwidths.split(",")})
    except ValueError as error:
        raise InvalidRequestError("bandwidths are numbers in Mbit/s like 10,100,1000") from error
    if len(values) > _MOST_LINKS or not all(0 < value < math.inf for value in values):
        raise InvalidRequestError(f"bandwidths are up to {_MOST_LINKS} numbers above 0, in Mbit/s")
    if not 0 <= latency < math.inf:
        raise InvalidRequestError("a latency is a number of milliseconds, 0 or more")
    return tuple(Link(value, latency) for value in values)


def requests_of(row: ManifestRow, level: int) -> int:
    """Requests that the client makes to a server for a level of a whole series and, with it, its index."""
    spans = [row.index, *pieces_of_row(row, level)]
    return len(requests_for(spans, presigned=row.url is not None))
