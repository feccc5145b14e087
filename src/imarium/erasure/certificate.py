"""What an erasure removed, signed: nothing in it identifies anybody."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from imarium.audit.record import Sealing
from imarium.errors import InvalidRequestError

FORMAT = "imarium-erasure-1"
BEYOND_REACH = (
    "caches of clients and of proxies, files that were downloaded or exported, copies on other servers",
    "backups, snapshots and replicas of the home folder or the database, and a database server's own log",
    "blocks that a file system or a disk has freed but not yet overwritten",
    "files that wait in the quarantine of collections that stay, and the custodian's table of pseudonyms",
    "the memory of server processes, which they overwrite as they go on",
)
"""What no erasure here can remove; it is said in every certificate."""


@dataclass(frozen=True)
class Certificate:
    """The facts of an erasure, and a seal that only the installation can make."""

    facts: dict[str, Any]
    seal: str

    @property
    def id(self) -> str:
        """Of the erasure."""
        return str(self.facts["id"])

    @property
    def complete(self) -> bool:
        """Whether all of it is gone; if not, `unfinished` of the facts says what to do."""
        return not self.facts["unfinished"]

    @classmethod
    def make(cls, sealing: Sealing, facts: dict[str, Any]) -> Certificate:
        """Signed."""
        return cls(facts, sealing.seal("erasure", _canonical(facts)))

    def is_genuine(self, sealing: Sealing) -> bool:
        """Whether this installation made it, just like that."""
        return self.seal == sealing.seal("erasure", _canonical(self.facts))

    def to_json(self) -> dict[str, Any]:
        """The facts with the seal."""
        return {**self.facts, "seal": self.seal}

    @classmethod
    def from_json(cls, text: str) -> Certificate:
        """Raises InvalidRequestError for what is no certificate."""
        try:
            raw = json.loads(text)
            if raw["format"] != FORMAT:
                raise InvalidRequestError("this certificate is of another version of Imarium")
            seal = raw.pop("seal")
            for name in ("series", "studies", "subjects", "collections", "objects_deleted", "unfinished"):
                if not all(isinstance(item, str) for item in raw[name]):
                    raise TypeError
            return cls(raw, str(seal))
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise InvalidRequestError("this is no certificate of an erasure") from error


def _canonical(facts: dict[str, Any]) -> str:
    return json.dumps(facts, sort_keys=True, separators=(",", ":"))
