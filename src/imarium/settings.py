"""Settings: one frozen object, read once at the faces and handed down."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what an untrusted file or request may ask for. All are checked before memory is taken."""

    frame_pixels: int = 1 << 28
    """Pixels of one frame (rows x columns); 2**28 is 16,384 x 16,384."""
    frame_bytes: int = 1 << 30
    """Bytes of one uncompressed frame; encoding one takes several times that."""
    frames: int = 1 << 20
    """Frames of one series."""
    file_bytes: int = 1 << 40
    """Bytes of one source file."""
    header_bytes: int = 64 << 20
    """Bytes of a DICOM header without its pixel data, or of NIfTI extensions."""
    decoder_memory_bytes: int = 8 << 30
    """Address space of the separate process that decodes compressed pixel data."""
    decoder_seconds: float = 120.0
    """Time for one frame in that process."""
    picture_pixels: int = 1 << 24
    """Pixels of a picture that is rendered for a client; 2**24 is 4,096 x 4,096."""
    cine_frames: int = 512
    """Frames of a film that is rendered for a client."""
    cine_pixels: int = 1 << 26
    """Pixels of all frames of such a film together; 2**26 is 256 frames of 512 x 512."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """When small series share one pack, and when such a pack is stored and its series made known."""

    series_bytes: int = 8 << 20
    """Stored bytes of a series up to which it shares a pack; 0 gives every series a pack of its own."""
    pack_bytes: int = 128 << 20
    """Bytes of a shared pack from which it is stored."""
    pack_series: int = 1000
    """Series of a shared pack from which it is stored."""
    seconds: float = 5.0
    """Age of a shared pack from which it is stored: nothing in it is acknowledged before."""


@dataclass(frozen=True, slots=True)
class Oidc:
    """A provider of logins (OpenID Connect)."""

    issuer: str
    """Its address, below which its discovery document lies."""
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    """None: this is a public client, which PKCE alone protects."""
    name: str = "OpenID Connect"
    """What the button says."""
    approve: bool = False
    """Whether accounts of its people can be used at once; else they wait for an administrator."""
    groups_claim: str = "groups"
    administrators: str | None = None
    """Who is in this group is an administrator, and no longer than that. None: groups mean nothing here."""
    scopes: str = "openid profile email"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set, with defaults that suit a laptop."""

    home: Path
    """The folder that holds all state: objects, catalog, secrets, temporary files."""
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Threads that encode and decode."""
    limits: Limits = field(default_factory=Limits)
    sharing: Sharing = field(default_factory=Sharing)
    bucket: str | None = None
    """Where objects are kept instead of in the home folder: s3://BUCKET/PREFIX (also gs://, az://)."""
    database: str | None = field(default=None, repr=False)
    """SQLAlchemy address (postgresql+pg8000://USER:PASSWORD@HOST/NAME); None: SQLite in `home`."""
    registration: bool = True
    """Whether anybody may ask for an account, which waits for an administrator."""
    oidc: Oidc | None = None
    trusted_proxies: tuple[str, ...] = ()
    """Addresses of proxies that are believed when they say in a header from where a request came."""

    @property
    def database_url(self) -> str:
        """SQLAlchemy address of the catalog."""
        if self.database is not None:
            return self.database
        return f"sqlite:///{self.home / 'catalog.sqlite'}"

    @property
    def objects(self) -> Path:
        """Folder of the object store, where there is no bucket."""
        return self.home / "objects"

    @property
    def scratch(self) -> Path:
        """Folder for temporary files; safe to empty while nothing runs."""
        return self.home / "tmp"


