"""Who is asking, and the gate that every route of the API stands behind."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response
from fastapi import Path as PathParameter
from starlette.concurrency import run_in_threadpool

from imarium.access import NOBODY, Action, Actor, Login, Scope
from imarium.access.permissions import AT_THE_MACHINE
from imarium.archive import Archive
from imarium.errors import AuthenticationError, PermissionDeniedError
from imarium.faces.http.auditing import NotedDep

PREFIX = "/api/v1"

OPEN = frozenset(
    {
        "GET /status",
        "GET /login",
        "POST /login",
        "POST /session",
        "POST /registrations",
        "GET /oidc/login",
        "GET /oidc/callback",
    }
)
"""Routes for everybody. All others but those below need a login."""

READING = frozenset(
    {
        "GET /openapi.json",
        "GET /collections",
        "GET /collections/{name}/access",
        "GET /collections/{name}/agreement",
        "GET /studies",
        "GET /series",
        "GET /search",
        "POST /search",
        "GET /facets",
        "GET /attributes",
        "GET /series/{uid}/concepts",
        "GET /subjects/{pseudonym}",
        "GET /studies/{uid}/reports",
        "GET /series/{uid}",
        "GET /series/{uid}/export",
        "GET /series/{uid}/index",
        "GET /series/{uid}/pixels",
        "GET /series/{uid}/thumbnail",
        "HEAD /series/{uid}/thumbnail",
        "GET /series/{uid}/cine",
        "GET /manifest",
        "POST /manifest",
        "GET /packs/{prefix}/{name}",
        "HEAD /packs/{prefix}/{name}",
    }
)
"""Routes that need no login where there is something to read without one. What each caller finds there is
decided by `access.permissions`."""

NEEDED = "this needs a login; send `Authorization: Bearer TOKEN`"
CSRF_HEADER = "Imarium-Request"
"""Sent by the page with whatever changes something. Pages of others cannot send it."""
_COOKIE = "imarium_session"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


async def archive_of(request: Request) -> Archive:
    """The archive that the app serves. Asynchronous, since anything else takes a turn of a thread."""
    archive: Archive = request.app.state.archive
    return archive


ArchiveDep = Annotated[Archive, Depends(archive_of)]


def bearer_token(request: Request) -> str | None:
    """The token of the Authorization header. Other schemes are those of proxies, and not for us."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def cookie_token(request: Request) -> str | None:
    """The login of a browser."""
    return request.cookies.get(cookie_name(request))


async def caller(request: Request, archive: ArchiveDep, told: NotedDep) -> Actor:
    """Whoever is asking; nobody without a login. Raises AuthenticationError for a token that has ended.

    A browser's cookie counts for what changes something only if the page itself sent the request.
    """
    actor = await _caller(request, archive)
    told.actor = actor.name
    return actor


async def _caller(request: Request, archive: Archive) -> Actor:
    token = bearer_token(request)
    if token is not None:
        return await run_in_threadpool(archive.accounts.authenticate, token)
    cookie = cookie_token(request)
    if cookie is not None:
        try:
            actor = await run_in_threadpool(archive.accounts.authenticate, cookie)
        except AuthenticationError:
            return nobody(request)  # a login that ended long ago must not close what is open to all
        if request.method not in _SAFE:
            check_origin(request)
        return actor
    return nobody(request)


def nobody(request: Request) -> Actor:
    """Who is there without a login. What a proxy passed on came from elsewhere."""
    if request.app.state.open_reading and not any(name in request.headers for name in _FORWARDED):
        return AT_THE_MACHINE
    return NOBODY


def check_origin(request: Request) -> None:
    """Raises PermissionDeniedError unless the page sent the request, as far as its browser tells."""
    origin = request.headers.get("origin")
    elsewhere = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if elsewhere or request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise PermissionDeniedError("a page of another site sent this request")
    if CSRF_HEADER not in request.headers:
        raise PermissionDeniedError(f"with a cookie this needs the header {CSRF_HEADER}")


CallerDep = Annotated[Actor, Depends(caller)]
"""Whoever is asking; may be nobody."""


async def gate(request: Request, archive: ArchiveDep, actor: CallerDep) -> None:
    """What every route of the API depends on. Raises AuthenticationError."""
    if actor.is_known:
        return
    path = str(request.scope["route"].path).removeprefix(PREFIX)
    if PREFIX + path.format_map(request.path_params) != request.scope["path"]:
        raise AuthenticationError(NEEDED)  # a router within a router, whose routes have names of their own
    route = f"{request.method} {path}"
    if route in OPEN:
        return
    if route in READING:
        if actor.is_local:
            return
        public = await run_in_threadpool(archive.permissions.within, actor)
        if public:
            return
    raise AuthenticationError(NEEDED)


async def person(actor: CallerDep) -> Actor:
    """Somebody with a login; raises AuthenticationError."""
    if not actor.is_known:
        raise AuthenticationError(NEEDED)
    return actor


ActorDep = Annotated[Actor, Depends(person)]


def administrator(archive: ArchiveDep, actor: ActorDep) -> None:
    """Raises PermissionDeniedError for anybody else."""
    archive.permissions.require(actor, Action.ADMINISTER)


Number = Annotated[int, PathParameter(ge=0, lt=1 << 31)]
"""Of a token or a request."""


def own_account(actor: Actor) -> None:
    """Raises PermissionDeniedError for a program's token: of its account a person decides."""
    if Scope.ADMINISTER not in actor.scopes:
        raise PermissionDeniedError(f"this token is not for that: it lacks the scope {Scope.ADMINISTER!r}")


def address_of(request: Request) -> str | None:
    """Where a request came from."""
    return None if request.client is None else request.client.host


def cookie_name(request: Request) -> str:
    """With https, browsers take the cookie from this host alone."""
    return f"__Host-{_COOKIE}" if request.url.scheme == "https" else _COOKIE


def set_cookie(request: Request, response: Response, login: Login) -> None:
    """Have a browser keep a login, where no script can read it."""
    response.set_cookie(
        cookie_name(request),
        login.token,
        expires=login.expires,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def drop_cookie(request: Request, response: Response) -> None:
    """Have a browser forget its login."""
    response.delete_cookie(
        cookie_name(request), path="/", secure=request.url.scheme == "https", httponly=True, samesite="strict"
    )
