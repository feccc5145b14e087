"""The custodian's table of pseudonyms: who is who, readable only with the key.

An SQLite file in which originals are encrypted with ChaCha20-Poly1305 (RFC 8439) under a subkey of the
custodian's key; the pseudonym is authenticated with them, so that rows cannot be exchanged. Whoever has the
table without the key learns how many subjects there are. It keeps a record of every time it was asked.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from imarium.errors import NotFoundError, StorageError

_NONCE = 12
_SCHEMA = """
CREATE TABLE IF NOT EXISTS links (stand_in TEXT PRIMARY KEY, kind TEXT NOT NULL, sealed BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS reveals (at TEXT NOT NULL, stand_in TEXT NOT NULL, by TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Original:
    """What a stand-in stands for."""

    kind: str
    """`subject` or `uid`."""
    value: str


class LinkingTable:
    """Stand-ins to originals. `key` is a collection's `Subkeys.table`."""

    def __init__(self, path: Path, key: bytes) -> None:
        self._path = path
        self._cipher = ChaCha20Poly1305(key)
        self._added: set[str] = set()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.touch(mode=0o600)
        except OSError as error:
            raise StorageError(f"the linking table cannot be written: {error.strerror}") from error
        with self._open() as connection:
            connection.executescript(_SCHEMA)

    def add(self, kind: str, links: Mapping[str, str]) -> None:
        """Keep what the stand-ins (keys) stand for (values); those known already stay as they are."""
        new = {stand_in: links[stand_in] for stand_in in links if stand_in not in self._added}
        if not new:
            return
        with self._open() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO links VALUES (?, ?, ?)",
                ((stand_in, kind, self._seal(stand_in, original)) for stand_in, original in new.items()),
            )
        self._added.update(new)

    def reveal(self, stand_in: str, by: str) -> Original:
        """The original, after a record of who asked and when was made.

        Raises NotFoundError, and StorageError where the key does not fit.
        """
        with self._open() as connection:
            row = connection.execute(
                "SELECT kind, sealed FROM links WHERE stand_in = ?", (stand_in,)
            ).fetchone()
            if row is None:
                raise NotFoundError("the table holds no such pseudonym or UID")
            original = self._opened(stand_in, row[1])
            connection.execute(
                "INSERT INTO reveals VALUES (?, ?, ?)",
                (datetime.now(UTC).isoformat(timespec="seconds"), stand_in, by),
            )
        return Original(row[0], original)

    def reveals(self) -> list[tuple[str, str, str]]:
        """(when in UTC, stand-in, who) of every time that an original was revealed, oldest first."""
        with self._open() as connection:
            return list(connection.execute("SELECT at, stand_in, by FROM reveals ORDER BY rowid"))

    def _seal(self, stand_in: str, original: str) -> bytes:
        nonce = secrets.token_bytes(_NONCE)
        # Padded, so that the length of an identifier does not show.
        text = json.dumps(original).encode()
        return nonce + self._cipher.encrypt(nonce, text.ljust(-(-len(text) // 64) * 64), stand_in.encode())

    def _opened(self, stand_in: str, sealed: bytes) -> str:
        try:
            text = self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], stand_in.encode())
            return str(json.loads(text))
        except (InvalidTag, ValueError) as error:
            raise StorageError(
                "the key or the collection does not fit this entry, or the table is damaged"
            ) from error

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = sqlite3.connect(self._path, timeout=60)
            try:
                with connection:
                    yield connection
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise StorageError("the linking table cannot be read or written") from error
