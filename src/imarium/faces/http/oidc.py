"""Routes for logging in with a provider (OpenID Connect)."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from imarium.access.oidc import SignIn
from imarium.archive import Archive
from imarium.audit import ObjectKind
from imarium.errors import AuthenticationError, NotFoundError
from imarium.faces.http.auditing import NotedDep
from imarium.faces.http.callers import PREFIX, ArchiveDep, set_cookie

router = APIRouter(tags=["sessions"])

_COOKIE = "imarium_login"
_SECONDS = 600
_CALLBACK = f"{PREFIX}/oidc/callback"
_REDIRECT: dict[int | str, dict[str, object]] = {303: {"description": "To the provider, or to the page."}}
Given = Annotated[str | None, Query(max_length=4096)]


@router.get("/oidc/login", status_code=303, response_class=Response, responses=_REDIRECT)
def oidc_login(archive: ArchiveDep, request: Request) -> Response:
    """Send a browser to the provider's page."""
    started = _sign_in(archive).start(_redirect_uri(request))
    response = RedirectResponse(started.url, 303)
    # Lax: the browser comes back from another site.
    response.set_cookie(
        _COOKIE,
        started.state,
        max_age=_SECONDS,
        path=_CALLBACK,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return response


@router.get("/oidc/callback", status_code=303, response_class=Response, responses=_REDIRECT)
def oidc_callback(
    archive: ArchiveDep,
    request: Request,
    told: NotedDep,
    state: Given = None,
    code: Given = None,
    iss: Given = None,
    error: Given = None,
) -> Response:
    """Where the provider sends the browser back to: logs it in, with a cookie, and shows the page."""
    sign_in = _sign_in(archive)
    begun = request.cookies.get(_COOKIE, "")
    if not state or not secrets.compare_digest(state.encode(), begun.encode()):
        raise AuthenticationError("this login was not begun in this browser; begin again")
    if error is not None or not code:
        raise AuthenticationError("the provider did not log you in; begin again")
    login = sign_in.finish(_redirect_uri(request), state, code, iss)
    told.about(ObjectKind.USER, login.user)
    told.actor = login.user
    response = RedirectResponse("/", 303)
    response.delete_cookie(_COOKIE, path=_CALLBACK)
    set_cookie(request, response, login)
    return response


def _sign_in(archive: Archive) -> SignIn:
    if archive.sign_in is None:
        raise NotFoundError("here, no provider logs people in")
    return archive.sign_in


def _redirect_uri(request: Request) -> str:
    """Of this server, by the name that it was asked under; the guard has checked that."""
    return f"{request.url.scheme}://{request.url.netloc}{_CALLBACK}"
