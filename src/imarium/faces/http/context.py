"""What routes depend on: the archive, and who is asking."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, Request

from imarium.archive import Archive
from imarium.errors import AuthenticationError


def archive_of(request: Request) -> Archive:
    """The archive that the app serves."""
    archive: Archive = request.app.state.archive
    return archive


ArchiveDep = Annotated[Archive, Depends(archive_of)]


def bearer_token(authorization: Annotated[str | None, Header()] = None) -> str:
    """The token of the Authorization header; raises AuthenticationError."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise AuthenticationError("this needs a login; send `Authorization: Bearer TOKEN`")
    return token


TokenDep = Annotated[str, Depends(bearer_token)]


def current_user(archive: ArchiveDep, token: TokenDep) -> str:
    """The user who is asking; raises AuthenticationError."""
    return archive.accounts.authenticate(token)


UserDep = Annotated[str, Depends(current_user)]
