"""People of a home folder, or of a server: what the commands for them act on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from imarium.access import HOME, Role, Scope, Visibility
from imarium.access.accounts import ADMINISTRATOR, Standing
from imarium.archive import Archive
from imarium.errors import InvalidRequestError
from imarium.faces.cli.backends import LocalBackend, RemoteBackend
from imarium.faces.cli.options import acting_on

Facts = dict[str, Any]


class People(Protocol):
    """What `client.people.People` does on a server. Facts are as in the HTTP API's description."""

    def accounts(self) -> list[Facts]: ...
    def add_account(
        self,
        name: str,
        *,
        password: str | None = None,
        email: str | None = None,
        is_administrator: bool = False,
    ) -> str | None: ...
    def change_account(self, name: str, **changes: Any) -> Facts: ...
    def reset_password(self, name: str) -> str: ...
    def change_password(self, current: str, password: str) -> None: ...
    def tokens(self, *, logins: bool = False) -> list[Facts]: ...
    def create_token(self, name: str, scopes: Sequence[str], days: int = 90) -> Facts: ...
    def revoke_token(self, number: int) -> None: ...
    def end_other_logins(self) -> None: ...
    def access(self, collection: str) -> Facts: ...
    def set_visibility(self, collection: str, visibility: str) -> Facts: ...
    def roles(self, collection: str) -> list[Facts]: ...
    def grant_role(self, collection: str, user: str, role: str, ends: str | None = None) -> None: ...
    def revoke_role(self, collection: str, user: str) -> None: ...
    def agreement(self, collection: str) -> Facts: ...
    def set_agreement(self, collection: str, text: str | None) -> int: ...
    def accept_agreement(self, collection: str, version: int) -> None: ...
    def acceptances(self, collection: str) -> list[Facts]: ...
    def ask(self, collection: str, purpose: str, role: str = "reader") -> int: ...
    def requests(self, collection: str | None = None) -> list[Facts]: ...
    def withdraw(self, number: int) -> None: ...
    def grant(self, number: int, reason: str = "", ends: str | None = None) -> Facts: ...
    def refuse(self, number: int, reason: str) -> Facts: ...


