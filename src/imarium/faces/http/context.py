"""What routes depend on: the archive, and who is asking."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Annotated

from fastapi import Depends, Header, Request

from imarium.access.accounts import ADMINISTRATOR
from imarium.archive import Archive
from imarium.audit import ObjectKind
from imarium.catalog import SeriesRecord
from imarium.errors import AuthenticationError, GoneError, IntegrityError, NotFoundError
from imarium.faces.http.auditing import Noted, noted

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


NotedDep = Annotated[Noted, Depends(noted)]


def current_user(archive: ArchiveDep, token: TokenDep, told: NotedDep) -> str:
    """The user who is asking; raises AuthenticationError."""
    told.actor = archive.accounts.authenticate(token)
    return told.actor


UserDep = Annotated[str, Depends(current_user)]


def administrator(user: UserDep) -> str:
    """The administrator who is asking; raises AuthenticationError."""
    if user != ADMINISTRATOR:
        raise AuthenticationError("this is for administrators")
    return user


AdministratorDep = Annotated[str, Depends(administrator)]

LOST = "what the catalog knows is missing in the store; `imarium verify` finds out what else is"


def known_series(archive: ArchiveDep, told: NotedDep, uid: str) -> Iterator[SeriesRecord]:
    """A series of the catalog. What the store lacks of it is damage, and no wrong address.

    Raises GoneError if it was erased or moved meanwhile.
    """
    record = archive.catalog.get_series(uid)
    told.about(ObjectKind.SERIES, uid)
    try:
        yield record
    except GoneError:
        raise
    except NotFoundError as error:
        archive.streaming.check_known(record.pack.key)
        raise IntegrityError(LOST) from error


SeriesDep = Annotated[SeriesRecord, Depends(known_series)]


async def export_turn(request: Request) -> AsyncIterator[None]:
    """A few exports at a time, until they are sent: what waits takes no thread, memory or processor."""
    async with request.app.state.exports:
        yield
