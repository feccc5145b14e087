"""A record, and the encoding that its hash is made of (docs/design/audit.md)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias

from blake3 import blake3

from imarium.audit.actions import Action, ObjectKind, Outcome
from imarium.errors import InvalidRequestError

FORMAT = "imarium-audit-1"
"""Names the encoding; a later one has another number."""
GENESIS = "0" * 64
"""What stands as the hash of the record before the first."""

Detail: TypeAlias = str | int | float | bool | None

_MOST_DETAILS = 32
_LONGEST_DETAIL = 200
_LONGEST_DETAILS = 4096
_KEY = re.compile(r"[a-z][a-z0-9_]{0,39}")
_LONGEST_ACTOR, _LONGEST_ORIGIN, _LONGEST_IDENTIFIER = 100, 64, 1000


@dataclass(frozen=True, slots=True)
class Event:
    """What happened, before it has its place in the chain."""

    action: Action
    object_kind: ObjectKind = ObjectKind.NONE
    object_id: str = ""
    object_key: str = ""
    """Instead of the identifier, where only that is left."""
    actor: str = ""
    """Name of an account, or `os:NAME` on the command line; empty: nobody logged in."""
    origin: str = ""
    """Address that it came from; `local` for the command line."""
    outcome: Outcome = Outcome.SUCCESS
    details: Mapping[str, Detail] = field(default_factory=dict)
    """Few, short, and never an identifier: these stay when an object is erased."""
    time: str = field(default_factory=lambda: time_text(datetime.now(UTC)))


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it stands in the chain."""

    sequence: int
    time: str
    actor: str
    origin: str
    action: str
    object_kind: str
    object_key: str
    outcome: str
    details: str
    """JSON; hashed as it stands."""
    previous: str
    hash: str
    seal: str


def time_text(moment: datetime) -> str:
    """A moment as records hold it: UTC, to the microsecond. As text, moments sort by time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def encode(*fields: str) -> bytes:
    """Fields one after the other, each as a netstring: its length in bytes, a colon, UTF-8, a comma."""
    encoded = (text.encode("utf-8", "surrogatepass") for text in fields)
    return b"".join(b"%d:%b," % (len(content), content) for content in encoded)


HASHED = (
    "sequence",
    "time",
    "actor",
    "origin",
    "action",
    "object_kind",
    "object_key",
    "outcome",
    "details",
    "previous",
)
"""Fields of a record in the order in which its hash takes them."""


def digest_of(record: Record) -> str:
    """The hash that a record should have: BLAKE3 of its encoded fields, in hex."""
    return blake3(encode(FORMAT, *(str(getattr(record, name)) for name in HASHED))).hexdigest()


class Sealing:
    """What only the installation can sign: it hangs on its secret."""

    def __init__(self, secret: bytes) -> None:
        self._key = blake3(secret, derive_key_context="imarium audit seals, version 1").digest()

    def seal(self, *fields: str) -> str:
        """16 bytes in hex."""
        return blake3(encode(*fields), key=self._key).hexdigest(length=16)

    def of_record(self, sequence: int, hash_text: str) -> str:
        """The seal of a record."""
        return self.seal("record", str(sequence), hash_text)


def details_text(details: Mapping[str, Detail]) -> str:
    """Details as a record holds them. Raises InvalidRequestError for what is no plain, short value."""
    if len(details) > _MOST_DETAILS:
        raise InvalidRequestError(f"an audit record has at most {_MOST_DETAILS} details")
    for key, value in details.items():
        if not _KEY.fullmatch(key):
            raise InvalidRequestError("a detail of an audit record is named by small letters, digits and _")
        if isinstance(value, str) and len(value) > _LONGEST_DETAIL:
            raise InvalidRequestError(f"a detail of an audit record has at most {_LONGEST_DETAIL} characters")
        if not isinstance(value, str | int | float | None) or (
            isinstance(value, float) and not math.isfinite(value)
        ):
            raise InvalidRequestError("a detail of an audit record is a text, a number, true, false or null")
    text = json.dumps(dict(details), sort_keys=True, separators=(",", ":"))
    if len(text) > _LONGEST_DETAILS:
        raise InvalidRequestError(f"the details of an audit record have at most {_LONGEST_DETAILS} bytes")
    return text


def is_storable(identifier: str) -> bool:
    """Whether a database takes an identifier; nothing that the catalog holds is named otherwise."""
    try:
        return len(identifier.encode()) <= _LONGEST_IDENTIFIER and "\0" not in identifier
    except UnicodeEncodeError:
        return False


def bounded(event: Event) -> tuple[str, str]:
    """Actor and origin, no longer than the table has room for, as text that every database takes."""
    return _plain(event.actor, _LONGEST_ACTOR), _plain(event.origin, _LONGEST_ORIGIN)


def _plain(text: str, longest: int) -> str:
    """Without what a database or a line of an export cannot hold."""
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return shown[:longest]
