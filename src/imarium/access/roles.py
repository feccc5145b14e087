"""Collections and the people in them: who sees a collection, and what each person is there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.exc import IntegrityError as UniqueViolation
from sqlalchemy.orm import Session

from imarium.access.accounts import find_user
from imarium.access.permissions import (
    Action,
    Actor,
    Permissions,
    Place,
    Role,
    Visibility,
    check_place,
    find_place,
)
from imarium.catalog import Catalog
from imarium.catalog.dialects import utc
from imarium.catalog.people import RoleRow
from imarium.catalog.tables import Collection, now
from imarium.errors import InvalidRequestError, NotFoundError, PermissionDeniedError


@dataclass(frozen=True, slots=True)
class RoleRecord:
    """What a person is in a collection."""

    collection: str
    user: str
    role: Role
    granted: datetime
    granted_by: str
    ends: datetime | None


class Roles:
    """Grants and revokes; every method asks whether the actor may."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._permissions = Permissions(catalog)

    def open_for_writing(self, actor: Actor, collection: str) -> None:
        """Make sure that the actor may take images into a collection; one that is missing is made, and
        theirs.

        Raises PermissionDeniedError, in the same words for a collection that the actor must not learn of and
        for one that they may only read; and AuthenticationError.
        """
        for _ in range(2):
            with self._catalog.session() as session:
                place = find_place(session, actor, collection)
            if place is not None:
                if not self._permissions.may(actor, Action.WRITE, collection):
                    raise PermissionDeniedError(
                        "only curators and owners of that collection may take images into it; choose another "
                        "name"
                    )
                return
            self._permissions.require(actor, Action.CREATE)
            try:
                with self._catalog.session() as session:
                    self._make(session, actor, collection)
                return
            except UniqueViolation:
                continue  # another one was quicker, whose collection it is now
        raise PermissionDeniedError("only curators and owners of that collection may take images into it")

    def _make(self, session: Session, actor: Actor, name: str) -> None:
        made = Collection(name=name)
        session.add(made)
        session.flush()
        if actor.user_id is not None:
            role = RoleRow(user_id=actor.user_id, collection_id=made.id, role=Role.OWNER)
            role.granted_by = actor.name
            session.add(role)

    def place(self, actor: Actor, collection: str) -> Place:
        """What a collection is to the actor. Raises as `Permissions.check`."""
        with self._catalog.session() as session:
            return check_place(session, actor, Action.FIND, collection)

    def set_visibility(self, actor: Actor, collection: str, visibility: Visibility) -> None:
        """Open or close a collection. Raises as `Permissions.check`."""
        with self._catalog.session() as session:
            place = check_place(session, actor, Action.MANAGE, collection)
            session.execute(
                update(Collection).where(Collection.id == place.collection).values(visibility=visibility)
            )

    def all(self, actor: Actor, collection: str) -> list[RoleRecord]:
        """All roles in a collection, by name. Raises as `Permissions.check`."""
        with self._catalog.session() as session:
            place = check_place(session, actor, Action.MANAGE, collection)
            rows = session.scalars(
                select(RoleRow)
                .join(RoleRow.user)
                .where(RoleRow.collection_id == place.collection, _lasting())
            )
            return sorted((_record(row) for row in rows), key=lambda record: record.user)

    def of(self, actor: Actor) -> list[RoleRecord]:
        """One's own roles, by collection."""
        with self._catalog.session() as session:
            rows = session.scalars(select(RoleRow).where(RoleRow.user_id == actor.user_id, _lasting()))
            return sorted((_record(row) for row in rows), key=lambda record: record.collection)

    def grant(
        self, actor: Actor, collection: str, user: str, role: Role, ends: datetime | None = None
    ) -> None:
        """Give a person a role in place of the one they have.

        Raises as `Permissions.check`, NotFoundError for no such account, and InvalidRequestError where the
        last owner would be gone, or for an end that is past.
        """
        with self._catalog.session() as session:
            place = check_place(session, actor, Action.MANAGE, collection)
            grant(session, place.collection, find_user(session, user).id, role, actor.name, ends)

    def revoke(self, actor: Actor, collection: str, user: str) -> None:
        """Take a person's role away; anybody may give up their own.

        Raises as `grant`, and NotFoundError if they have none.
        """
        with self._catalog.session() as session:
            account = find_user(session, user) if user != actor.name else None
            number = actor.user_id if account is None else account.id
            action = Action.FIND if number == actor.user_id else Action.MANAGE
            place = check_place(session, actor, action, collection)
            row = session.get(RoleRow, (number, place.collection))
            if row is None:
                raise NotFoundError("that person has no role in the collection")
            _keep_an_owner(session, row, actor)
            session.execute(
                delete(RoleRow).where(RoleRow.user_id == number, RoleRow.collection_id == place.collection)
            )


def grant(session: Session, collection: int, user: int, role: Role, by: str, ends: datetime | None) -> None:
    """Set a role in a transaction that made sure it may. Raises InvalidRequestError."""
    if ends is not None:
        if ends.tzinfo is None:
            raise InvalidRequestError("the end of a role needs a time zone, like 2027-01-31T00:00:00Z")
        if ends <= now():
            raise InvalidRequestError("the end of a role lies ahead")
        if role is Role.OWNER:
            raise InvalidRequestError("an owner is one without end; grant another role")
    row = session.get(RoleRow, (user, collection))
    if row is None:
        row = RoleRow(user_id=user, collection_id=collection)
        session.add(row)
    elif role is not Role.OWNER:
        _keep_an_owner(session, row, None)
    row.role, row.ends, row.granted, row.granted_by = role, ends, now(), by


def _keep_an_owner(session: Session, row: RoleRow, actor: Actor | None) -> None:
    """Raises InvalidRequestError if nobody else could manage the collection but administrators."""
    if row.role != Role.OWNER or (actor is not None and actor.is_administrator):
        return
    others = select(RoleRow.user_id).where(
        RoleRow.collection_id == row.collection_id,
        RoleRow.role == Role.OWNER,
        RoleRow.user_id != row.user_id,
        _lasting(),
    )
    if session.scalar(others.limit(1)) is None:
        raise InvalidRequestError("this is the collection's last owner; make another one first")


def _lasting() -> ColumnElement[bool]:
    return or_(RoleRow.ends.is_(None), RoleRow.ends > now())


def _record(row: RoleRow) -> RoleRecord:
    return RoleRecord(
        row.collection.name,
        row.user.name,
        Role(row.role),
        utc(row.granted),
        row.granted_by,
        row.ends and utc(row.ends),
    )
