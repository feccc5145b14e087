"""Accounts: who there is, who may log in, and with which password."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError as UniqueViolation
from sqlalchemy.orm import Session

from imarium.access.passwords import Passwords, check_password, generated_password
from imarium.access.permissions import Actor
from imarium.access.sessions import Login, Sessions
from imarium.access.throttle import Throttle
from imarium.catalog import Catalog
from imarium.catalog.dialects import utc
from imarium.catalog.people import User
from imarium.errors import AuthenticationError, InvalidRequestError, NotFoundError, PermissionDeniedError

ADMINISTRATOR = "admin"
_WRONG = "wrong user name or password"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._@+-]{0,98}[a-z0-9])?")
_EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,189}")
_MOST_WAITING = 1000
"""Accounts that wait for approval; whoever registers by the thousand fills no catalog."""


class Standing(StrEnum):
    """Whether an account can be used."""

    WAITING = "waiting"
    """It was registered by whoever wants it; an administrator has not looked at it yet."""
    APPROVED = "approved"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Account:
    """What is known of an account."""

    name: str
    email: str | None
    standing: Standing
    is_administrator: bool
    has_password: bool
    created: datetime


class Accounts:
    """Creates accounts, checks passwords and tokens."""

    def __init__(self, catalog: Catalog, secret: bytes = bytes(32)) -> None:
        """`secret` keys the digests of names that failed to log in."""
        self._catalog, self._passwords = catalog, Passwords()
        self.sessions = Sessions(catalog)
        self.throttle = Throttle(catalog, secret)

    # --- making and changing ------------------------------------------------------------------------

    def ensure_administrator(self) -> str | None:
        """Make the administrator if there is none; returns the generated password, this once."""
        with self._catalog.session() as session:
            if session.scalar(select(User.id).where(User.name == ADMINISTRATOR)) is not None:
                return None
            password = generated_password()
            kept = self._passwords.hash(password)
            session.add(User(name=ADMINISTRATOR, password=kept, is_administrator=True))
        return password

    def add(
        self,
        name: str,
        *,
        password: str | None = None,
        email: str | None = None,
        is_administrator: bool = False,
    ) -> str | None:
        """Make an approved account; returns the password if it was generated here, this once.

        Raises InvalidRequestError for a name, address or password that cannot be, and a name that is taken.
        """
        name = checked_name(name)
        chosen = password if password is None else check_password(password, name)
        made = chosen or generated_password()
        user = User(name=name, email=_checked_email(email), is_administrator=is_administrator)
        user.password = self._passwords.hash(made)
        try:
            with self._catalog.session() as session:
                session.add(user)
        except UniqueViolation as error:
            raise InvalidRequestError(f"there is an account {name!r} already") from error
        return made if chosen is None else None

    def register(
        self, name: str, password: str, email: str | None = None, address: str | None = None
    ) -> None:
        """Ask for an account, which waits for an administrator.

        Says nothing of whether the name is taken: then nothing happens. Raises InvalidRequestError for what
        cannot be, TooManyAttemptsError, and PermissionDeniedError while too many wait already.
        """
        name = checked_name(name)
        user = User(name=name, email=_checked_email(email), status=Standing.WAITING)
        password = check_password(password, name)
        self.throttle.begin(registrations=address)
        user.password = self._passwords.hash(password)
        try:
            with self._catalog.session() as session:
                waiting = select(func.count()).where(User.status == Standing.WAITING)
                if (session.scalar(waiting) or 0) >= _MOST_WAITING:
                    raise PermissionDeniedError("too many accounts wait for approval; ask an administrator")
                session.add(user)
        except UniqueViolation:
            pass

    def approve(self, name: str) -> None:
        """Let an account be used, that waited or was disabled. Raises NotFoundError."""
        with self._catalog.session() as session:
            find_user(session, name).status = Standing.APPROVED

    def disable(self, name: str) -> None:
        """End all logins and tokens of an account, and take no more. Raises NotFoundError, and
        InvalidRequestError for the last administrator."""
        with self._catalog.session() as session:
            user = find_user(session, name)
            _keep_an_administrator(session, user)
            user.status = Standing.DISABLED
            self.sessions.end_all(session, user.id)

    def set_administrator(self, name: str, is_administrator: bool) -> None:
        """Make an account an administrator's, or no longer. Raises like `disable`."""
        with self._catalog.session() as session:
            user = find_user(session, name)
            if not is_administrator:
                _keep_an_administrator(session, user)
            user.is_administrator = is_administrator

    def set_email(self, name: str, email: str | None) -> None:
        """Change the address of an account, or forget it. Raises NotFoundError and InvalidRequestError."""
        with self._catalog.session() as session:
            find_user(session, name).email = _checked_email(email)

    def reset_password(self, name: str) -> str:
        """Give a user a new generated password and end all of their logins and tokens."""
        password = generated_password()
        kept = self._passwords.hash(password)
        with self._catalog.session() as session:
            user = find_user(session, name)
            user.password = kept
            self.sessions.end_all(session, user.id)
        return password

    def set_password(self, name: str, password: str) -> None:
        """Give a user a password and end all of their logins and tokens.

        Raises NotFoundError, and InvalidRequestError for a password that is too easy to guess.
        """
        kept = self._passwords.hash(check_password(password, checked_name(name)))
        with self._catalog.session() as session:
            user = find_user(session, name)
            user.password = kept
            self.sessions.end_all(session, user.id)

    def end_sessions(self, name: str) -> None:
        """End all logins and tokens of an account. Raises NotFoundError."""
        with self._catalog.session() as session:
            self.sessions.end_all(session, find_user(session, name).id)

    def change_password(self, actor: Actor, current: str, password: str, address: str | None = None) -> None:
        """Change one's own password; the other logins end, tokens stay.

        Raises AuthenticationError if `current` is wrong, else like `set_password` and `login`.
        """
        if actor.user_id is None:
            raise AuthenticationError("this needs a login")
        check_password(password, actor.name)
        kept = self._checked(actor.name, current, address)
        new = self._passwords.hash(check_password(password, actor.name))
        with self._catalog.session() as session:
            session.execute(
                update(User).where(User.id == actor.user_id, User.password == kept).values(password=new)
            )
        self.sessions.end_others(actor)

    def all(self) -> list[Account]:
        """All accounts, by name."""
        with self._catalog.session() as session:
            rows = session.scalars(select(User).order_by(User.name))
            return [_account(row) for row in rows]

    def get(self, name: str) -> Account:
        """One account; raises NotFoundError."""
        with self._catalog.session() as session:
            return _account(find_user(session, name))

    # --- logging in ---------------------------------------------------------------------------------

    def login(self, name: str, password: str, address: str | None = None) -> Login:
        """Exchange a password for a login. `address` is where the request came from.

        Raises AuthenticationError, without saying which was wrong and in the same words whether or not there
        is such an account; TooManyAttemptsError; and PermissionDeniedError for the right password of an
        account that waits for approval or is disabled.
        """
        kept = self._checked(name, password, address)
        name = name.strip().casefold()
        rehashed = self._passwords.hash(password) if self._passwords.needs_rehash(kept) else kept
        with self._catalog.session() as session:
            user = session.scalar(select(User).where(User.name == name, User.password == kept))
            if user is None:
                raise AuthenticationError(_WRONG)
            user.password = rehashed
            return self.sessions.open(session, user)

    def _checked(self, name: str, password: str, address: str | None) -> str:
        """The hash that a password matches, between transactions: whoever waits holds no connection."""
        name = name.strip().casefold()
        self.throttle.begin(account=name, address=address)
        with self._catalog.session() as session:
            kept = session.scalar(select(User.password).where(User.name == name))
        if not self._passwords.matches(kept, password) or kept is None:
            raise AuthenticationError(_WRONG)
        self.throttle.succeeded(account=name)
        # Not the whole count of the address: else an account of one's own would buy guesses at others.
        self.throttle.take_back(address=address)
        return kept

    def authenticate(self, token: str) -> Actor:
        """Whoever a token stands for; raises AuthenticationError."""
        return self.sessions.authenticate(token)

    def actor(self, name: str) -> Actor:
        """Somebody with all that the account may do; raises NotFoundError."""
        with self._catalog.session() as session:
            user = find_user(session, name)
            return Actor(user.id, user.name, user.is_administrator)

    def logout(self, token: str) -> None:
        """Forget a token."""
        self.sessions.forget(token)


