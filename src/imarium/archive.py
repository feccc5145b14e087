"""An open archive: the services of one home folder, wired together once."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from imarium.access import Accounts, Permissions, site_secret
from imarium.access.agreements import Agreements
from imarium.access.oidc import SignIn
from imarium.access.requests import Requests
from imarium.access.roles import Roles
from imarium.audit import Audit
from imarium.catalog import Catalog
from imarium.deid.gate import Gate
from imarium.deid.pixels.blanking import blank_text
from imarium.deid.pixels.finding import find_text
from imarium.deid.text_in_pixels import TextInPixels
from imarium.erasure import Erasure
from imarium.errors import StorageError
from imarium.ingest import Ingest, Rebuilding
from imarium.settings import Settings
from imarium.store import open_store
from imarium.streaming import Manifests, Streaming

_STALE_SECONDS = 24 * 3600.0


class Archive:
    """What a face needs, over the same home: `catalog`, `gate`, `ingest`, `rebuilding`, `streaming`,
    `manifests`, `audit` and `erasure`; and of people `accounts`, `permissions`, `roles`, `agreements`,
    `requests` and, where a provider logs people in, `sign_in`."""

    def __init__(self, settings: Settings) -> None:
        try:
            settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            settings.scratch.mkdir(exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"the home folder cannot be made: {error.strerror}; choose another with --home"
            ) from error
        self.settings = settings
        _forget_stale_work(settings.scratch)
        secret = site_secret(settings.home)
        store = open_store(settings.objects, settings.bucket)
        self.catalog = Catalog(settings.database_url)
        self.accounts = Accounts(self.catalog, secret)
        self.permissions = Permissions(self.catalog)
        self.roles = Roles(self.catalog)
        self.agreements = Agreements(self.catalog)
        self.requests = Requests(self.catalog)
        oidc = settings.oidc
        self.sign_in = None if oidc is None else SignIn(oidc, self.catalog, self.accounts)
        self.gate = Gate(settings, self.catalog, secret, TextInPixels(find_text, blank_text))
        self.ingest = Ingest(settings, self.catalog, store, secret, self.gate)
        self.rebuilding = Rebuilding(self.catalog, store, secret)
        self.streaming = Streaming(settings, self.catalog, store)
        self.manifests = Manifests(settings, self.catalog, store)
        self.audit = Audit(self.catalog, secret, settings.home)
        self.erasure = Erasure(settings, self.catalog, store, self.audit, secret, self.streaming.forget)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what waits for the audit record, and release the catalog's connections."""
        self.audit.close()
        self.catalog.close()


def _forget_stale_work(scratch: Path) -> None:
    """Remove uploads and half-written files that a process left which was ended more than a day ago."""
    for left in (*scratch.glob("*"), *scratch.glob("uploads/*")):
        with suppress(OSError):
            if left.name == "uploads" or time.time() - left.stat().st_mtime < _STALE_SECONDS:
                continue
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()
