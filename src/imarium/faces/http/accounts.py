"""Routes for administrators: accounts."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response

from imarium.access.accounts import Standing
from imarium.audit import ObjectKind
from imarium.errors import InvalidRequestError
from imarium.faces.http.auditing import NotedDep
from imarium.faces.http.callers import ArchiveDep, administrator
from imarium.faces.http.people_schemas import (
    AccountChange,
    AccountItem,
    AccountList,
    GeneratedPassword,
    NewAccount,
)

router = APIRouter(tags=["accounts"], dependencies=[Depends(administrator)])


@router.get("/accounts")
def accounts(archive: ArchiveDep) -> AccountList:
    """All accounts."""
    return AccountList(items=[AccountItem.of(account) for account in archive.accounts.all()])


@router.post("/accounts", status_code=201)
def add_account(archive: ArchiveDep, told: NotedDep, wanted: NewAccount) -> GeneratedPassword:
    """Make an account that can be used at once."""
    told.about(ObjectKind.USER, wanted.name)
    password = archive.accounts.add(
        wanted.name,
        password=wanted.password,
        email=wanted.email,
        is_administrator=wanted.is_administrator,
    )
    return GeneratedPassword(name=wanted.name, password=password)


@router.patch("/accounts/{name}")
def change_account(archive: ArchiveDep, told: NotedDep, name: str, change: AccountChange) -> AccountItem:
    """Approve or disable an account, or change what is known of it. Disabling ends its logins and tokens."""
    told.about(ObjectKind.USER, name)
    if change.standing is not None:
        told.details["standing"] = change.standing.value
    if change.is_administrator is not None:
        told.details["administrator"] = change.is_administrator
    match change.standing:
        case Standing.APPROVED:
            archive.accounts.approve(name)
        case Standing.DISABLED:
            archive.accounts.disable(name)
        case Standing.WAITING:
            raise InvalidRequestError("an account is approved or disabled")
    if change.is_administrator is not None:
        archive.accounts.set_administrator(name, change.is_administrator)
    if change.email is not None:
        archive.accounts.set_email(name, change.email)
    return AccountItem.of(archive.accounts.get(name))


@router.post("/accounts/{name}/password")
def reset_password(archive: ArchiveDep, told: NotedDep, name: str) -> GeneratedPassword:
    """Give an account a new generated password and end its logins and tokens."""
    told.about(ObjectKind.USER, name)
    return GeneratedPassword(name=name, password=archive.accounts.reset_password(name))


@router.delete("/accounts/{name}/sessions", status_code=204, response_class=Response)
def end_sessions(archive: ArchiveDep, told: NotedDep, name: str) -> Response:
    """End all logins and tokens of an account."""
    told.about(ObjectKind.USER, name)
    archive.accounts.end_sessions(name)
    return Response(status_code=204)
