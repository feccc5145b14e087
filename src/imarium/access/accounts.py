"""Accounts and logins: argon2id for passwords, random tokens of which only a digest is kept."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from blake3 import blake3
from sqlalchemy import delete, select

from imarium.catalog import Catalog
from imarium.catalog.dialects import utc
from imarium.catalog.tables import Token, User, now
from imarium.errors import AuthenticationError

ADMINISTRATOR = "admin"
_LIFETIME = timedelta(days=30)
_WRONG = "wrong user name or password"

_HASHING = threading.BoundedSemaphore(2)
"""A hash takes 64 MiB; logins beyond two at a time wait, so that many cannot take all memory."""


@dataclass(frozen=True, slots=True)
class Login:
    """A token, shown once."""

    user: str
    token: str
    expires: datetime


class Accounts:
    """Creates users, checks passwords and tokens."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._hasher = PasswordHasher()

    def ensure_administrator(self) -> str | None:
        """Make the administrator if there is none; returns the generated password, this once."""
        with self._catalog.session() as session:
            if session.scalar(select(User.id).where(User.name == ADMINISTRATOR)) is not None:
                return None
            password = secrets.token_urlsafe(12)
            session.add(User(name=ADMINISTRATOR, password=self._hash(password)))
        return password

    def reset_password(self, name: str) -> str:
        """Give a user a new generated password and end all of their logins."""
        password = secrets.token_urlsafe(12)
        with self._catalog.session() as session:
            user = session.scalar(select(User).where(User.name == name))
            if user is None:
                raise AuthenticationError("no such user")
            user.password = self._hash(password)
            session.execute(delete(Token).where(Token.user_id == user.id))
        return password

    def login(self, name: str, password: str) -> Login:
        """Exchange a password for a token. Raises AuthenticationError, without saying which was wrong."""
        with self._catalog.session() as session:
            kept = session.scalar(select(User.password).where(User.name == name))
        # Between two transactions: whoever waits for a turn holds no connection.
        self._check(kept, password)
        with self._catalog.session() as session:
            user = session.scalar(select(User).where(User.name == name, User.password == kept))
            if user is None:
                raise AuthenticationError(_WRONG)
            token = secrets.token_urlsafe(32)
            login = Login(name, token, now() + _LIFETIME)
            session.execute(delete(Token).where(Token.expires < now()))
            session.add(Token(user_id=user.id, digest=_digest(token), expires=login.expires))
        return login

    def _hash(self, password: str) -> str:
        with _HASHING:
            return self._hasher.hash(password)

    def _check(self, kept: str | None, password: str) -> None:
        """Takes as long where there is no such user."""
        try:
            with _HASHING:
                self._hasher.verify(kept or _decoy(), password)
        except (VerificationError, InvalidHashError) as error:
            raise AuthenticationError(_WRONG) from error

    def authenticate(self, token: str) -> str:
        """The user that a token stands for; raises AuthenticationError."""
        with self._catalog.session() as session:
            row = session.scalar(select(Token).where(Token.digest == _digest(token)))
            if row is None or utc(row.expires) < now():
                raise AuthenticationError("the login has ended; log in again")
            return row.user.name

    def logout(self, token: str) -> None:
        """Forget a token."""
        with self._catalog.session() as session:
            session.execute(delete(Token).where(Token.digest == _digest(token)))


@cache
def _decoy() -> str:
    """A hash to check against where there is no user, so that the answer takes as long."""
    return PasswordHasher().hash(secrets.token_urlsafe(16))


def _digest(token: str) -> str:
    return blake3(token.encode()).hexdigest()
