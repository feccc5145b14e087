"""Packs on a server, or wherever addresses of its manifest lead."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import httpx

from imarium.client.multipart import boundary_of, parse_content_range, parts_of
from imarium.client.origin import cut, joined, together
from imarium.client.wire import AnswerError, PassingError, Wire
from imarium.errors import IntegrityError, NotFoundError, TransportError
from imarium.pack import Held, Span

_RANGES_AT_ONCE = 256
"""As many ranges as a server answers at once."""
_SILENCE_SECONDS = 30.0
"""Without a byte, after which an answer counts as cut."""
_REQUEST_BYTES = 32 << 20
"""More are several requests at the same time, each of which goes on by itself when it is cut."""
_WORTHWHILE_BYTES = 1 << 16
"""A cut answer that brought so many was not in vain."""


class _Gap:
    """A range that is being fetched, from its start on."""

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop
        self.at = start
        """The first byte that is missing."""
        self.spans: list[Span] = []
        self.pieces: list[memoryview] = []
        """What came; not joined, so that it is copied once."""

    def take(self, position: int, chunk: memoryview) -> None:
        """Bytes of the pack from a position on: those that come next here are kept."""
        begin, end = self.at - position, self.stop - position
        if 0 <= begin < len(chunk):
            piece = chunk[begin:end]
            self.spans.append((self.at, self.at + len(piece)))
            self.pieces.append(piece)
            self.at += len(piece)


class HttpOrigin:
    """Packs by range requests: many ranges in one, several requests at once.

    What fails in a way that passes is asked for again, and only the bytes that are missing.
    """

    near = False

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._addresses: dict[str, str] = {}

    def know(self, pack: str, address: str) -> None:
        """Read a pack from an address of its own (presigned, of a manifest's row) as long as that answers;
        the token is not sent there."""
        self._addresses[pack] = address

    async def read(self, pack: str, spans: Sequence[Span]) -> list[bytes]:
        """See `Origin.read`."""
        requests = requests_for(spans, presigned=pack in self._addresses)
        groups = [[_Gap(*span) for span in request] for request in requests]
        await together(self._fill(pack, group) for group in groups)
        gaps = [gap for group in groups for gap in group]
        held = Held(
            [span for gap in gaps for span in gap.spans], [piece for gap in gaps for piece in gap.pieces]
        )
        return cut(held, spans)

    async def reread(self, pack: str, spans: Sequence[Span]) -> list[bytes]:
        """Nothing is kept on the way."""
        return await self.read(pack, spans)

    async def close(self) -> None:
        """Close the connections of the running loop."""
        await self._wire.close()

    async def _fill(self, pack: str, gaps: Sequence[_Gap]) -> None:
        patience = self._wire.patience()
        while missing := [gap for gap in gaps if gap.at < gap.stop]:
            before = sum(gap.at for gap in missing)
            try:
                async with self._wire.turns:
                    await self._ask(pack, missing)
            except PassingError as failure:
                came = sum(gap.at for gap in missing) - before
                await patience.failed(failure, progress=came >= _WORTHWHILE_BYTES)

    async def _ask(self, pack: str, gaps: Sequence[_Gap]) -> None:
        """One request for all that is missing; raises PassingError unless all of it came."""
        presigned = self._addresses.get(pack)
        if presigned is None and self._wire.url is None:
            raise NotFoundError("the manifest has no address for a pack; open the store that holds it")
        asked = ",".join(f"{gap.at}-{gap.stop - 1}" for gap in gaps)
        headers = {"Range": f"bytes={asked}", "Accept-Encoding": "identity"}
        address = presigned or self._wire.address(f"/{pack}")
        try:
            async with self._wire.stream(
                "GET", address, own=presigned is None, headers=headers, timeout=_SILENCE_SECONDS
            ) as response:
                if response.status_code != httpx.codes.PARTIAL_CONTENT:
                    raise TransportError(
                        "the server, or a proxy before it, did not answer with the ranges asked for"
                    )
                await _receive(response, gaps)
        except NotFoundError as error:
            raise NotFoundError(
                "a pack is gone from where it was; look for the series again, or make a new manifest"
            ) from error
        except AnswerError as error:
            if error.status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise IntegrityError(
                    "the pack has no such bytes; do the ranges come from its manifest?"
                ) from error
            if presigned is None or error.status != httpx.codes.FORBIDDEN:
                raise
            self._addresses.pop(pack, None)  # it has expired; a server has the pack too
            if self._wire.url is None:
                raise TransportError("the manifest's addresses have expired; make a new manifest") from error
            raise PassingError(error) from error
        if any(gap.at < gap.stop for gap in gaps):
            raise PassingError(IntegrityError("the server left out bytes that were asked for"))


async def _receive(response: httpx.Response, gaps: Sequence[_Gap]) -> None:
    boundary = boundary_of(response.headers.get("content-type", ""))
    if boundary is None:
        try:
            position, _, total = parse_content_range(response.headers.get("content-range", ""))
        except IntegrityError as error:
            raise PassingError(error) from error
        _check_end(gaps, total)
        async for chunk in response.aiter_bytes():
            _take(gaps, position, memoryview(chunk))
            position += len(chunk)
        return
    content = bytearray()
    try:
        async for chunk in response.aiter_bytes():
            content += chunk
    finally:  # of an answer that is cut off, what came is used
        view = memoryview(content)
        parts, _ = parts_of(boundary, content)
        for part in parts:
            _check_end(gaps, part.total)
            _take(gaps, part.start, view[part.offset : part.offset + part.length])


def _take(gaps: Sequence[_Gap], position: int, chunk: memoryview) -> None:
    """Bytes from a position on, to those of the ascending gaps that they reach."""
    number = bisect_right(gaps, position, key=lambda gap: gap.stop)
    while number < len(gaps) and gaps[number].start < position + len(chunk):
        gaps[number].take(position, chunk)
        number += 1


def _check_end(gaps: Sequence[_Gap], total: int | None) -> None:
    if total is not None and gaps[-1].stop > total:
        raise IntegrityError(
            f"the pack ends after {total} bytes, and byte {gaps[-1].stop - 1} was asked for; "
            "do the ranges come from its manifest?"
        )


def requests_for(spans: Sequence[Span], *, presigned: bool = False) -> list[list[Span]]:
    """How bytes of a pack are asked for: the ranges of each request, which all go out at the same time.

    Object stores, to which `presigned` addresses lead, answer one range a request.
    """
    most = 1 if presigned else _RANGES_AT_ONCE
    requests: list[list[Span]] = []
    size = 0
    for span in joined(spans):
        for start in range(*span, _REQUEST_BYTES):
            stop = min(span[1], start + _REQUEST_BYTES)
            if not requests or len(requests[-1]) == most or size + stop - start > _REQUEST_BYTES:
                requests.append([])
                size = 0
            requests[-1].append((start, stop))
            size += stop - start
    return requests
