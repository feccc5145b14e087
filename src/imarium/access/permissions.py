"""The one decision: who may do what in which collection. Everything that asks asks here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

from sqlalchemy import Select, and_, bindparam, or_, select
from sqlalchemy.orm import Session

from imarium.catalog import Catalog
from imarium.catalog.people import Acceptance, RoleRow
from imarium.catalog.tables import Collection, now
from imarium.errors import AuthenticationError, NotFoundError, PermissionDeniedError

HIDDEN = "there is no collection of that name; `imarium ls` shows them all"
"""Said of collections that do not exist and, in the same words, of those that somebody must not learn of."""


class Visibility(StrEnum):
    """Who may read a collection without having a role there."""

    PUBLIC = "public"
    """Everybody, without a login."""
    REGISTERED = "registered"
    """Whoever has an account; and whoever sits at the machine, where the server listens to it alone."""
    RESTRICTED = "restricted"
    """Nobody. Others are not told that it exists."""


class Role(StrEnum):
    """What a person is in a collection. Each may do what those before it may."""

    READER = "reader"
    ANNOTATOR = "annotator"
    CURATOR = "curator"
    OWNER = "owner"


class Scope(StrEnum):
    """What a personal token is for. A login has all."""

    READ = "read"
    ANNOTATE = "annotate"
    WRITE = "write"
    ADMINISTER = "administer"


class Action(StrEnum):
    """What there is to be allowed."""

    FIND = "find"
    """Know that a collection is there: lists, facts, labels, search, manifests."""
    READ = "read"
    """Its images: pixels, packs, pictures, exports."""
    ANNOTATE = "annotate"
    """Its labels."""
    WRITE = "write"
    """What is in it: taking images in."""
    MANAGE = "manage"
    """Who may do what in it: visibility, roles, its agreement, requests for access."""
    CREATE = "create"
    """Make a collection, of which one becomes the owner. Of no collection."""
    ADMINISTER = "administer"
    """Accounts and the archive as a whole. Of no collection."""


ALL_SCOPES = frozenset(Scope)
_ORDER = list(Role)
_LEAST: dict[Action, Role] = {
    Action.FIND: Role.READER,
    Action.READ: Role.READER,
    Action.ANNOTATE: Role.ANNOTATOR,
    Action.WRITE: Role.CURATOR,
    Action.MANAGE: Role.OWNER,
}
_NEEDS: dict[Action, Scope] = {
    Action.FIND: Scope.READ,
    Action.READ: Scope.READ,
    Action.ANNOTATE: Scope.ANNOTATE,
    Action.WRITE: Scope.WRITE,
    Action.CREATE: Scope.WRITE,
    Action.MANAGE: Scope.ADMINISTER,
    Action.ADMINISTER: Scope.ADMINISTER,
}


@dataclass(frozen=True, slots=True)
class Actor:
    """Who is asking, and by what. Made by `Accounts.authenticate`, `NOBODY`, `AT_THE_MACHINE` or `HOME`."""

    user_id: int | None
    name: str
    is_administrator: bool = False
    scopes: frozenset[Scope] = ALL_SCOPES
    token_id: int | None = None
    """The login or token that was shown."""
    is_local: bool = False
    """Sits at the machine of a server that listens to it alone, without a login."""

    @property
    def is_known(self) -> bool:
        """Whether this is somebody: a person with a login, or the owner of the home folder."""
        return self.user_id is not None or self.is_administrator


NOBODY = Actor(None, "", scopes=frozenset({Scope.READ}))
"""Whoever reaches the server, without a login."""
AT_THE_MACHINE = Actor(None, "", scopes=frozenset({Scope.READ}), is_local=True)
"""The same on a server that listens to its own machine alone."""
HOME = Actor(None, "the home folder's owner", is_administrator=True)
"""The command line on a home folder: whoever may write its files can do everything anyway."""


@dataclass(frozen=True, slots=True)
class Place:
    """What the decision needs to know of a collection, and of the actor there."""

    collection: int
    name: str
    visibility: Visibility
    agreement: int
    """Version that must be accepted; 0: none."""
    role: Role | None
    accepted: bool

    @property
    def is_open(self) -> bool:
        """Whether everybody may read its images, without a login."""
        return self.visibility is Visibility.PUBLIC and self.agreement == 0


def allowed(actor: Actor, action: Action, place: Place) -> bool:
    """The rule itself."""
    if _NEEDS[action] not in actor.scopes or not _standing(actor, action, place):
        return False
    return action is not Action.READ or actor.is_administrator or not _must_accept(place)


def _standing(actor: Actor, action: Action, place: Place) -> bool:
    """Whether role and visibility allow it."""
    if actor.is_administrator:
        return True
    if place.role is not None and _ORDER.index(place.role) >= _ORDER.index(_LEAST[action]):
        return True
    if action not in (Action.FIND, Action.READ):
        return False
    match place.visibility:
        case Visibility.PUBLIC:
            return True
        case Visibility.REGISTERED:
            return actor.user_id is not None or actor.is_local
        case Visibility.RESTRICTED:
            return False


def _must_accept(place: Place) -> bool:
    return place.agreement > 0 and not place.accepted and place.role is not Role.OWNER


class Permissions:
    """Answers from the catalog, as it is at this moment."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def may(self, actor: Actor, action: Action, collection: str | int | None = None) -> bool:
        """Whether an actor may do that: in a collection, by its name or number, or with none as a whole."""
        if collection is None:
            return self._may_at_all(actor, action)
        with self._catalog.session() as session:
            place = find_place(session, actor, collection)
        return place is not None and allowed(actor, action, place)

    def check(self, actor: Actor, action: Action, collection: str | int) -> Place:
        """The collection, if the actor may do that there.

        Raises NotFoundError for a collection that the actor must not learn of, in the same words as for none;
        AuthenticationError where a login is what is missing; else PermissionDeniedError, which says what is.
        """
        with self._catalog.session() as session:
            return check_place(session, actor, action, collection)

    def check_pack(self, actor: Actor, collection: int | None) -> bool:
        """Return if the actor may read a pack with series of this collection; whether everybody may.

        None is for a pack that was replaced before the catalog noted whose it is: for administrators alone.
        Raises as `check`.
        """
        if collection is None:
            if not self._may_at_all(actor, Action.ADMINISTER):
                raise NotFoundError(HIDDEN)
            return False
        return self.check(actor, Action.READ, collection).is_open

    def require(self, actor: Actor, action: Action) -> None:
        """Return if the actor may do what is of no collection. Raises AuthenticationError and
        PermissionDeniedError."""
        if not self._may_at_all(actor, action):
            _refuse(actor, action)

    def within(self, actor: Actor, action: Action = Action.FIND) -> frozenset[int] | None:
        """Numbers of the collections in which an actor may do that; None: all of them, now and later.

        This is what queries of the catalog take as `within`.
        """
        if actor.is_administrator and _NEEDS[action] in actor.scopes:
            return None
        with self._catalog.session() as session:
            places = _places(session, actor, _ALL)
            return frozenset(place.collection for place in places if allowed(actor, action, place))

    def _may_at_all(self, actor: Actor, action: Action) -> bool:
        if _NEEDS[action] not in actor.scopes:
            return False
        if actor.is_administrator:
            return True
        return action is Action.CREATE and actor.user_id is not None


