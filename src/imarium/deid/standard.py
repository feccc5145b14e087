"""The tables of DICOM PS3.15 Annex E that de-identification rests on, from files beside this module.

- `attributes()`: Table E.1-1, edition 2026d, with all option columns.
- `content_items()`: Table E.3.4-1, edition 2026d.
- `safe_private()`: Table E.3.10-1, edition 2020b.
- `iod_type()`: the strictest type that PS3.3 2020b gives an attribute in the IOD of a SOP class.
- `beyond()`: attributes outside the tables that hold identity in practice; Imarium's own list.
- `METHOD_CODES`: CID 7050 of PS3.16.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

import imarium.formats.dicom.guard  # isort: skip  # noqa: F401 - before anything that imports pydicom

from pydicom.datadict import tag_for_keyword

EDITION = "2026d"
"""Edition of DICOM PS3.15 of Tables E.1-1 and E.3.4-1."""

RETAIN = (
    "safe-private",
    "uids",
    "device-identity",
    "institution-identity",
    "patient-characteristics",
)
"""Options that keep something. Dates have a mode of their own in policies."""

CLEAN = ("descriptors", "structured-content", "graphics")
"""Options that clean something which the basic profile removes. Pixels have rules of their own."""

FULL_DATES = "retain_longitudinal_full_dates"
MODIFIED_DATES = "retain_longitudinal_modified_dates"

METHOD_CODES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "basic": ("113100", "Basic Application Confidentiality Profile"),
        "clean-pixels": ("113101", "Clean Pixel Data Option"),
        "clean-faces": ("113102", "Clean Recognizable Visual Features Option"),
        "clean-graphics": ("113103", "Clean Graphics Option"),
        "clean-structured-content": ("113104", "Clean Structured Content Option"),
        "clean-descriptors": ("113105", "Clean Descriptors Option"),
        "full-dates": ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
        "modified-dates": ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
        "retain-patient-characteristics": ("113108", "Retain Patient Characteristics Option"),
        "retain-device-identity": ("113109", "Retain Device Identity Option"),
        "retain-uids": ("113110", "Retain UIDs Option"),
        "retain-safe-private": ("113111", "Retain Safe Private Option"),
        "retain-institution-identity": ("113112", "Retain Institution Identity Option"),
    }
)
"""What was done to its code and meaning, DCM (PS3.16 CID 7050)."""

OVERLAY_DATA, OVERLAY_COMMENTS, CURVE_DATA = "60xx3000", "60xx4000", "50xxxxxx"


@dataclass(frozen=True, slots=True)
class Attribute:
    """A row of Table E.1-1."""

    tag: str
    """Eight hexadecimal digits, with x for any digit, or `private`."""
    name: str
    in_iod: bool
    """Whether a standard composite IOD has it."""
    basic: str
    """Action of the basic profile: D, Z, X, U or a combination with slashes."""
    options: Mapping[str, str]
    """Option to K or C, where the option changes the action."""


@dataclass(frozen=True, slots=True)
class ContentItem:
    """A row of Table E.3.4-1: a concept name of a content item that may identify."""

    meaning: str
    value_type: str
    basic: str
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SafePrivate:
    """A row of Table E.3.10-1."""

    vr: str
    meaning: str


def _rows(name: str) -> Iterator[dict[str, str]]:
    text = files("imarium.deid").joinpath("tables", name).read_text(encoding="utf-8")
    return csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))


def _options(row: Mapping[str, str], start: str) -> Mapping[str, str]:
    names = list(row)
    return MappingProxyType({name: row[name] for name in names[names.index(start) :] if row[name]})


@cache
def attributes() -> Mapping[str, Attribute]:
    """Table E.1-1: tag, as eight hexadecimal digits in capitals, to its row."""
    rows = {
        row["tag"]: Attribute(
            row["tag"],
            row["name"],
            row["in_iod"] == "Y",
            row["basic"],
            _options(row, "retain_safe_private"),
        )
        for row in _rows("e1-1.csv")
    }
    return MappingProxyType(rows)


@cache
def content_items() -> Mapping[tuple[str, str], tuple[ContentItem, ...]]:
    """Table E.3.4-1: (coding scheme designator, code value) of the concept name to its rows.

    There are several where the concept names items of different value types.
    """
    rows: dict[tuple[str, str], tuple[ContentItem, ...]] = {}
    for row in _rows("e3-4-1.csv"):
        item = ContentItem(row["meaning"], row["value_type"], row["basic"], _options(row, "retain_uids"))
        key = (row["scheme"], row["code"])
        rows[key] = (*rows.get(key, ()), item)
    return MappingProxyType(rows)


@cache
def safe_private() -> Mapping[tuple[int, str, int], SafePrivate]:
    """Table E.3.10-1: (group, private creator, last two digits of the element) to its row."""
    rows = {
        (int(row["group"], 16), row["creator"], int(row["element"], 16)): SafePrivate(
            row["vr"], row["meaning"]
        )
        for row in _rows("e3-10-1.csv")
    }
    return MappingProxyType(rows)


@cache
def beyond() -> Mapping[int, str]:
    """Tag to action, for attributes outside the tables that hold identity."""
    found = {tag_for_keyword(row["keyword"]): row["action"] for row in _rows("beyond.csv")}
    return MappingProxyType({tag: action for tag, action in found.items() if tag is not None})


@cache
def _iod_types() -> tuple[Mapping[str, Mapping[int, int]], frozenset[int]]:
    types: dict[str, Mapping[int, int]] = {}
    known: frozenset[int] = frozenset()
    for row in _rows("iod-types.csv"):
        uid = row.pop("sop_class")
        del row["name"]
        known = frozenset(int(tag, 16) for tag in row)
        types[uid] = MappingProxyType({int(tag, 16): int(kind) for tag, kind in row.items() if kind})
    return MappingProxyType(types), known


def iod_type(sop_class: str, tag: int) -> int | None:
    """Type 1, 2 or 3 of a top-level attribute in a SOP class's IOD; None if either is not known.

    The strictest over the IOD's modules, since a conditional or optional module may be there; conditional
    types count as if their condition held. A known attribute that no module of a known IOD has is of type 3.
    """
    types, known = _iod_types()
    if sop_class not in types or tag not in known:
        return None
    return types[sop_class].get(tag, 3)
