"""The secret of an installation, and the pseudonyms that hang on it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from blake3 import blake3

from imarium.errors import StorageError

_NAME = "secret"
_BYTES = 32


def site_secret(home: Path) -> bytes:
    """The installation's key, made on first use and readable by its owner alone."""
    path = home / _NAME
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = home / f"{_NAME}.{secrets.token_hex(8)}"
        if not path.exists():
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(_BYTES))
            try:
                os.link(temporary, path)  # atomic, and never over an existing secret
            except FileExistsError:
                pass
            finally:
                temporary.unlink()
        secret = path.read_bytes()
    except OSError as error:
        raise StorageError(f"the home folder cannot be used: {error.strerror}") from error
    if len(secret) != _BYTES:
        raise StorageError("the file 'secret' in the home folder is damaged; restore it from a backup")
    return secret


def pseudonym(secret: bytes, patient_id: str | None) -> str | None:
    """A stable name for a subject that tells nothing to whoever lacks the secret."""
    if not patient_id:
        return None
    return "S-" + blake3(patient_id.encode(), key=secret).hexdigest(length=6)


def erased_mark(secret: bytes, kind: str, identifier: str) -> str:
    """What is kept of something that was erased and must not come again: 16 bytes in hex.

    `kind` is `file` (a digest), `instance` or `series` (UIDs). Whoever lacks the secret learns nothing of it.
    """
    key = blake3(secret, derive_key_context="imarium erased marks, version 1").digest()
    return blake3(f"{kind}\0{identifier}".encode("utf-8", "surrogatepass"), key=key).hexdigest(length=16)
