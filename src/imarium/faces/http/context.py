"""What routes depend on: the archive, and who is asking."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends, Header, Request

from imarium.archive import Archive
from imarium.catalog import SeriesRecord
from imarium.errors import AuthenticationError, IntegrityError, NotFoundError

LARGEST = 1 << 31
"""Bound of every integer of a query; what lies beyond it overflows in the catalog."""

OCTETS = "application/octet-stream"
BINARY: dict[int | str, dict[str, object]] = {200: {"content": {OCTETS: {}}}}
"""How OpenAPI is told of plain bytes."""


async def archive_of(request: Request) -> Archive:
    """The archive that the app serves. Asynchronous, since anything else takes a turn of a thread."""
    archive: Archive = request.app.state.archive
    return archive


ArchiveDep = Annotated[Archive, Depends(archive_of)]


def bearer_token(authorization: Annotated[str | None, Header()] = None) -> str:
    """The token of the Authorization header; raises AuthenticationError."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise AuthenticationError("this needs a login; send `Authorization: Bearer TOKEN`")
    return token


TokenDep = Annotated[str, Depends(bearer_token)]


def current_user(archive: ArchiveDep, token: TokenDep) -> str:
    """The user who is asking; raises AuthenticationError."""
    return archive.accounts.authenticate(token)


UserDep = Annotated[str, Depends(current_user)]

_LOST = "what the catalog knows is missing in the store; `imarium verify` finds out what else is"


@contextmanager
def found_in_store() -> Iterator[None]:
    """Around reading what the catalog knows: what the store lacks of it is damage, and no wrong address."""
    try:
        yield
    except NotFoundError as error:
        raise IntegrityError(_LOST) from error


def known_series(archive: ArchiveDep, uid: str) -> Iterator[SeriesRecord]:
    """A series of the catalog."""
    record = archive.catalog.get_series(uid)
    with found_in_store():
        yield record


SeriesDep = Annotated[SeriesRecord, Depends(known_series)]


async def export_turn(request: Request) -> AsyncIterator[None]:
    """A few exports at a time, until they are sent: what waits takes no thread, memory or processor."""
    async with request.app.state.exports:
        yield
