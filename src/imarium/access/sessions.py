"""Logins, and tokens that people make for programs. Of both only a digest is kept."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from blake3 import blake3
from sqlalchemy import ColumnElement, bindparam, delete, select, update
from sqlalchemy.orm import Session

from imarium.access.permissions import ALL_SCOPES, Actor, Scope
from imarium.catalog import Catalog
from imarium.catalog.dialects import utc
from imarium.catalog.people import Token, User
from imarium.catalog.tables import now
from imarium.errors import (
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    StorageError,
)

LIFETIME = timedelta(days=30)
"""Of a login."""
LONGEST_TOKEN = timedelta(days=366)
DEFAULT_TOKEN = timedelta(days=90)
_NOTED_EVERY = timedelta(minutes=5)
"""The time of last use is written no more often."""
_MOST_TOKENS = 100
_BY_DIGEST = select(Token, User).join(Token.user).where(Token.digest == bindparam("digest"))
_ENDED = "the login has ended; log in again"


@dataclass(frozen=True, slots=True)
class Login:
    """A token, shown once."""

    user: str
    token: str
    expires: datetime


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """What is known of a login or a token."""

    number: int
    name: str
    """Given by who made it; of a login empty."""
    scopes: tuple[Scope, ...]
    created: datetime | None
    last_used: datetime | None
    """To a few minutes."""
    expires: datetime
    is_current: bool
    """Whether it is the one that was shown to ask this."""


class Sessions:
    """Opens, finds and ends logins and tokens."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def open(self, session: Session, user: User) -> Login:
        """A new login, in a transaction that made sure who it is.

        Raises PermissionDeniedError for an account that waits for approval or is disabled.
        """
        if user.status != "approved":
            raise PermissionDeniedError(
                "the account waits for the approval of an administrator"
                if user.status == "waiting"
                else "the account is disabled; ask an administrator"
            )
        login = Login(user.name, secrets.token_urlsafe(32), now() + LIFETIME)
        session.execute(delete(Token).where(Token.expires < now()))
        session.add(Token(user_id=user.id, digest=_digest(login.token), expires=login.expires))
        return login

    def create_token(
        self, actor: Actor, name: str, scopes: Iterable[Scope], lifetime: timedelta = DEFAULT_TOKEN
    ) -> Login:
        """A token for a program. Raises InvalidRequestError and PermissionDeniedError.

        A token can hand on no more than it has, and lives no longer than a year and a day.
        """
        wanted = sorted(set(scopes))
        if actor.user_id is None:
            raise AuthenticationError("this needs a login")
        if not wanted:
            raise InvalidRequestError(f"a token is for something: {', '.join(Scope)}")
        if not name.strip() or len(name) > 100:
            raise InvalidRequestError("a token has a name of 1 to 100 characters, that says what it is for")
        if not timedelta(0) < lifetime <= LONGEST_TOKEN:
            raise InvalidRequestError(f"a token lives for 1 to {LONGEST_TOKEN.days} days")
        if not actor.scopes.issuperset(wanted):
            raise PermissionDeniedError("a token hands on no scope that it lacks")
        made = Login(actor.name, secrets.token_urlsafe(32), now() + lifetime)
        with self._catalog.session() as session:
            session.execute(delete(Token).where(Token.expires < now()))
            held = session.scalars(select(Token.id).where(Token.user_id == actor.user_id, _is("token"))).all()
            if len(held) >= _MOST_TOKENS:
                raise InvalidRequestError(f"an account has at most {_MOST_TOKENS} tokens; revoke some")
            session.add(
                Token(
                    user_id=actor.user_id,
                    digest=_digest(made.token),
                    expires=made.expires,
                    kind="token",
                    name=name.strip(),
                    scopes=" ".join(wanted),
                )
            )
        return made

    def authenticate(self, token: str) -> Actor:
        """Whoever a token stands for; raises AuthenticationError."""
        with self._catalog.session() as session:
            found = session.execute(_BY_DIGEST, {"digest": _digest(token)}).one_or_none()
        moment = now()
        if found is None or utc(found[0].expires) < moment or found[1].status != "approved":
            raise AuthenticationError(_ENDED)
        row, user = found
        if row.last_used is None or utc(row.last_used) < moment - _NOTED_EVERY:
            with suppress(StorageError), self._catalog.session() as session:  # a busy catalog: next time
                session.execute(update(Token).where(Token.id == row.id).values(last_used=moment))
        return Actor(user.id, user.name, user.is_administrator, _scopes(row), row.id)

    def sessions(self, actor: Actor) -> list[TokenRecord]:
        """The logins of an account that have not ended, oldest first."""
        return self._records(actor, "session")

    def tokens(self, actor: Actor) -> list[TokenRecord]:
        """The tokens of an account that have not ended, oldest first."""
        return self._records(actor, "token")

    def _records(self, actor: Actor, kind: str) -> list[TokenRecord]:
        with self._catalog.session() as session:
            rows = session.scalars(
                select(Token)
                .where(Token.user_id == actor.user_id, _is(kind), Token.expires >= now())
                .order_by(Token.id)
            )
            return [
                TokenRecord(
                    row.id,
                    row.name,
                    tuple(sorted(_scopes(row))),
                    row.created and utc(row.created),
                    row.last_used and utc(row.last_used),
                    utc(row.expires),
                    row.id == actor.token_id,
                )
                for row in rows
            ]

    def revoke(self, actor: Actor, number: int) -> None:
        """End a login or token of one's own account, by its number. Raises NotFoundError."""
        with self._catalog.session() as session:
            gone = session.execute(
                delete(Token).where(Token.id == number, Token.user_id == actor.user_id).returning(Token.id)
            ).all()
        if not gone:
            raise NotFoundError("there is no login or token of that number")

    def end_others(self, actor: Actor) -> None:
        """End all logins of one's own account but the one that asks this; tokens stay."""
        with self._catalog.session() as session:
            session.execute(
                delete(Token).where(
                    Token.user_id == actor.user_id, _is("session"), Token.id != (actor.token_id or 0)
                )
            )

    def end_all(self, session: Session, user_id: int) -> None:
        """End all logins and tokens of an account."""
        session.execute(delete(Token).where(Token.user_id == user_id))

    def forget(self, token: str) -> None:
        """End the login or token itself."""
        with self._catalog.session() as session:
            session.execute(delete(Token).where(Token.digest == _digest(token)))


def _is(kind: str) -> ColumnElement[bool]:
    return Token.kind == kind


def _scopes(row: Token) -> frozenset[Scope]:
    if row.kind == "session":
        return ALL_SCOPES
    return frozenset(Scope(name) for name in row.scopes.split() if name in set(Scope))


def _digest(token: str) -> str:
    return blake3(token.encode()).hexdigest()