def load(home: Path | None, *, default_home: Path, environ: Mapping[str, str]) -> Settings:
    """Settings from the command line's `home`, else `IMARIUM_HOME`, else the platform's default.

    `IMARIUM_THREADS` sets the number of threads, `IMARIUM_DATABASE` the SQLAlchemy address of the catalog
    (`postgresql+pg8000://USER:PASSWORD@HOST/NAME`; without it, a SQLite file in the home folder), and
    `IMARIUM_OBJECTS` the bucket; who asks a bucket is what its own variables say (AWS_ACCESS_KEY_ID,
    AWS_ENDPOINT, ...).

    `IMARIUM_TRUSTED_PROXIES`, addresses with commas between, are proxies that are believed when they say
    from where a request came; without it no such header is.

    `IMARIUM_REGISTRATION=0` lets nobody ask for an account. `IMARIUM_OIDC_ISSUER` and
    `IMARIUM_OIDC_CLIENT_ID` have people log in with a provider, with `IMARIUM_OIDC_CLIENT_SECRET` or
    `IMARIUM_OIDC_CLIENT_SECRET_FILE`, and if wanted `IMARIUM_OIDC_NAME`, `IMARIUM_OIDC_APPROVE=1`,
    `IMARIUM_OIDC_GROUPS_CLAIM`, `IMARIUM_OIDC_ADMINISTRATORS` (a group) and `IMARIUM_OIDC_SCOPES`. Raises
    ValueError, naming what cannot be used.
    """
    chosen = home or (Path(environ["IMARIUM_HOME"]) if environ.get("IMARIUM_HOME") else default_home)
    try:
        settings = Settings(
            home=chosen.expanduser().resolve(),
            database=environ.get("IMARIUM_DATABASE") or None,
            bucket=environ.get("IMARIUM_OBJECTS") or None,
            oidc=_oidc(environ),
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"the home folder cannot be used: {error}") from error
    settings = replace(settings, registration=_is_on(environ, "IMARIUM_REGISTRATION", default=True))
    proxies = tuple(
        filter(None, (item.strip() for item in environ.get("IMARIUM_TRUSTED_PROXIES", "").split(",")))
    )
    settings = replace(settings, trusted_proxies=proxies)
    threads = environ.get("IMARIUM_THREADS")
    if not threads:
        return settings
    try:
        return replace(settings, threads=max(1, int(threads)))
    except ValueError as error:
        raise ValueError(f"IMARIUM_THREADS is a number of threads, not {threads!r}") from error


def _is_on(environ: Mapping[str, str], name: str, *, default: bool) -> bool:
    value = environ.get(name, "").strip().lower()
    if value in ("", "1", "true", "yes", "on"):
        return default if value == "" else True
    if value in ("0", "false", "no", "off"):
        return False
    raise ValueError(f"{name} is 1 or 0")


def _oidc(environ: Mapping[str, str]) -> Oidc | None:
    issuer, client_id = environ.get("IMARIUM_OIDC_ISSUER"), environ.get("IMARIUM_OIDC_CLIENT_ID")
    if not issuer and not client_id:
        return None
    if not issuer or not client_id:
        raise ValueError("IMARIUM_OIDC_ISSUER and IMARIUM_OIDC_CLIENT_ID belong together")
    secret = environ.get("IMARIUM_OIDC_CLIENT_SECRET")
    file = environ.get("IMARIUM_OIDC_CLIENT_SECRET_FILE")
    if file:
        try:
            secret = Path(file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError("the file of IMARIUM_OIDC_CLIENT_SECRET_FILE cannot be read") from error
    defaults = Oidc(issuer, client_id)
    return replace(
        defaults,
        client_secret=secret or None,
        name=environ.get("IMARIUM_OIDC_NAME") or defaults.name,
        approve=_is_on(environ, "IMARIUM_OIDC_APPROVE", default=False),
        groups_claim=environ.get("IMARIUM_OIDC_GROUPS_CLAIM") or defaults.groups_claim,
        administrators=environ.get("IMARIUM_OIDC_ADMINISTRATORS") or None,
        scopes=environ.get("IMARIUM_OIDC_SCOPES") or defaults.scopes,
    )