class LocalPeople:
    """The people of a home folder. Whoever owns its files may do everything; what only a person can do is
    done as `user`."""

    def __init__(self, archive: Archive, user: str = ADMINISTRATOR) -> None:
        self._archive, self._user = archive, user

    def accounts(self) -> list[Facts]:
        return [_facts(account) for account in self._archive.accounts.all()]

    def add_account(
        self,
        name: str,
        *,
        password: str | None = None,
        email: str | None = None,
        is_administrator: bool = False,
    ) -> str | None:
        return self._archive.accounts.add(
            name, password=password, email=email, is_administrator=is_administrator
        )

    def change_account(self, name: str, **changes: Any) -> Facts:
        accounts = self._archive.accounts
        match changes.get("standing"):
            case Standing.APPROVED:
                accounts.approve(name)
            case Standing.DISABLED:
                accounts.disable(name)
        if changes.get("is_administrator") is not None:
            accounts.set_administrator(name, changes["is_administrator"])
        if changes.get("email") is not None:
            accounts.set_email(name, changes["email"])
        return _facts(accounts.get(name))

    def reset_password(self, name: str) -> str:
        return self._archive.accounts.reset_password(name)

    def change_password(self, current: str, password: str) -> None:  # noqa: ARG002
        raise InvalidRequestError("on a home folder there is nobody's own password; say whose")

    def tokens(self, *, logins: bool = False) -> list[Facts]:
        sessions = self._archive.accounts.sessions
        actor = self._archive.accounts.actor(self._user)
        found = sessions.sessions(actor) if logins else sessions.tokens(actor)
        return [_renamed(_facts(record), number="id", is_current="current") for record in found]

    def create_token(self, name: str, scopes: Sequence[str], days: int = 90) -> Facts:
        actor = self._archive.accounts.actor(self._user)
        wanted = [Scope(scope) for scope in scopes]
        made = self._archive.accounts.sessions.create_token(actor, name, wanted, timedelta(days=days))
        return {"token": made.token, "expires": made.expires.isoformat()}

    def revoke_token(self, number: int) -> None:
        self._archive.accounts.sessions.revoke(self._archive.accounts.actor(self._user), number)

    def end_other_logins(self) -> None:
        self._archive.accounts.sessions.end_others(self._archive.accounts.actor(self._user))

    def access(self, collection: str) -> Facts:
        place = self._archive.roles.place(HOME, collection)
        return {
            "collection": place.name,
            "visibility": place.visibility,
            "role": place.role,
            "agreement": place.agreement,
            "accepted": place.accepted,
        }

    def set_visibility(self, collection: str, visibility: str) -> Facts:
        self._archive.roles.set_visibility(HOME, collection, Visibility(visibility))
        return self.access(collection)

    def roles(self, collection: str) -> list[Facts]:
        return [_facts(record) for record in self._archive.roles.all(HOME, collection)]

    def grant_role(self, collection: str, user: str, role: str, ends: str | None = None) -> None:
        self._archive.roles.grant(HOME, collection, user, Role(role), _moment(ends))

    def revoke_role(self, collection: str, user: str) -> None:
        self._archive.roles.revoke(HOME, collection, user)

    def agreement(self, collection: str) -> Facts:
        return _facts(self._archive.agreements.get(HOME, collection))

    def set_agreement(self, collection: str, text: str | None) -> int:
        return self._archive.agreements.put(HOME, collection, text)

    def accept_agreement(self, collection: str, version: int) -> None:
        self._archive.agreements.accept(self._archive.accounts.actor(self._user), collection, version)

    def acceptances(self, collection: str) -> list[Facts]:
        return [_facts(record) for record in self._archive.agreements.accepted(HOME, collection)]

    def ask(self, collection: str, purpose: str, role: str = "reader") -> int:
        return self._archive.requests.ask(
            self._archive.accounts.actor(self._user), collection, Role(role), purpose
        )

    def requests(self, collection: str | None = None) -> list[Facts]:
        if collection is None:
            found = self._archive.requests.mine(self._archive.accounts.actor(self._user))
        else:
            found = self._archive.requests.of(HOME, collection)
        return [_renamed(_facts(record), number="id") for record in found]

    def withdraw(self, number: int) -> None:
        self._archive.requests.withdraw(self._archive.accounts.actor(self._user), number)

    def grant(self, number: int, reason: str = "", ends: str | None = None) -> Facts:
        record = self._archive.requests.grant(HOME, number, reason=reason, ends=_moment(ends))
        return _renamed(_facts(record), number="id")

    def refuse(self, number: int, reason: str) -> Facts:
        return _renamed(_facts(self._archive.requests.refuse(HOME, number, reason=reason)), number="id")


def _facts(record: Any) -> Facts:
    """A record of a service as JSON can hold it."""
    return {name: _plain(value) for name, value in asdict(record).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value


def _renamed(facts: Facts, **names: str) -> Facts:
    return {names.get(name, name): value for name, value in facts.items()}


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def moment_text(text: str | None) -> str | None:
    """A day or a moment as it was typed, with its time zone (UTC unless said). Raises InvalidRequestError."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequestError("an end is a day like 2027-01-31, or 2027-01-31T12:00+01:00") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


@contextmanager
def people_on(home: Path | None, server: str | None, user: str | None = None) -> Iterator[People]:
    """The people to act on. `user` is as whom, on a home folder; a server knows who is asking."""
    with acting_on(home, server) as backend:
        match backend:
            case LocalBackend():
                yield LocalPeople(backend.archive, user or ADMINISTRATOR)
            case RemoteBackend():
                if user is not None:
                    raise InvalidRequestError("--user is for a home folder; a server knows who is asking")
                yield backend.client.people
