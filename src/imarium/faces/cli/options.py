"""Options that many commands take, and what they mean."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from imarium import settings
from imarium.archive import Archive
from imarium.client import Client
from imarium.errors import InvalidRequestError
from imarium.faces.cli.backends import Backend, RemoteBackend, saved_token
from imarium.faces.cli.paths import default_home
from imarium.faces.cli.recording import RecordedBackend

Home = Annotated[
    Path | None, typer.Option("--home", help="Folder of all state; else IMARIUM_HOME, else the platform's.")
]
Server = Annotated[
    str | None, typer.Option("--server", help="Act on a server at this address; else IMARIUM_SERVER.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for machines.")]


def acting_on(home: Path | None, server: str | None) -> AbstractContextManager[Backend]:
    """What to act on. An option wins over the environment, and there a server over a home folder."""
    if home is not None and server is not None:
        raise InvalidRequestError("--home and --server exclude each other")
    if home is None:
        server = server or os.environ.get("IMARIUM_SERVER")
    return _opened(None if server else Archive(settings_of(home)), server or None)


@contextmanager
def _opened(archive: Archive | None, url: str | None) -> Iterator[Backend]:
    """The backend of a command: the server if there is an address, else the archive."""
    if url is not None:
        with Client(url, saved_token(url)) as client:
            yield RemoteBackend(client)
    elif archive is not None:
        with archive:
            yield RecordedBackend(archive)


def settings_of(home: Path | None) -> settings.Settings:
    try:
        return settings.load(home, default_home=default_home(), environ=os.environ)
    except ValueError as error:
        raise InvalidRequestError(str(error)) from error
