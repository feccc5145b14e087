"""What a data set itself says of its patient and of those around, harvested before anything is changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache

import imarium.formats.dicom.guard  # isort: skip  # noqa: F401 - before anything that imports pydicom

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from imarium.deid.standard import attributes, beyond
from imarium.errors import LimitExceededError

PATIENT_NAME, PATIENT_ID, BIRTH_DATE = 0x00100010, 0x00100020, 0x00100030
MAXIMUM_VALUES = 1000
"""Names, and numbers, and phrases, that one object may mention."""

_ADDRESS_LIKE = re.compile(
    r"Address|Institution|Organization|Location|Residence|Coordinating|Site Name|Site ID"
)
_NOT_IDENTITY = re.compile(
    r"Date|Time|Sex|Age|Size|Weight|Status|Pregnan|Smoking|Description|Reason|Comments|State|Sequence|Allerg|"
    r"Label|Species|Breed|Diagnos|History|Version|Religi|Ethnic|Selector|Text|Region|Needs|Acquired|Software|"
    r"Medication|GPS|Lens M|Source Manufacturer|Topic|Arrangements|Service$|Rank"
)
_TEXT_VRS = frozenset({"LO", "SH", "ST", "LT", "UC", "UT", "AE", "UR"})


@dataclass(frozen=True, slots=True)
class Identity:
    """What must not be left anywhere."""

    names: frozenset[str] = frozenset()
    """Values of VR PN, whole."""
    numbers: frozenset[str] = frozenset()
    """Identifiers of patients, visits, orders and devices."""
    phrases: frozenset[str] = frozenset()
    """Institutions, addresses, phone numbers."""
    births: frozenset[str] = frozenset()
    """Dates of birth, YYYYMMDD."""

    def plus(self, other: Identity) -> Identity:
        """Both together."""
        return Identity(
            self.names | other.names,
            self.numbers | other.numbers,
            self.phrases | other.phrases,
            self.births | other.births,
        )


@dataclass(slots=True)
class _Found:
    names: set[str] = field(default_factory=set)
    numbers: set[str] = field(default_factory=set)
    phrases: set[str] = field(default_factory=set)
    births: set[str] = field(default_factory=set)


@cache
def _kinds() -> dict[int, str]:
    """Tag to where its value goes, for the attributes that identify without being descriptions."""
    kinds: dict[int, str] = {}
    for text, row in attributes().items():
        if not re.fullmatch(r"[0-9A-F]{8}", text) or "clean_descriptors" in row.options:
            continue
        tag = int(text, 16)
        try:
            vr = dictionary_VR(tag)
        except KeyError:
            continue
        if vr in _TEXT_VRS and not _NOT_IDENTITY.search(row.name):
            phrase = _ADDRESS_LIKE.search(row.name) or "Name" in row.name or "Telephone" in row.name
            kinds[tag] = "phrases" if phrase else "numbers"
    for tag in beyond():
        vr = dictionary_VR(tag)
        if vr in _TEXT_VRS:
            kinds[tag] = "numbers" if vr == "SH" else "phrases"
    kinds[BIRTH_DATE] = "births"
    return kinds


def harvest(dataset: Dataset, kept: Iterable[int], depth: int = 32) -> Identity:
    """What identifies, from a data set and its sequences; attributes in `kept` stay and are not harvested.

    Attributes that cannot be decoded are passed over. Raises LimitExceededError beyond MAXIMUM_VALUES.
    """
    found = _Found()
    _walk(dataset, frozenset(kept), _kinds(), found, depth)
    return Identity(
        *(frozenset(values) for values in (found.names, found.numbers, found.phrases, found.births))
    )


def _walk(dataset: Dataset, kept: frozenset[int], kinds: dict[int, str], found: _Found, depth: int) -> None:
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        vr = element.VR if element is not None else None
        if vr is None:
            try:
                vr = dictionary_VR(tag)
            except KeyError:
                continue
        kind = "names" if vr == "PN" else kinds.get(tag)
        if (kind is None and vr != "SQ") or tag in kept:
            continue
        try:
            value = dataset[tag].value
        except Exception:  # noqa: S112 - what cannot be decoded is removed later
            continue
        if vr == "SQ":
            if depth and isinstance(value, Sequence):
                for item in value:
                    _walk(item, kept, kinds, found, depth - 1)
            continue
        target: set[str] = getattr(found, kind or "names")
        for text in _texts(value):
            if len(target) >= MAXIMUM_VALUES and text not in target:
                raise LimitExceededError(
                    f"the object mentions more than {MAXIMUM_VALUES} names or identifiers; text cannot be "
                    "searched for so many"
                )
            if len(text) < 1024:
                target.add(text)


def _texts(value: object) -> Iterator[str]:
    values = value if isinstance(value, (list, tuple, MultiValue)) else [value]
    for one in values:
        if isinstance(one, bytes):
            one = one.decode("latin-1")
        text = str(one).strip(" \0") if one is not None else ""
        if text:
            yield text


def first_text(dataset: Dataset, tag: int) -> str:
    """A top-level attribute's first value as text; empty if there is none or it cannot be decoded."""
    if tag not in dataset:
        return ""
    try:
        return next(_texts(dataset[tag].value), "")
    except Exception:
        return ""


def subject_of(dataset: Dataset) -> tuple[str, str]:
    """(what tells this patient from others, the patient's identifier as the data set has it).

    The identifier; without one, name and date of birth; without those, the study.
    """
    number = first_text(dataset, PATIENT_ID)
    if number:
        return f"id {number}", number
    name, birth = first_text(dataset, PATIENT_NAME), first_text(dataset, BIRTH_DATE)
    if name:
        return f"name {name.casefold()} {birth}", f"{name} {birth}".strip()
    return f"study {first_text(dataset, 0x0020000D)}", ""
