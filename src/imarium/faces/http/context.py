"""What routes depend on: the archive, and what of it whoever is asking may know."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated

from fastapi import Depends, Request

from imarium.access import Action, Actor
from imarium.archive import Archive
from imarium.audit import ObjectKind
from imarium.catalog import SeriesRecord
from imarium.errors import AuthenticationError, GoneError, IntegrityError, NotFoundError
from imarium.faces.http.auditing import Noted, NotedDep
from imarium.faces.http.callers import NEEDED, ArchiveDep, CallerDep

LARGEST = 1 << 31
"""Bound of every integer of a query; what lies beyond it overflows in the catalog."""

OCTETS = "application/octet-stream"
BINARY: dict[int | str, dict[str, object]] = {200: {"content": {OCTETS: {}}}}
"""How OpenAPI is told of plain bytes."""


def series_for(
    archive: Archive, actor: Actor, told: Noted, uid: str, action: Action
) -> Iterator[SeriesRecord]:
    """A series in whose collection the actor may do that. One that the actor must not learn of is answered
    like one that is not there. Raises GoneError if it was erased or moved meanwhile."""
    with hidden(actor, "no series has that UID; `imarium ls` lists them"):
        record = archive.catalog.get_series(uid)
        archive.permissions.check(actor, action, record.collection_id)
    told.about(ObjectKind.SERIES, uid)
    with found_in_store(partial(archive.streaming.check_known, record.pack.key)):
        yield record


@contextmanager
def hidden(actor: Actor, message: str) -> Iterator[None]:
    """Around looking something up: it is not there, or is not to be known of, in the same words."""
    try:
        yield
    except NotFoundError as error:
        if not (actor.is_known or actor.is_local):
            raise AuthenticationError(NEEDED) from error
        raise NotFoundError(message) from error


CALLER = "Authorization, Cookie"
"""For the header Vary of what is kept by a browser that several people use."""
_LOST = "what the catalog knows is missing in the store; `imarium verify` finds out what else is"


@contextmanager
def found_in_store(check: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Around reading what the catalog knows: what the store lacks of it is damage, and no wrong address.

    Raises GoneError if it was erased or moved meanwhile, which `check` finds out.
    """
    try:
        yield
    except GoneError:
        raise
    except NotFoundError as error:
        check()
        raise IntegrityError(_LOST) from error


def known_series(archive: ArchiveDep, actor: CallerDep, told: NotedDep, uid: str) -> Iterator[SeriesRecord]:
    """A series of which the caller may know."""
    yield from series_for(archive, actor, told, uid, Action.FIND)


def readable_series(
    archive: ArchiveDep, actor: CallerDep, told: NotedDep, uid: str
) -> Iterator[SeriesRecord]:
    """A series whose images the caller may read."""
    yield from series_for(archive, actor, told, uid, Action.READ)


SeriesDep = Annotated[SeriesRecord, Depends(known_series)]
ImagesDep = Annotated[SeriesRecord, Depends(readable_series)]


def readable_collections(archive: ArchiveDep, actor: CallerDep) -> Collection[int] | None:
    """Numbers of the collections of which the caller may know; None: all."""
    return archive.permissions.within(actor)


WithinDep = Annotated[Collection[int] | None, Depends(readable_collections)]


async def export_turn(request: Request) -> AsyncIterator[None]:
    """A few exports at a time, until they are sent: what waits takes no thread, memory or processor."""
    async with request.app.state.exports:
        yield
