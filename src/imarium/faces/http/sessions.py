"""Routes for logging in and out."""

from __future__ import annotations

from contextlib import suppress

from fastapi import APIRouter, Response

from imarium.audit import ObjectKind
from imarium.errors import AuthenticationError
from imarium.faces.http.context import ArchiveDep, NotedDep, TokenDep, UserDep
from imarium.faces.http.schemas import Credentials, LoginAnswer, Me

public = APIRouter(tags=["sessions"])
"""Open to everyone, wherever the server listens."""
router = APIRouter(tags=["sessions"])


@public.post("/login")
def login(archive: ArchiveDep, credentials: Credentials, told: NotedDep) -> LoginAnswer:
    """Exchange a password for a token."""
    told.about(ObjectKind.USER, credentials.username)
    result = archive.accounts.login(credentials.username, credentials.password)
    told.actor = result.user
    return LoginAnswer(username=result.user, token=result.token, expires=result.expires.isoformat())


@router.post("/logout", status_code=204, response_class=Response)
def logout(archive: ArchiveDep, token: TokenDep, told: NotedDep) -> Response:
    """Forget the token."""
    with suppress(AuthenticationError):
        told.actor = archive.accounts.authenticate(token)
    archive.accounts.logout(token)
    return Response(status_code=204)


@router.get("/me")
def me(user: UserDep) -> Me:
    """Who the token stands for."""
    return Me(username=user)
