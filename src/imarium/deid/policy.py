"""What a de-identification policy says. `policy_file` reads it from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

_NAMING = frozenset({0x00100010, 0x00100020, 0x00100030, 0x00101000, 0x00101001, 0x00101040, 0x00102154})
"""Name, ID, date of birth, other IDs and names, address, telephone numbers."""


class Action(StrEnum):
    """What is done to an attribute. The first six are those of PS3.15 Table E.1-1a."""

    DUMMY = "dummy"
    """D: a value that is no one's, of the right VR."""
    EMPTY = "empty"
    """Z: no value."""
    REMOVE = "remove"
    """X."""
    KEEP = "keep"
    """K; sequences are cleaned item by item all the same."""
    CLEAN = "clean"
    """C: text loses what identifies, dates are shifted, sequences are cleaned, other values removed."""
    REMAP = "remap"
    """U: another UID, the same for the same."""
    REPLACE = "replace"
    """A fixed value that a policy gives."""


class Dates(StrEnum):
    """What becomes of dates and times."""

    REMOVE = "remove"
    SHIFT = "shift"
    """All of a patient's dates move by the same number of days; times of day stay."""
    KEEP = "keep"


class Unlisted(StrEnum):
    """What becomes of text attributes that no table lists."""

    CLEAN = "clean"
    REMOVE = "remove"


class Documents(StrEnum):
    """What becomes of encapsulated documents (PDF, CDA, STL, ...), whose inside is not looked at."""

    REFUSE = "refuse"
    EMPTY = "empty"
    """The object stays, with a document of no content."""


class PixelText(StrEnum):
    """What becomes of text that is burned into pixels."""

    OFF = "off"
    FIND = "find"
    """Looked for and reported; the file goes to review."""
    BLANK = "blank"
    """Looked for and painted over."""


class Faces(StrEnum):
    """What becomes of faces in head volumes."""

    KEEP = "keep"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Override:
    """What a policy says of one attribute."""

    action: Action
    value: str = ""
    """For REPLACE."""


@dataclass(frozen=True, slots=True)
class PrivateRule:
    """A private attribute that a policy names."""

    group: int
    creator: str
    element: int
    """The last two digits."""
    action: Action


@dataclass(frozen=True, slots=True)
class DateRules:
    """Dates, times and ages."""

    mode: Dates = Dates.REMOVE
    earliest: int = -3650
    """Days of the largest shift into the past."""
    latest: int = -30
    """Days of the smallest."""
    oldest_age: int = 89
    """Ages above are given as this one plus a year, where ages are kept."""


@dataclass(frozen=True, slots=True)
class TextRules:
    """How kept text is cleaned, beyond what the object itself says of its patient."""

    replacement: str = "[removed]"
    patterns: tuple[str, ...] = ("dates", "phones", "emails", "urls", "numbers")
    """Names of built-in patterns."""
    words: tuple[str, ...] = ()
    """Words to remove wherever they stand alone, in any case."""


@dataclass(frozen=True, slots=True)
class PixelRules:
    """What is done to pixels."""

    text: PixelText = PixelText.OFF
    faces: Faces = Faces.KEEP


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy. The default is the basic profile (PS3.15 E.2) with unlisted text cleaned."""

    name: str = "basic"
    about: str = ""
    retain: frozenset[str] = frozenset()
    """Some of `standard.RETAIN`."""
    clean: frozenset[str] = frozenset()
    """Some of `standard.CLEAN`."""
    dates: DateRules = field(default_factory=DateRules)
    unlisted: Unlisted = Unlisted.CLEAN
    documents: Documents = Documents.REFUSE
    attributes: Mapping[int, Override] = field(default_factory=dict)
    """Tag to what the policy says of it, wherever it stands."""
    private: tuple[PrivateRule, ...] = ()
    text: TextRules = field(default_factory=TextRules)
    pixels: PixelRules = field(default_factory=PixelRules)
    prefix: str = "S-"
    """Start of pseudonyms."""

    @property
    def names_patients(self) -> bool:
        """Whether the policy keeps something that names the patient, which no option of the standard does."""
        return any(
            override.action is Action.KEEP and tag in _NAMING for tag, override in self.attributes.items()
        )

    def columns(self) -> tuple[str, ...]:
        """Columns of Table E.1-1 that are in force."""
        names = [f"retain_{name.replace('-', '_')}" for name in sorted(self.retain)]
        names += [f"clean_{name.replace('-', '_')}" for name in sorted(self.clean)]
        if self.dates.mode is Dates.KEEP:
            names.append("retain_longitudinal_full_dates")
        elif self.dates.mode is Dates.SHIFT:
            names.append("retain_longitudinal_modified_dates")
        return tuple(names)

    def methods(self) -> tuple[str, ...]:
        """Keys of `standard.METHOD_CODES` for what the policy does to every object, pixels apart."""
        names = [f"clean-{name}" for name in sorted(self.clean)]
        if not self.names_patients:
            names.insert(0, "basic")
        if self.dates.mode is not Dates.REMOVE:
            names.append("full-dates" if self.dates.mode is Dates.KEEP else "modified-dates")
        return (*names, *(f"retain-{name}" for name in sorted(self.retain)))
