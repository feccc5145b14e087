"""The custodian's key, and everything that is made from it: pseudonyms, UIDs, dates' shifts.

One key of 32 random bytes lies in a file of its own, apart from the data. Each use has a subkey of its own,
derived by BLAKE3's key derivation from the key, the purpose and the collection, so that pseudonyms of one
collection tell nothing of another's, and no use of one subkey tells anything of the others.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from imarium.errors import StorageError

KEY_BYTES = 32
_MARK = "imarium-deid-key-1 "
_CONTEXT = "imarium 2026-11 de-identification "
_STANDARD_ROOT = "1.2.840.10008."


def make_key(path: Path) -> bytes:
    """A new key in a new file that its owner alone can read. Raises StorageError if there is one already."""
    key = secrets.token_bytes(KEY_BYTES)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{_MARK}{key.hex()}\n")
    except OSError as error:
        raise StorageError(f"the key file cannot be written: {error.strerror}") from error
    return key


def read_key(path: Path) -> bytes:
    """The key in a file. Raises StorageError if there is none, or if others than its owner may read it."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii") if path.stat().st_size < 1024 else ""
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise StorageError(f"the key file cannot be read: {reason}") from error
    if os.name == "posix" and mode & 0o077:
        raise StorageError("the key file may be read by others; run `chmod 600` on it, or make a new key")
    try:
        key = bytes.fromhex(text.strip().removeprefix(_MARK.strip()))
    except ValueError:
        key = b""
    if not text.startswith(_MARK) or len(key) != KEY_BYTES:
        raise StorageError("the file holds no de-identification key; restore it from a backup")
    return key


@dataclass(frozen=True, slots=True)
class Subkeys:
    """The keys of one collection; `str()` and errors never show them."""

    pseudonym: bytes
    uid: bytes
    date: bytes
    name: bytes
    table: bytes

    def __repr__(self) -> str:
        return "Subkeys()"


def subkeys(key: bytes, collection: str) -> Subkeys:
    """Derive what one collection uses from the custodian's key."""

    def derived(purpose: str) -> bytes:
        material = len(key).to_bytes(4, "big") + key + collection.encode()
        return blake3(material, derive_key_context=_CONTEXT + purpose).digest()

    return Subkeys(*(derived(purpose) for purpose in ("pseudonym", "uid", "date", "name", "table")))


@dataclass(frozen=True, slots=True)
class Substitutes:
    """Stand-ins for what identifies, the same for the same original throughout a collection."""

    keys: Subkeys
    prefix: str = "S-"
    earliest: int = -3650
    """Days of the largest shift into the past, negative."""
    latest: int = -30
    """Days of the smallest shift."""

    def subject(self, identity: str) -> str:
        """Pseudonym of a patient: the prefix and 16 hexadecimal digits."""
        return self.prefix + blake3(identity.encode(), key=self.keys.pseudonym).hexdigest(length=8)

    def days(self, identity: str) -> int:
        """By how many days all dates of a patient move: from `earliest` to `latest`, never 0."""
        choices = [self.earliest, self.latest]
        count = choices[1] - choices[0] + 1
        zero_inside = self.earliest <= 0 <= self.latest
        drawn = int.from_bytes(blake3(identity.encode(), key=self.keys.date).digest(length=16), "big")
        days = self.earliest + drawn % (count - zero_inside)
        return days + 1 if zero_inside and days >= 0 else days

    def uid(self, original: str) -> str:
        """A UID below 2.25 (PS3.5 B.2) of at most 44 characters; UIDs of the standard itself stay."""
        if not original or original.startswith(_STANDARD_ROOT):
            return original
        drawn = blake3(original.encode(), key=self.keys.uid).digest(length=16)
        return f"2.25.{int.from_bytes(drawn, 'big')}"

    def name(self, original: str) -> str:
        """Stand-in for the name of a file or folder: 16 hexadecimal digits."""
        return blake3(original.encode(errors="surrogateescape"), key=self.keys.name).hexdigest(length=8)
