"""Requests for access: somebody asks for a role, an owner grants or refuses it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from imarium.access.permissions import Action, Actor, Role, check_place, find_place
from imarium.access.roles import grant
from imarium.catalog import Catalog
from imarium.catalog.dialects import utc
from imarium.catalog.people import AccessRequest
from imarium.catalog.tables import now
from imarium.errors import AuthenticationError, InvalidRequestError, NotFoundError

_MOST_OPEN = 20
_LONGEST = 10_000


class RequestStatus(StrEnum):
    """What became of a request."""

    OPEN = "open"
    GRANTED = "granted"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A request for access."""

    number: int
    collection: str
    user: str
    role: Role
    purpose: str
    status: RequestStatus
    created: datetime
    reason: str
    """Given by who decided."""
    decided: datetime | None
    decided_by: str | None
    ends: datetime | None
    """When the role that was granted ends."""


class Requests:
    """Asks, lists and decides.

    Whoever asks for a collection is not told whether it exists: a request for none stays open.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def ask(self, actor: Actor, collection: str, role: Role, purpose: str) -> int:
        """Ask for a role in a collection, by its exact name; returns the number of the request.

        Raises InvalidRequestError for what makes no sense, and while too many requests are open.
        """
        if actor.user_id is None:
            raise AuthenticationError("only a person with an account can ask for access")
        if not 0 < len(purpose.strip()) <= len(purpose) <= _LONGEST:
            raise InvalidRequestError(f"say what for, in 1 to {_LONGEST} characters")
        if not 0 < len(collection) <= 200:
            raise InvalidRequestError("a collection's name has 1 to 200 characters")
        with self._catalog.session() as session:
            mine = (AccessRequest.user_id == actor.user_id, AccessRequest.status == RequestStatus.OPEN)
            if session.scalar(select(AccessRequest.id).where(*mine, AccessRequest.name == collection)):
                raise InvalidRequestError("you asked for that already; the request is open")
            if (session.scalar(select(func.count()).where(*mine)) or 0) >= _MOST_OPEN:
                raise InvalidRequestError(f"{_MOST_OPEN} of your requests are open; withdraw some first")
            place = find_place(session, actor, collection)
            row = AccessRequest(user_id=actor.user_id, name=collection, role=role, purpose=purpose)
            row.collection_id = None if place is None else place.collection
            session.add(row)
            session.flush()
            return row.id

    def mine(self, actor: Actor) -> list[RequestRecord]:
        """One's own requests, oldest first."""
        with self._catalog.session() as session:
            rows = session.scalars(
                select(AccessRequest).where(AccessRequest.user_id == actor.user_id).order_by(AccessRequest.id)
            )
            return [_record(row) for row in rows]

    def withdraw(self, actor: Actor, number: int) -> None:
        """Take an open request back. Raises NotFoundError."""
        with self._catalog.session() as session:
            row = session.get(AccessRequest, number)
            if row is None or row.user_id != actor.user_id or row.status != RequestStatus.OPEN:
                raise NotFoundError("you have no open request of that number")
            session.delete(row)

    def of(self, actor: Actor, collection: str) -> list[RequestRecord]:
        """All requests for a collection, oldest first. Raises as `Permissions.check`."""
        with self._catalog.session() as session:
            place = check_place(session, actor, Action.MANAGE, collection)
            rows = session.scalars(
                select(AccessRequest)
                .where(AccessRequest.collection_id == place.collection)
                .order_by(AccessRequest.id)
            )
            return [_record(row) for row in rows]

    def grant(
        self, actor: Actor, number: int, *, reason: str = "", ends: datetime | None = None
    ) -> RequestRecord:
        """Give whoever asked the role, until `ends` if that is given. A higher role stays.

        Raises NotFoundError for no such request, as for one of a collection that the actor must not learn of;
        else as `Permissions.check`; and InvalidRequestError if it was decided before.
        """
        with self._catalog.session() as session:
            row = self._decided(session, actor, number, RequestStatus.GRANTED, reason)
            assert row.collection_id is not None
            place = find_place(session, Actor(row.user_id, ""), row.collection_id)
            order = list(Role)
            if place is None or place.role is None or order.index(place.role) <= order.index(Role(row.role)):
                grant(session, row.collection_id, row.user_id, Role(row.role), actor.name, ends)
                row.ends = ends
            return _record(row)

    def refuse(self, actor: Actor, number: int, *, reason: str) -> RequestRecord:
        """Say no, and why. Raises as `grant`, and InvalidRequestError without a reason."""
        if not reason.strip():
            raise InvalidRequestError("say why; whoever asked gets to read it")
        with self._catalog.session() as session:
            return _record(self._decided(session, actor, number, RequestStatus.REFUSED, reason))

    def _decided(
        self, session: Session, actor: Actor, number: int, status: RequestStatus, reason: str
    ) -> AccessRequest:
        if len(reason) > _LONGEST:
            raise InvalidRequestError(f"a reason has at most {_LONGEST} characters")
        row = session.get(AccessRequest, number)
        if row is None or row.collection_id is None:
            raise NotFoundError("there is no request of that number")
        try:
            check_place(session, actor, Action.MANAGE, row.collection_id)
        except NotFoundError as error:
            raise NotFoundError("there is no request of that number") from error
        # One statement, so that of two who decide at once only one does.
        won = session.execute(
            update(AccessRequest)
            .where(AccessRequest.id == number, AccessRequest.status == RequestStatus.OPEN)
            .values(status=status, reason=reason, decided=now(), decided_by=actor.name)
            .returning(AccessRequest.id)
        ).all()
        if not won:
            raise InvalidRequestError("that request was decided before")
        session.refresh(row)
        return row


def _record(row: AccessRequest) -> RequestRecord:
    return RequestRecord(
        row.id,
        row.name,
        row.user.name,
        Role(row.role),
        row.purpose,
        RequestStatus(row.status),
        utc(row.created),
        row.reason,
        row.decided and utc(row.decided),
        row.decided_by,
        row.ends and utc(row.ends),
    )