def find_user(session: Session, name: str) -> User:
    """The row of an account; raises NotFoundError."""
    user = session.scalar(select(User).where(User.name == name.strip().casefold()))
    if user is None:
        raise NotFoundError("there is no account of that name")
    return user


def checked_name(name: str) -> str:
    """A user name in lower case; raises InvalidRequestError."""
    name = name.strip().casefold()
    if not _NAME.fullmatch(name):
        raise InvalidRequestError(
            "a user name has 1 to 100 letters a to z, digits and . _ @ + -, and begins and ends with a "
            "letter or a digit"
        )
    return name


def _checked_email(email: str | None) -> str | None:
    if not email:
        return None
    if not _EMAIL.fullmatch(email):
        raise InvalidRequestError("an e-mail address is like name@example.org")
    return email


def _keep_an_administrator(session: Session, user: User) -> None:
    """Raises InvalidRequestError if nobody else could administer."""
    others = select(User.id).where(
        User.id != user.id, User.is_administrator.is_(True), User.status == Standing.APPROVED
    )
    if user.is_administrator and session.scalar(others.limit(1)) is None:
        raise InvalidRequestError("this is the last administrator; make another one first")


def _account(row: User) -> Account:
    return Account(
        row.name, row.email, Standing(row.status), row.is_administrator, bool(row.password), utc(row.created)
    )
