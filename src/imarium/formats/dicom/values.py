"""Element values of untrusted headers: a value that cannot be read counts as absent."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from blake3 import blake3
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag

_PLAIN_VRS = frozenset(
    ["AE", "AS", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "SL", "SS", "TM", "UI", "UL", "US"]
)
"""Types whose values need neither a character set nor other elements."""
_CACHED_VRS = _PLAIN_VRS | {"LO", "SH"}

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


def get(dataset: Dataset, keyword: str | tuple[int, int]) -> Any:
    """The element's value, or None if it is absent, empty or undecodable. Not to be changed in place."""
    try:
        tag = _tag(keyword)
        element = dataset.get_item(tag)
        if element is None:
            return None
        if isinstance(element, RawDataElement) and element.value and element.VR in _CACHED_VRS:
            names = None if element.VR in _PLAIN_VRS else _character_sets(dataset)
            value = _converted(tag, element.VR, element.value, element.is_little_endian, names)
        else:
            value = dataset[tag].value
    except Exception:
        return None
    return None if value is None or (isinstance(value, str | bytes) and not value) else value


@lru_cache(4096)
def _tag(keyword: str | tuple[int, int]) -> BaseTag:
    return interned(Tag(keyword))


@lru_cache(8192)
def interned(tag: int) -> BaseTag:
    """One object for each tag: a dictionary finds it without asking pydicom whether two are equal."""
    return BaseTag(tag)


def _character_sets(dataset: Dataset) -> tuple[str, ...]:
    names = dataset.original_character_set
    return (names,) if isinstance(names, str) else tuple(names)


@lru_cache(8192)
def _converted(tag: BaseTag, vr: str, raw: bytes, little: bool, names: tuple[str, ...] | None) -> Any:
    """A value and what it hangs on; the slices of a series share most of theirs."""
    element = RawDataElement(tag, vr, len(raw), raw, 0, False, little)
    return convert_raw_data_element(element, encoding=None if names is None else list(names)).value


def put(dataset: Dataset, keyword: str, value: object) -> None:
    """Set an element, whatever was there."""
    tag = tag_for_keyword(keyword)
    if tag is not None:
        dataset.pop(tag, None)
    setattr(dataset, keyword, value)


def text(dataset: Dataset, keyword: str) -> str | None:
    """The first value as text without padding and control characters."""
    value = first(get(dataset, keyword))
    if value is None:
        return None
    said = str(value)
    cleaned = (said if said.isprintable() else "".join(filter(str.isprintable, said))).strip()
    return cleaned or None


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """All values as text."""
    value = get(dataset, keyword)
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(str(item) for item in _items(value))


def first(value: Any) -> Any:
    """The first of several values, or the value."""
    if value is None or isinstance(value, str | bytes):
        return value
    try:
        return value[0] if len(value) else None
    except TypeError:
        return value


def number(dataset: Dataset, keyword: str) -> float | None:
    """The first value as a finite float."""
    return _float(first(get(dataset, keyword)))


def numbers(
    dataset: Dataset, keyword: str | tuple[int, int], count: int | None = None
) -> tuple[float, ...] | None:
    """All values as finite floats; None unless there are `count` of them."""
    plain = dataset.get_item(_tag(keyword))
    if isinstance(plain, RawDataElement) and plain.VR == "DS" and plain.value:
        value: Any = plain.value.rstrip(b"\0 ").split(b"\\")  # as pydicom does, without an object for each
    else:
        value = get(dataset, keyword)
    if value is None:
        return None
    result = tuple(_float(item) for item in _items(value))
    if not result or any(item is None for item in result) or (count is not None and len(result) != count):
        return None
    return result  # type: ignore[return-value]


def integer(dataset: Dataset, keyword: str) -> int | None:
    """The first value as an integer."""
    value = number(dataset, keyword)
    return None if value is None or value != int(value) else int(value)


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Items of a sequence."""
    value = get(dataset, keyword)
    return [item for item in value if isinstance(item, Dataset)] if isinstance(value, Sequence) else []


def item(dataset: Dataset, keyword: str) -> Dataset | None:
    """The first item of a sequence."""
    found = items(dataset, keyword)
    return found[0] if found else None


def seconds(value: str | None) -> float | None:
    """Seconds since midnight of a TM value, or since a fixed day of a DT value."""
    if not value or not (match := re.match(r"(\d{8})?(\d{2})(\d{2})?(\d{2}(?:\.\d+)?)?", value)):
        return None
    day, hours, minutes, rest = match.groups()
    days = 0.0
    if day is not None:
        year, month, date = int(day[:4]), int(day[4:6]), int(day[6:8])
        days = float((year * 12 + month) * 31 + date)
    return ((days * 24 + int(hours)) * 60 + int(minutes or 0)) * 60 + float(rest or 0)


def uid(dataset: Dataset, keyword: str) -> str | None:
    """A UID that is safe to use as a key: digits and dots, 64 at most; else one derived from the text."""
    value = text(dataset, keyword)
    if value is None:
        return None
    value = value.strip("\0 ")
    if len(value) <= 64 and _UID.fullmatch(value):
        return value
    return derived_uid("uid", value) if value else None


def derived_uid(*parts: str | bytes) -> str:
    """A `2.25.` UID (PS3.5 B.2) that is a function of the parts alone."""
    hasher = blake3()
    for part in parts:
        data = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        hasher.update(len(data).to_bytes(8, "little") + data)
    return f"2.25.{int.from_bytes(hasher.digest()[:16], 'big')}"


def _float(value: Any) -> float | None:
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def _items(value: Any) -> Iterator[Any]:
    if isinstance(value, str | bytes):
        yield value
        return
    try:
        yield from value
    except TypeError:
        yield value
