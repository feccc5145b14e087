"""Takes what identifies out of a data set, element by element, in sequences of any depth."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import imarium.formats.dicom.guard  # isort: skip  # noqa: F401 - before anything that imports pydicom

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.valuerep import PersonName

from imarium.deid.content import item_action
from imarium.deid.dates import is_time, shifted_date, shifted_datetime
from imarium.deid.decisions import (
    BYTES_VRS,
    DATE_VRS,
    NUMBER_VRS,
    TECHNICAL,
    TEXT_VRS,
    Decisions,
)
from imarium.deid.icc import without_texts
from imarium.deid.identity import PATIENT_ID, PATIENT_NAME
from imarium.deid.keys import Substitutes
from imarium.deid.policy import Action, Dates, Documents
from imarium.deid.private import PrivateBlocks
from imarium.deid.text import Cleaner
from imarium.deid.values import capped_age, dummy, sound
from imarium.errors import LimitExceededError, QuarantineError

MAXIMUM_DEPTH = 32
CHARACTER_SET = 0x00080005
_TRIAL_SUBJECT = 0x00120040
_DOCUMENT = 0x00420011
_CONTENT = 0x0040A730
_TIME_ZONE = 0x00080201
_PROFILE = 0x00282000
_OFFSET = re.compile(r"[+-]\d{4} ?")
_SINGLE = frozenset({"LT", "ST", "UT", "UR"})
"""Text VRs in which a backslash is a character like others."""
_SEARCHED_BYTES = 1 << 22
"""A binary value is searched for identifiers up to this size; larger ones are bulk data."""
_CODED = frozenset({0x00080100, 0x00080102, 0x00080103, 0x00080104, 0x00080119, 0x0040A010, 0x0040A040})
"""Parts of codes and of the tree of a report, which have to stay what they are."""


@dataclass(slots=True)
class Subject:
    """The patient of the object at hand, as others may know them."""

    identifier: str
    """Patient ID in the source."""
    pseudonym: str
    days: int
    """By which dates move."""


@dataclass(slots=True)
class DatasetCleaner:
    """Cleans one data set in place. Counts what it does, by keyword and verb, never by value."""

    decisions: Decisions
    substitutes: Substitutes
    cleaner: Cleaner
    subject: Subject
    sop_class: str
    identifiers: frozenset[str] = frozenset()
    """Identifiers that must not be left as numbers either."""
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    declared: bool = False
    """Whether a character set is named anywhere: then text is written anew in UTF-8."""

    def clean(self, dataset: Dataset) -> None:
        """Clean a data set without its file meta information and pixel data.

        Raises QuarantineError where the policy refuses the object, LimitExceededError where sequences are
        nested too deeply.
        """
        self.declared = False
        self._dataset(dataset, 0, strict=False)
        if self.declared:
            dataset.SpecificCharacterSet = "ISO_IR 192"

    def _dataset(self, dataset: Dataset, depth: int, *, strict: bool) -> None:
        if depth > MAXIMUM_DEPTH:
            raise LimitExceededError(f"sequences are nested more than {MAXIMUM_DEPTH} deep")
        blocks = PrivateBlocks(dataset, self.decisions.policy)
        if CHARACTER_SET in dataset:
            self.declared = True
        for tag in list(dataset.keys()):
            if tag == CHARACTER_SET:
                continue
            element = dataset.get_item(tag)
            if element is None:
                continue
            if tag.is_private:
                self._private(dataset, tag, blocks, depth, strict=strict)
                continue
            self._public(dataset, tag, element, depth, strict=strict)
        if depth and CHARACTER_SET in dataset:
            del dataset[CHARACTER_SET]

    def _public(
        self,
        dataset: Dataset,
        tag: BaseTag,
        element: DataElement | RawDataElement,
        depth: int,
        *,
        strict: bool,
    ) -> None:
        vr = _vr(tag, element)
        action = self.decisions.action(tag, vr, "" if depth else self.sop_class)
        if strict and action in (Action.KEEP, Action.CLEAN) and tag not in _CODED:
            if vr in TEXT_VRS or vr in DATE_VRS or vr in ("PN", "AS", "AE", "UR"):
                action = Action.DUMMY
            elif vr == "UI":
                action = Action.KEEP if action is Action.KEEP else Action.REMAP
        self._apply(dataset, tag, vr, action, depth, strict=strict)

    def _apply(
        self, dataset: Dataset, tag: BaseTag, vr: str, action: Action, depth: int, *, strict: bool
    ) -> None:
        if tag in (PATIENT_NAME, PATIENT_ID, _TRIAL_SUBJECT) and action in (Action.EMPTY, Action.DUMMY):
            self._pseudonym(dataset, tag, vr)
            return
        if tag == _DOCUMENT and action is Action.DUMMY:
            if self.decisions.policy.documents is Documents.REFUSE:
                raise QuarantineError(
                    "an encapsulated document: what is inside cannot be cleaned; the policy may empty it"
                )
            self._set(dataset, tag, vr, b"", "emptied")
            return
        if vr == "SQ" and action not in (Action.REMOVE, Action.EMPTY):
            self._sequence(dataset, tag, action, depth, strict=strict)
            return
        if action is Action.REMOVE:
            self._remove(dataset, tag)
        elif action is Action.EMPTY:
            self._set(dataset, tag, vr, Sequence() if vr == "SQ" else None, "emptied")
        elif action is Action.DUMMY:
            if vr == "UI":
                self._uid(dataset, tag, keep=False)
            else:
                self._set(dataset, tag, vr, dummy(vr), "replaced")
        elif action is Action.REPLACE:
            override = self.decisions.override(tag)
            self._set(dataset, tag, vr, override.value if override else None, "replaced")
        elif vr == "UI":
            self._uid(dataset, tag, keep=action is Action.KEEP)
        elif vr in DATE_VRS:
            self._date(dataset, tag, vr, keep=action is Action.KEEP)
        elif vr in TEXT_VRS or vr == "PN":
            self._text(dataset, tag, vr, keep=action is Action.KEEP)
        elif vr in BYTES_VRS:
            self._bytes(dataset, tag, keep=action is Action.KEEP)
        else:
            self._code_or_number(dataset, tag, vr, action)

    # Values

    def _set(self, dataset: Dataset, tag: BaseTag, vr: str, value: object, verb: str) -> None:
        vr = vr if len(vr) == 2 else {"US or SS": "US", "OB or OW": "OB"}.get(vr, "OW")
        dataset[tag] = DataElement(tag, vr, value)
        self._count(tag, verb)

    def _remove(self, dataset: Dataset, tag: BaseTag) -> None:
        del dataset[tag]
        self._count(tag, "removed")

    def _count(self, tag: BaseTag, verb: str) -> None:
        self.counts[_called(tag), verb] += 1

    def _pseudonym(self, dataset: Dataset, tag: BaseTag, vr: str) -> None:
        name = self.subject.pseudonym
        if tag == PATIENT_ID:
            given = str(_decoded(dataset, tag) or "").strip(" \0")
            if given and given != self.subject.identifier:
                name = self.substitutes.subject(f"id {given}")
        self._set(dataset, tag, vr, name, "pseudonym")

    def _remapped(self, uid: str) -> str:
        return self.substitutes.uid(uid)

    def _uid(self, dataset: Dataset, tag: BaseTag, *, keep: bool) -> None:
        raw = _raw(dataset, tag)
        if raw is not None and not sound("UI", raw):
            self._remove(dataset, tag)
            return
        if keep:
            return
        value = _decoded(dataset, tag)
        uids = [str(uid) for uid in value] if isinstance(value, (MultiValue, list)) else [str(value or "")]
        new = [self._remapped(uid) for uid in uids]
        if new != uids:
            self._set(dataset, tag, "UI", new if len(new) > 1 else new[0], "remapped")

    def _date(self, dataset: Dataset, tag: BaseTag, vr: str, *, keep: bool) -> None:
        raw = _raw(dataset, tag)
        mode = self.decisions.policy.dates.mode
        if raw is not None and not sound(vr, raw):
            self._set(dataset, tag, vr, None, "emptied")
            return
        if keep or mode is Dates.KEEP or raw == b"":
            return
        if mode is Dates.REMOVE:
            self._set(dataset, tag, vr, None, "emptied")
            return
        value = _decoded(dataset, tag)
        values = [str(one) for one in value] if isinstance(value, (MultiValue, list)) else [str(value or "")]
        if vr == "TM":
            if not all(is_time(one) for one in values if one):
                self._set(dataset, tag, vr, None, "emptied")
            return
        shift: Callable[[str, int], str | None] = shifted_date if vr == "DA" else shifted_datetime
        moved = [shift(one, self.subject.days) if one else "" for one in values]
        if any(one is None for one in moved):
            self._set(dataset, tag, vr, None, "emptied")
        else:
            self._set(dataset, tag, vr, moved if len(moved) > 1 else moved[0], "shifted")

    def _text(self, dataset: Dataset, tag: BaseTag, vr: str, *, keep: bool) -> None:
        raw = _raw(dataset, tag)
        plain = raw is not None and raw.isascii() and b"\x1b" not in raw
        if keep and plain and tag != _TIME_ZONE:
            return
        value = raw.decode("ascii") if plain and raw is not None else _decoded(dataset, tag)
        if not plain:
            self.declared = True
        if isinstance(value, str):
            parts = [value] if vr in _SINGLE else value.split("\\")
        elif isinstance(value, (MultiValue, list)):
            parts = [str(one) for one in value]
        else:
            parts = [str(value if value is not None else "")]
        if tag == _TIME_ZONE:
            cleaned = [part if _OFFSET.fullmatch(part) else "" for part in parts]
        elif keep:
            cleaned = parts
        else:
            technical = tag in TECHNICAL
            cleaned = [self.cleaner.clean(part, technical=technical) for part in parts]
        if cleaned != parts or not plain:
            if vr in ("SH", "LO"):
                cleaned = [part[: 16 if vr == "SH" else 64] for part in cleaned]
            changed = cleaned != parts
            dataset[tag] = DataElement(tag, vr, cleaned if len(cleaned) > 1 else cleaned[0])
            if changed:
                self._count(tag, "cleaned")

    def _bytes(self, dataset: Dataset, tag: BaseTag, *, keep: bool) -> None:
        element = dataset.get_item(tag)
        value = element.value if element is not None else b""
        if tag == _PROFILE and isinstance(value, bytes):
            profile = without_texts(value)
            if profile is None:
                self._remove(dataset, tag)
            elif profile != value:
                self._set(dataset, tag, "OB", profile, "cleaned")
            return
        searched = isinstance(value, bytes) and len(value) <= _SEARCHED_BYTES
        if not keep or (searched and self.cleaner.in_bytes(value)):
            self._remove(dataset, tag)

    def _code_or_number(self, dataset: Dataset, tag: BaseTag, vr: str, action: Action) -> None:
        raw = _raw(dataset, tag)
        if raw is not None and not sound(vr, raw):
            self._remove(dataset, tag)
            return
        if vr == "AS":
            self._age(dataset, tag)
            return
        if vr in ("AE", "UR") and action is Action.CLEAN:
            self._remove(dataset, tag)
            return
        if vr not in ("CS", "DS", "IS", "AE", "UR"):
            if vr not in NUMBER_VRS:
                self._remove(dataset, tag)
            return
        text = raw.decode("latin-1") if raw is not None else str(_decoded(dataset, tag) or "")
        number = text.strip(" \0+-").lstrip("0")
        if self.cleaner.identifies(text) if vr == "CS" else number in self.identifiers:
            self._set(dataset, tag, vr, None, "emptied")

    def _age(self, dataset: Dataset, tag: BaseTag) -> None:
        text = str(_decoded(dataset, tag) or "")
        capped = capped_age(text, self.decisions.policy.dates.oldest_age)
        if capped != text:
            self._set(dataset, tag, "AS", capped, "cleaned")

    # Sequences and private attributes

    def _sequence(self, dataset: Dataset, tag: BaseTag, action: Action, depth: int, *, strict: bool) -> None:
        items = _decoded(dataset, tag)
        if not isinstance(items, Sequence):
            self._remove(dataset, tag)
            return
        content = tag == _CONTENT
        kept = []
        for item in items:
            inner = strict or action is Action.DUMMY
            if content:
                chosen = item_action(item, self.decisions.policy)
                if chosen is Action.REMOVE:
                    self._count(tag, "item removed")
                    continue
                inner = inner or chosen is Action.DUMMY
            self._dataset(item, depth + 1, strict=inner)
            kept.append(item)
        if len(kept) != len(items):
            dataset[tag] = DataElement(tag, "SQ", Sequence(kept))
        if action is Action.DUMMY:
            self._count(tag, "replaced")

    def _private(
        self, dataset: Dataset, tag: BaseTag, blocks: PrivateBlocks, depth: int, *, strict: bool
    ) -> None:
        rule = blocks.rule(tag)
        if rule is None or (strict and rule.action is not Action.KEEP):
            self._remove(dataset, tag)
            return
        if rule.vr is None:
            return  # a creator of something that stays
        element = dataset.get_item(tag)
        vr = _vr(tag, element, rule.vr) if element is not None else "UN"
        if vr == "UN" and isinstance(element, RawDataElement) and rule.vr not in ("", "UN"):
            dataset[tag] = element._replace(VR=rule.vr)
            vr = rule.vr
        if vr in ("AE", "UR"):
            self._remove(dataset, tag)
            return
        action = rule.action
        if vr == "UI" and action is Action.CLEAN:
            action = Action.REMAP
        if vr == "PN":
            action = Action.EMPTY
        if vr in BYTES_VRS and action is Action.CLEAN:
            action = Action.KEEP  # searched for identifiers, and removed if there are any
        self._apply(dataset, tag, vr, action, depth, strict=strict)


def _vr(tag: BaseTag, element: DataElement | RawDataElement, otherwise: str = "UN") -> str:
    vr = element.VR
    if vr is None or (vr == "UN" and not tag.is_private):
        try:
            return str(dictionary_VR(tag))
        except KeyError:
            return otherwise or "UN"
    return str(vr)


def _raw(dataset: Dataset, tag: BaseTag) -> bytes | None:
    """The bytes of a value as read, or of its text if it was decoded before; None for other values."""
    element = dataset.get_item(tag)
    if element is None:
        return None
    value = element.value
    if isinstance(element, RawDataElement):
        return value if isinstance(value, bytes) else b""
    if isinstance(value, (MultiValue, list)):
        texts = [str(one) for one in value if isinstance(one, (str, PersonName))]
        return "\\".join(texts).encode() if len(texts) == len(value) else None
    return str(value).encode() if isinstance(value, (str, PersonName)) else None


def _decoded(dataset: Dataset, tag: BaseTag) -> object:
    """The value; None if it cannot be decoded."""
    try:
        return dataset[tag].value
    except Exception:
        return None


def _called(tag: BaseTag) -> str:
    """How a report names an attribute; creators of private blocks may identify, so they are not named."""
    if tag.is_private:
        return f"private ({tag.group:04X},xx{tag.element & 0xFF:02X})"
    return keyword_for_tag(tag) or f"({tag.group:04X},{tag.element:04X})"
