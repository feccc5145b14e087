"""What is to be erased, and what that comes to."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from imarium.audit import ObjectKind
from imarium.catalog.erasing import Target


class Kind(StrEnum):
    """What an erasure may be about."""

    SERIES = "series"
    STUDY = "study"
    SUBJECT = "subject"
    COLLECTION = "collection"

    @property
    def object_kind(self) -> ObjectKind:
        """The same for the audit record."""
        return ObjectKind(self.value)


@dataclass(frozen=True, slots=True)
class Scope:
    """A series or study by UID, a subject by pseudonym (in all collections), or a collection by name."""

    kind: Kind
    identifier: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What an erasure would do, as things are now."""

    scope: Scope
    target: Target
    deleted: tuple[str, ...]
    """Keys of packs in which nothing lives that stays."""
    rewritten: tuple[str, ...]
    """Keys of packs from which other series move to a new one."""
    abandoned: tuple[str, ...] = ()
    """Keys of objects that the catalog does not know and that are old: left by a transaction that failed."""
    young: int = 0
    """Objects unknown to the catalog that hold what is to go but are young: perhaps still being stored."""
    unreadable: int = 0
    """Objects whose directory cannot be read, so that nobody can tell what is in them."""
    live: dict[str, dict[str, int]] = field(default_factory=dict)
    """UIDs and numbers of the series that live in each pack that goes, those too that stay."""

    def summary(self) -> dict[str, str | int]:
        """Counts, for people and machines."""
        return {
            "kind": self.scope.kind.value,
            "series": len(self.target.series),
            "studies": len(self.target.studies),
            "subjects": len(self.target.subjects),
            "collections": len(self.target.collections),
            "frames": sum(item.frames for item in self.target.series),
            "source_bytes": sum(item.source_bytes for item in self.target.series),
            "stored_bytes": sum(item.stored_bytes for item in self.target.series),
            "packs_deleted": len(self.deleted),
            "packs_rewritten": len(self.rewritten),
            "abandoned_objects": len(self.abandoned),
            "young_objects": self.young,
            "unreadable_objects": self.unreadable,
        }
