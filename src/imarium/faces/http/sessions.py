"""Routes for logging in and out."""

from __future__ import annotations

from fastapi import APIRouter, Response

from imarium.faces.http.context import ArchiveDep, TokenDep, UserDep
from imarium.faces.http.schemas import Credentials, LoginAnswer, Me

public = APIRouter(tags=["sessions"])
"""Open to everyone, wherever the server listens."""
router = APIRouter(tags=["sessions"])


@public.post("/login")
def login(archive: ArchiveDep, credentials: Credentials) -> LoginAnswer:
    """Exchange a password for a token."""
    result = archive.accounts.login(credentials.username, credentials.password)
    return LoginAnswer(username=result.user, token=result.token, expires=result.expires.isoformat())


@router.post("/logout", status_code=204, response_class=Response)
def logout(archive: ArchiveDep, token: TokenDep) -> Response:
    """Forget the token."""
    archive.accounts.logout(token)
    return Response(status_code=204)


@router.get("/me")
def me(user: UserDep) -> Me:
    """Who the token stands for."""
    return Me(username=user)
