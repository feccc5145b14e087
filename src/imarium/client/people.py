"""People on a server: accounts, tokens, roles, agreements, requests for access."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from imarium.client.administration import Administration

Facts = dict[str, Any]


class People:
    """Asks a server, which decides whether one may. Times are ISO 8601 with their zone.

    What is answered is as in the HTTP API's description. Raises its errors: PermissionDeniedError,
    AuthenticationError, NotFoundError, InvalidRequestError.
    """

    def __init__(self, server: Administration) -> None:
        self._server = server

    # --- accounts -----------------------------------------------------------------------------------

    def accounts(self) -> list[Facts]:
        """All accounts; for administrators."""
        return self._items("/accounts")

    def add_account(
        self,
        name: str,
        *,
        password: str | None = None,
        email: str | None = None,
        is_administrator: bool = False,
    ) -> str | None:
        """Make an account that can be used at once; returns its password if the server made it up."""
        body = {"name": name, "password": password, "email": email, "is_administrator": is_administrator}
        return _text(self._server.call("POST", "/accounts", json=body)["password"])

    def change_account(self, name: str, **changes: Any) -> Facts:
        """Change `standing` (approved or disabled), `is_administrator` or `email` of an account."""
        return self._server.call("PATCH", f"/accounts/{_quoted(name)}", json=changes)

    def reset_password(self, name: str) -> str:
        """Give an account a new password, which is returned, and end its logins and tokens."""
        return str(self._server.call("POST", f"/accounts/{_quoted(name)}/password")["password"])

    def change_password(self, current: str, password: str) -> None:
        """Change one's own password; other logins end."""
        self._server.call("PUT", "/me/password", json={"current": current, "password": password})

    def register(self, name: str, password: str, email: str | None = None) -> None:
        """Ask for an account, which waits for an administrator."""
        self._server.call(
            "POST", "/registrations", json={"username": name, "password": password, "email": email}
        )

    def me(self) -> Facts:
        """Whose token this is, and what it is for."""
        return self._server.call("GET", "/me")

    # --- logins and tokens --------------------------------------------------------------------------

    def tokens(self, *, logins: bool = False) -> list[Facts]:
        """One's own tokens, or logins, that have not ended."""
        return self._items("/me/sessions" if logins else "/me/tokens")

    def create_token(self, name: str, scopes: Sequence[str], days: int = 90) -> Facts:
        """A token for a program: `token`, shown this once, and when it `expires`."""
        return self._server.call(
            "POST", "/me/tokens", json={"name": name, "scopes": list(scopes), "days": days}
        )

    def revoke_token(self, number: int) -> None:
        """End one of one's own tokens or logins."""
        self._server.call("DELETE", f"/me/tokens/{number}")

    def end_other_logins(self) -> None:
        """End all of one's own logins but this one."""
        self._server.call("DELETE", "/me/sessions")

    # --- collections --------------------------------------------------------------------------------

    def access(self, collection: str) -> Facts:
        """Who may read a collection, and what one is there."""
        return self._server.call("GET", f"{_place(collection)}/access")

    def set_visibility(self, collection: str, visibility: str) -> Facts:
        """Make a collection public, registered or restricted."""
        return self._server.call("PATCH", f"{_place(collection)}/access", json={"visibility": visibility})

    def roles(self, collection: str) -> list[Facts]:
        """All roles in a collection."""
        return self._items(f"{_place(collection)}/roles")

    def grant_role(self, collection: str, user: str, role: str, ends: str | None = None) -> None:
        """Make a person reader, annotator, curator or owner, in place of what they are."""
        body = {"role": role, "ends": ends}
        self._server.call("PUT", f"{_place(collection)}/roles/{_quoted(user)}", json=body)

    def revoke_role(self, collection: str, user: str) -> None:
        """Take a person's role away."""
        self._server.call("DELETE", f"{_place(collection)}/roles/{_quoted(user)}")

    def agreement(self, collection: str) -> Facts:
        """The version of the agreement that counts."""
        return self._server.call("GET", f"{_place(collection)}/agreement")

    def set_agreement(self, collection: str, text: str | None) -> int:
        """Have a new version count, None for none; returns its number."""
        return int(
            self._server.call("PUT", f"{_place(collection)}/agreement", json={"text": text})["version"]
        )

    def accept_agreement(self, collection: str, version: int) -> None:
        """Accept the version that counts."""
        body = {"version": version}
        self._server.call("POST", f"{_place(collection)}/agreement/acceptances", json=body)

    def acceptances(self, collection: str) -> list[Facts]:
        """Who accepted which version."""
        return self._items(f"{_place(collection)}/agreement/acceptances")

    # --- requests -----------------------------------------------------------------------------------

    def ask(self, collection: str, purpose: str, role: str = "reader") -> int:
        """Ask for a role in a collection; returns the number of the request."""
        body = {"collection": collection, "purpose": purpose, "role": role}
        return int(self._server.call("POST", "/me/requests", json=body)["id"])

    def requests(self, collection: str | None = None) -> list[Facts]:
        """One's own requests, or those for a collection that one owns."""
        return self._items("/me/requests" if collection is None else f"{_place(collection)}/requests")

    def withdraw(self, number: int) -> None:
        """Take an open request back."""
        self._server.call("DELETE", f"/me/requests/{number}")

    def grant(self, number: int, reason: str = "", ends: str | None = None) -> Facts:
        """Give whoever asked the role."""
        body = {"reason": reason, "ends": ends}
        return self._server.call("POST", f"/requests/{number}/grant", json=body)

    def refuse(self, number: int, reason: str) -> Facts:
        """Say no, and why."""
        return self._server.call("POST", f"/requests/{number}/refuse", json={"reason": reason})

    def _items(self, path: str) -> list[Facts]:
        return list(self._server.call("GET", path)["items"])


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _place(collection: str) -> str:
    return f"/collections/{_quoted(collection)}"


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
