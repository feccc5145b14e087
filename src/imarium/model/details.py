"""What a source's header says of a series beyond the facts that its pixels need: attributes and codes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from imarium.errors import InvalidRequestError
from imarium.model.labels import is_text

Value: TypeAlias = str | float

MOST_CODE_CHARACTERS = 64
MOST_MEANING_CHARACTERS = 300

_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


class ConceptKind(StrEnum):
    """What a coded concept is about."""

    ANATOMY = "anatomy"
    """A body part or structure."""
    DIAGNOSIS = "diagnosis"
    ORGAN = "organ"
    """An organ system."""
    PATHOLOGY = "pathology"
    """A category of pathology: neoplasm, infection, ..."""
    MODALITY = "modality"
    PROCEDURE = "procedure"


SCHEMES: Mapping[str, tuple[str, ...]] = {
    "SCT": ("sct", "snomed", "snomedct"),
    "SRT": ("srt", "snm3", "99sdm"),
    "ICD10CM": ("icd10cm", "icd10", "i10c", "i10", "icd"),
    "MESH": ("mesh", "msh"),
    "DCM": ("dcm", "dicom"),
    "LN": ("ln", "loinc"),
    "RADLEX": ("radlex", "rid"),
    "FMA": ("fma",),
    "NCIT": ("ncit", "nci"),
    "UMLS": ("umls",),
}
"""Coding schemes by the name that the catalog keeps, with the names under which people and files know them.
SRT is the older form of SNOMED codes that DICOM used (T-D3000), ICD10CM the American ICD-10."""

_BY_ALIAS = {alias: name for name, aliases in SCHEMES.items() for alias in aliases}


def scheme_of(name: str) -> str | None:
    """The kept name of a coding scheme; None for one that is not known (private ones among them)."""
    return _BY_ALIAS.get(re.sub(r"[^a-z0-9]", "", name.lower()))


@dataclass(frozen=True, slots=True)
class Concept:
    """A code of a scheme and what it means. Raises InvalidRequestError for what cannot be one."""

    kind: ConceptKind
    scheme: str
    """One of `SCHEMES`."""
    code: str
    meaning: str = ""

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise InvalidRequestError(f"coding schemes are {', '.join(SCHEMES)}, not {self.scheme[:20]!r}")
        if _CODE.fullmatch(self.code) is None:
            raise InvalidRequestError("a code has up to 64 letters, digits, '.', '_', '+' and '-'")
        if len(self.meaning) > MOST_MEANING_CHARACTERS or not is_text(self.meaning):
            raise InvalidRequestError(f"a meaning is a text of up to {MOST_MEANING_CHARACTERS} characters")


@dataclass(frozen=True, slots=True)
class Details:
    """What can be asked of a series beyond its facts. Holds nothing that names a person."""

    attributes: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    """By DICOM keyword."""
    concepts: tuple[Concept, ...] = ()


NO_DETAILS = Details()


def age_in_years(value: str) -> float | None:
    """Years of a DICOM age (VR AS: 018M, 045Y); None for anything else."""
    match = re.fullmatch(r"\s*(\d{1,3})([DWMY])\s*", value)
    if match is None:
        return None
    return int(match[1]) / {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}[match[2]]
