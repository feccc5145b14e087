"""The head of the chain, signed and kept outside the database: a chain that was cut off does not reach it."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from imarium.audit.record import GENESIS, Sealing
from imarium.errors import IntegrityError, StorageError

NAME = "audit.head"
_MOST_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The last record of the chain at some time."""

    sequence: int
    """0 before the first record."""
    hash: str
    time: str
    seal: str

    @classmethod
    def make(cls, sealing: Sealing, sequence: int, hash_text: str, time: str) -> Checkpoint:
        """Signed."""
        return cls(sequence, hash_text, time, sealing.seal("checkpoint", str(sequence), hash_text, time))

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Checkpoint:
        """Raises IntegrityError for what is none."""
        try:
            raw = json.loads(text)
            return cls(int(raw["sequence"]), str(raw["hash"]), str(raw["time"]), str(raw["seal"]))
        except (LookupError, TypeError, ValueError, RecursionError) as error:
            raise IntegrityError("this is no checkpoint of an audit record") from error


class CheckpointFile:
    """The file in the home folder. It only goes forward, whichever process writes."""

    def __init__(self, home: Path, sealing: Sealing) -> None:
        self._path, self._sealing = home / NAME, sealing

    def read(self) -> Checkpoint | None:
        """What was written last; None without a file. Raises IntegrityError if this site did not sign it."""
        try:
            with self._path.open(encoding="utf-8") as file:
                text = file.read(_MOST_BYTES)
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise IntegrityError("the audit record's checkpoint cannot be read") from error
        found = Checkpoint.from_json(text)
        if found != Checkpoint.make(self._sealing, found.sequence, found.hash, found.time):
            raise IntegrityError("the audit record's checkpoint was not signed by this installation")
        return found

    def begin(self, time: str) -> None:
        """Make the file for a chain without records, unless there is one."""
        with self._locked():
            if not self._path.exists():
                self._write(Checkpoint.make(self._sealing, 0, GENESIS, time))

    def advance(self, to: Checkpoint) -> None:
        """Write a later head; an earlier one, or one over a file that does not hold, changes nothing."""
        with self._locked():
            try:
                present = self.read()
            except IntegrityError:
                return
            if present is not None and present.sequence < to.sequence:
                self._write(to)

    def replace(self, by: Checkpoint) -> None:
        """Write a head, whatever was there."""
        with self._locked():
            self._write(by)

    def _write(self, checkpoint: Checkpoint) -> None:
        draft = self._path.with_name(f"{NAME}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(checkpoint.to_json() + "\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            descriptor = os.open(self._path.with_name(f"{NAME}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StorageError(
                f"the audit record's checkpoint cannot be written: {error.strerror}"
            ) from error
