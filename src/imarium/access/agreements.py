"""Agreements that must be accepted before the images of a collection are read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update

from imarium.access.permissions import Action, Actor, check_place
from imarium.catalog import Catalog
from imarium.catalog.dialects import utc
from imarium.catalog.people import Acceptance, Agreement
from imarium.catalog.tables import Collection
from imarium.errors import AuthenticationError, InvalidRequestError, NotFoundError

LONGEST = 200_000
"""Characters of an agreement."""


@dataclass(frozen=True, slots=True)
class AgreementRecord:
    """A version of an agreement."""

    collection: str
    version: int
    text: str
    created: datetime
    accepted: datetime | None
    """When whoever asks accepted this version."""


@dataclass(frozen=True, slots=True)
class AcceptanceRecord:
    """Somebody accepted a version."""

    user: str
    version: int
    accepted: datetime


class Agreements:
    """Versions are kept for ever; the latest is the one that counts, until it is withdrawn."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def put(self, actor: Actor, collection: str, text: str | None) -> int:
        """Have a new version count, which everybody must accept anew; None: ask for none any more.

        Returns its number, or 0. Raises as `Permissions.check`, and InvalidRequestError for a text that is
        empty or too long.
        """
        if text is not None and not 0 < len(text.strip()) <= len(text) <= LONGEST:
            raise InvalidRequestError(f"an agreement has 1 to {LONGEST} characters")
        with self._catalog.session() as session:
            place = check_place(session, actor, Action.MANAGE, collection)
            version = 0
            if text is not None:
                latest = select(func.max(Agreement.version)).where(
                    Agreement.collection_id == place.collection
                )
                version = (session.scalar(latest) or 0) + 1
                made = Agreement(collection_id=place.collection, version=version, text=text)
                made.created_by = actor.name
                session.add(made)
            session.execute(
                update(Collection).where(Collection.id == place.collection).values(agreement=version)
            )
        return version

    def get(self, actor: Actor, collection: str) -> AgreementRecord:
        """The version that counts. Raises as `Permissions.check`, and NotFoundError if there is none."""
        with self._catalog.session() as session:
            place = check_place(session, actor, Action.FIND, collection)
            row = session.get(Agreement, (place.collection, place.agreement))
            if row is None:
                raise NotFoundError("the collection asks for no agreement")
            accepted = None
            if actor.user_id is not None:
                found = session.get(Acceptance, (actor.user_id, place.collection, place.agreement))
                accepted = None if found is None else utc(found.accepted)
            return AgreementRecord(place.name, row.version, row.text, utc(row.created), accepted)

    def accept(self, actor: Actor, collection: str, version: int) -> None:
        """Accept a version: the one that counts, which whoever accepts has read.

        Raises as `Permissions.check`, and InvalidRequestError for another version.
        """
        if actor.user_id is None:
            raise AuthenticationError("only a person with an account can accept an agreement")
        with self._catalog.session() as session:
            place = check_place(session, actor, Action.FIND, collection)
            if version != place.agreement or version < 1:
                raise InvalidRequestError("another version of the agreement counts by now; read that one")
            if session.get(Acceptance, (actor.user_id, place.collection, version)) is None:
                session.add(
                    Acceptance(user_id=actor.user_id, collection_id=place.collection, version=version)
                )

    def accepted(self, actor: Actor, collection: str) -> list[AcceptanceRecord]:
        """Who accepted which version, oldest first. Raises as `Permissions.check`."""
        with self._catalog.session() as session:
            place = check_place(session, actor, Action.MANAGE, collection)
            rows = session.scalars(
                select(Acceptance)
                .where(Acceptance.collection_id == place.collection)
                .order_by(Acceptance.accepted, Acceptance.user_id)
            )
            return [AcceptanceRecord(row.user.name, row.version, utc(row.accepted)) for row in rows]
