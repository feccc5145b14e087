"""Routes for logging in and out, and for one's own account: password, logins, tokens."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter, Request, Response

from imarium.access import Scope
from imarium.audit import ObjectKind
from imarium.errors import AuthenticationError, PermissionDeniedError
from imarium.faces.http.auditing import NotedDep
from imarium.faces.http.callers import (
    NEEDED,
    ActorDep,
    ArchiveDep,
    Number,
    address_of,
    bearer_token,
    check_origin,
    cookie_token,
    drop_cookie,
    own_account,
    set_cookie,
)
from imarium.faces.http.people_schemas import (
    Accepted,
    Credentials,
    LoginAnswer,
    LoginMethods,
    Me,
    NewToken,
    NewTokenAnswer,
    PasswordChange,
    Registration,
    RoleItem,
    RoleList,
    TokenItem,
    TokenList,
)

router = APIRouter(tags=["sessions"])


@router.get("/login")
def login_methods(archive: ArchiveDep) -> LoginMethods:
    """How one can log in."""
    oidc = archive.settings.oidc
    return LoginMethods(
        password=True,
        oidc=None if oidc is None else oidc.name,
        registration=archive.settings.registration,
    )


@router.post("/login")
def login(archive: ArchiveDep, request: Request, told: NotedDep, credentials: Credentials) -> LoginAnswer:
    """Exchange a password for a token, for programs. Wrong ones in a row have to wait (429, Retry-After)."""
    told.about(ObjectKind.USER, credentials.username)
    result = archive.accounts.login(credentials.username, credentials.password, address_of(request))
    told.actor = result.user
    return LoginAnswer(username=result.user, token=result.token, expires=result.expires.isoformat())


@router.post("/session", status_code=204, response_class=Response)
def open_session(archive: ArchiveDep, request: Request, told: NotedDep, credentials: Credentials) -> Response:
    """Log a browser in: the token comes as a cookie that no script can read."""
    check_origin(request)
    told.about(ObjectKind.USER, credentials.username)
    result = archive.accounts.login(credentials.username, credentials.password, address_of(request))
    told.actor = result.user
    response = Response(status_code=204)
    set_cookie(request, response, result)
    return response


@router.post("/logout", status_code=204, response_class=Response)
def logout(archive: ArchiveDep, actor: ActorDep, request: Request) -> Response:  # noqa: ARG001
    """Forget the token, or the browser's login."""
    token = bearer_token(request) or cookie_token(request)
    if token is None:
        raise AuthenticationError(NEEDED)
    archive.accounts.logout(token)
    response = Response(status_code=204)
    drop_cookie(request, response)
    return response


@router.post("/registrations", status_code=202)
def register(archive: ArchiveDep, request: Request, told: NotedDep, wanted: Registration) -> Accepted:
    """Ask for an account. The answer says nothing of whether the name is taken."""
    if not archive.settings.registration:
        raise PermissionDeniedError("here, administrators make the accounts; ask one")
    told.about(ObjectKind.USER, wanted.username)
    archive.accounts.register(wanted.username, wanted.password, wanted.email, address_of(request))
    return Accepted(message="if the name is free, the account waits for the approval of an administrator")


@router.get("/me")
def me(actor: ActorDep) -> Me:
    """Who is asking."""
    scopes = [scope for scope in Scope if scope in actor.scopes]
    return Me(username=actor.name, is_administrator=actor.is_administrator, scopes=scopes)


@router.get("/me/roles")
def my_roles(archive: ArchiveDep, actor: ActorDep) -> RoleList:
    """One's own roles in collections."""
    return RoleList(items=[RoleItem.of(record) for record in archive.roles.of(actor)])


@router.put("/me/password", status_code=204, response_class=Response)
def change_password(
    archive: ArchiveDep, actor: ActorDep, request: Request, told: NotedDep, change: PasswordChange
) -> Response:
    """Change one's own password; all other logins end."""
    own_account(actor)
    told.about(ObjectKind.USER, actor.name)
    archive.accounts.change_password(actor, change.current, change.password, address_of(request))
    return Response(status_code=204)


@router.get("/me/sessions")
def my_sessions(archive: ArchiveDep, actor: ActorDep) -> TokenList:
    """One's own logins that have not ended."""
    own_account(actor)
    return TokenList(items=[TokenItem.of(record) for record in archive.accounts.sessions.sessions(actor)])


@router.delete("/me/sessions", status_code=204, response_class=Response)
def end_other_sessions(archive: ArchiveDep, actor: ActorDep, told: NotedDep) -> Response:
    """End all of one's own logins but this one."""
    own_account(actor)
    told.about(ObjectKind.USER, actor.name)
    archive.accounts.sessions.end_others(actor)
    return Response(status_code=204)


@router.get("/me/tokens")
def my_tokens(archive: ArchiveDep, actor: ActorDep) -> TokenList:
    """One's own tokens that have not ended."""
    own_account(actor)
    return TokenList(items=[TokenItem.of(record) for record in archive.accounts.sessions.tokens(actor)])


@router.post("/me/tokens", status_code=201)
def create_token(archive: ArchiveDep, actor: ActorDep, told: NotedDep, wanted: NewToken) -> NewTokenAnswer:
    """Make a token for a program, with no more than it needs. It is shown this once."""
    own_account(actor)
    told.about(ObjectKind.USER, actor.name)
    told.details |= {"scopes": " ".join(wanted.scopes), "days": wanted.days}
    made = archive.accounts.sessions.create_token(
        actor, wanted.name, wanted.scopes, timedelta(days=wanted.days)
    )
    return NewTokenAnswer(token=made.token, expires=made.expires)


@router.delete("/me/tokens/{number}", status_code=204, response_class=Response)
def revoke_token(archive: ArchiveDep, actor: ActorDep, told: NotedDep, number: Number) -> Response:
    """End one of one's own logins or tokens."""
    own_account(actor)
    told.about(ObjectKind.USER, actor.name)
    archive.accounts.sessions.revoke(actor, number)
    return Response(status_code=204)
