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
class Settings:
    """Everything that can be set, with defaults that suit a laptop."""

    home: Path
    """The folder that holds all state: objects, catalog, secrets, temporary files."""
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Threads that encode and decode."""
    limits: Limits = field(default_factory=Limits)
    sharing: Sharing = field(default_factory=Sharing)
    trusted_proxies: tuple[str, ...] = ()
    """Addresses of proxies that are believed when they say in a header from where a request came."""

    @property
    def database_url(self) -> str:
        """SQLAlchemy address of the catalog."""
        return f"sqlite:///{self.home / 'catalog.sqlite'}"

    @property
    def objects(self) -> Path:
        """Folder of the object store."""
        return self.home / "objects"

    @property
    def scratch(self) -> Path:
        """Folder for temporary files; safe to empty while nothing runs."""
        return self.home / "tmp"


def load(home: Path | None, *, default_home: Path, environ: Mapping[str, str]) -> Settings:
    """Settings from the command line's `home`, else `IMARIUM_HOME`, else the platform's default.

    `IMARIUM_THREADS` sets the number of threads. `IMARIUM_TRUSTED_PROXIES`, addresses with commas between,
    are proxies that are believed when they say from where a request came; without it no such header is.
    Raises ValueError, naming what cannot be used.
    """
    chosen = home or (Path(environ["IMARIUM_HOME"]) if environ.get("IMARIUM_HOME") else default_home)
    threads = environ.get("IMARIUM_THREADS")
    try:
        settings = Settings(home=chosen.expanduser().resolve())
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"the home folder cannot be used: {error}") from error
    proxies = tuple(
        filter(None, (item.strip() for item in environ.get("IMARIUM_TRUSTED_PROXIES", "").split(",")))
    )
    settings = replace(settings, trusted_proxies=proxies)
    if not threads:
        return settings
    try:
        count = int(threads)
    except ValueError as error:
        raise ValueError(f"IMARIUM_THREADS is a number of threads, not {threads!r}") from error
    return replace(settings, threads=max(1, count))