def check_place(session: Session, actor: Actor, action: Action, collection: str | int) -> Place:
    """The same within a transaction. Returns the collection; raises as `Permissions.check`."""
    place = find_place(session, actor, collection)
    if place is None or not allowed(actor, Action.FIND, place):
        known = place is not None and _standing(actor, Action.FIND, place)
        if not (known or actor.is_known or actor.is_local):
            raise AuthenticationError("this needs a login")
        if not known or place is None:
            raise NotFoundError(HIDDEN)
    if not allowed(actor, action, place):
        _refuse(actor, action, place)
    return place


def _refuse(actor: Actor, action: Action, place: Place | None = None) -> NoReturn:
    if not actor.is_known:
        raise AuthenticationError("this needs a login")
    if _NEEDS[action] not in actor.scopes:
        raise PermissionDeniedError(f"this token is not for that: it lacks the scope {_NEEDS[action]!r}")
    if place is None:
        raise PermissionDeniedError("only administrators may do that")
    if action is Action.READ:
        raise PermissionDeniedError(
            f"version {place.agreement} of the agreement of collection {place.name!r} must be accepted "
            "before its images are read; see `imarium agreement show`"
        )
    raise PermissionDeniedError(
        f"that needs the role {_LEAST[action]!r} in collection {place.name!r}; see `imarium access request`"
    )


def find_place(session: Session, actor: Actor, collection: str | int) -> Place | None:
    """A collection by its name or number, whoever may know of it."""
    which = _NUMBERED if isinstance(collection, int) else _NAMED
    return next(_places(session, actor, which, collection=collection), None)


def _places(
    session: Session, actor: Actor, query: Select[*tuple[Any, ...]], **given: object
) -> Iterator[Place]:
    # No account has the number 0: for nobody the joins find nothing.
    known = {"user": actor.user_id or 0, "moment": now(), **given}
    for number, name, visibility, agreement, role, accepted in session.execute(query, known):
        yield Place(
            number,
            name,
            Visibility(visibility),
            agreement,
            None if role is None else Role(role),
            accepted is not None,
        )


_ALL = (
    select(
        Collection.id,
        Collection.name,
        Collection.visibility,
        Collection.agreement,
        RoleRow.role,
        Acceptance.version,
    )
    .outerjoin(
        RoleRow,
        and_(
            RoleRow.collection_id == Collection.id,
            RoleRow.user_id == bindparam("user"),
            or_(RoleRow.ends.is_(None), RoleRow.ends > bindparam("moment", type_=RoleRow.ends.type)),
        ),
    )
    .outerjoin(
        Acceptance,
        and_(
            Acceptance.collection_id == Collection.id,
            Acceptance.user_id == bindparam("user"),
            Acceptance.version == Collection.agreement,
        ),
    )
)
"""Made once: every request asks it, and making it takes longer than the answer."""
_NUMBERED = _ALL.where(Collection.id == bindparam("collection"))
_NAMED = _ALL.where(Collection.name == bindparam("collection"))
