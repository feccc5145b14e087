"""Selections: which series are meant."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from imarium.errors import InvalidRequestError
from imarium.model.labels import checked_labels, is_text
from imarium.model.query import MOST_CHARACTERS as _MOST_QUERY_CHARACTERS
from imarium.model.query_parser import parse as parse_query

MOST_UIDS = 100_000
"""Series, and studies, that one selection may name."""

_MOST_CHARACTERS = 200
"""Of a value; no name in the catalog is longer."""
_LABEL = "label."
_SINGLE = ("collection", "modality", "body_part", "query")
_SEVERAL = {"series": "series", "study": "studies"}
"""Keys of a selection's text that may come several times, and the fields that they fill."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which series are meant: those that meet all of what is given. One that says nothing means every series.

    Values are compared exactly, upper and lower case too. UIDs and labels are kept sorted, so that selections
    that mean the same are equal. Raises InvalidRequestError for values that no series can have.
    """

    collection: str | None = None
    series: tuple[str, ...] = ()
    """UIDs; none: whichever."""
    studies: tuple[str, ...] = ()
    """UIDs; none: whichever."""
    modality: str | None = None
    """DICOM Modality (CT, MR, ...)."""
    body_part: str | None = None
    """DICOM Body Part Examined, as the source says it."""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    """All of these."""
    query: str | None = None
    """What people ask (docs/guide/search.md), as text. Only a catalog can tell which series meet it."""

    def __post_init__(self) -> None:
        for name in _SINGLE:
            value = getattr(self, name)
            if value is not None:
                _check_value(name, value, _MOST_QUERY_CHARACTERS if name == "query" else _MOST_CHARACTERS)
        if self.query is not None:
            parse_query(self.query)
        for key, name in _SEVERAL.items():
            uids = getattr(self, name)
            if isinstance(uids, str) or len(uids) > MOST_UIDS:
                raise InvalidRequestError(f"a selection names at most {MOST_UIDS} {name}, as a list of UIDs")
            for uid in uids:
                _check_value(key, uid)
            object.__setattr__(self, name, tuple(sorted(set(uids))))
        object.__setattr__(self, "labels", checked_labels(self.labels))

    @property
    def is_everything(self) -> bool:
        """Whether nothing is asked for in particular."""
        return self == Selection()

    @classmethod
    def parse(cls, text: str) -> Selection:
        """Read "chest modality=CT label.class=covid": words of KEY=VALUE, in quotes where a value has spaces.

        Keys are collection, series, study, modality, body_part, query and label.KEY; series and study may
        come several times. A word without "=" names the collection. Raises InvalidRequestError.
        """
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise InvalidRequestError("a quote or a backslash in the selection has no end") from error
        pairs = []
        for word in words:
            key, separator, value = word.partition("=")
            pairs.append((key, value) if separator else ("collection", key))
        return cls.of_pairs(pairs)

    @classmethod
    def of_pairs(cls, pairs: Iterable[tuple[str, str]]) -> Selection:
        """A selection of (key, value), with the keys of `parse`. Raises InvalidRequestError."""
        single: dict[str, str] = {}
        several: dict[str, list[str]] = {name: [] for name in _SEVERAL.values()}
        labels: dict[str, str] = {}
        for key, value in pairs:
            if key in _SEVERAL:
                several[_SEVERAL[key]].append(value)
                continue
            name, target = (key.removeprefix(_LABEL), labels) if key.startswith(_LABEL) else (key, single)
            if target is single and key not in _SINGLE:
                raise _unknown(key, (*_SINGLE, *_SEVERAL, "label.KEY"))
            if name in target:
                raise InvalidRequestError(f"a selection has one {key}, not several")
            target[name] = value
        return cls(
            **single, series=tuple(several["series"]), studies=tuple(several["studies"]), labels=labels
        )

    def __str__(self) -> str:
        """The text that `parse` reads."""
        pairs = [(name, value) for name in _SINGLE if (value := getattr(self, name)) is not None]
        pairs += [(key, uid) for key, name in _SEVERAL.items() for uid in getattr(self, name)]
        pairs += [(_LABEL + key, value) for key, value in self.labels.items()]
        return " ".join(f"{key}={shlex.quote(value)}" for key, value in pairs)

    def to_json(self) -> dict[str, Any]:
        """JSON-able values of what is given, and nothing else."""
        values: dict[str, Any] = {name: getattr(self, name) for name in _SINGLE}
        values |= {name: list(getattr(self, name)) for name in _SEVERAL.values()}
        values["labels"] = dict(self.labels)
        return {name: value for name, value in values.items() if value}

    @classmethod
    def from_json(cls, data: Any) -> Selection:
        """The inverse of `to_json`. Raises InvalidRequestError for anything else, unknown keys too."""
        if not isinstance(data, dict):
            raise InvalidRequestError("a selection is a JSON object")
        for key in data:
            if key not in (*_SINGLE, *_SEVERAL.values(), "labels"):
                raise _unknown(key, (*_SINGLE, *_SEVERAL.values(), "labels"))
        values = {name: value for name, value in data.items() if value is not None}
        for name in _SEVERAL.values():
            if not isinstance(values.get(name, []), list | tuple):
                raise InvalidRequestError(f"{name} of a selection is a list of UIDs")
        if not isinstance(values.get("labels", {}), dict):
            raise InvalidRequestError("labels of a selection is an object of keys and values")
        return cls(**values)


def _unknown(key: str, known: tuple[str, ...]) -> InvalidRequestError:
    return InvalidRequestError(f"a selection has {', '.join(known)}, and no {key[:40]!r}")


def _check_value(name: str, value: Any, most: int = _MOST_CHARACTERS) -> None:
    if not isinstance(value, str) or not 1 <= len(value) <= most or not is_text(value):
        raise InvalidRequestError(f"{name} of a selection is a text of 1 to {most} characters")
