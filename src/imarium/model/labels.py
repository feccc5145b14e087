"""Labels: what people say of a series (its class, a split of a data set), as pairs of key and value."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

from imarium.errors import InvalidRequestError

MOST_VALUE_CHARACTERS = 500
MOST_LABELS = 100
"""Labels that are given at once."""

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_NO_TEXT = ("Cc", "Cs")
"""Unicode categories that no label holds: control characters, and halves of surrogate pairs."""


def checked_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels, sorted by key. Raises InvalidRequestError for keys and values that cannot be.

    A key matches `[A-Za-z_][A-Za-z0-9_.-]{0,63}`; a value has 1 to 500 characters, none of them control
    characters.
    """
    if len(labels) > MOST_LABELS:
        raise InvalidRequestError(f"at most {MOST_LABELS} labels at once, not {len(labels)}")
    for key, value in labels.items():
        checked_key(key)
        if not isinstance(value, str) or not 1 <= len(value) <= MOST_VALUE_CHARACTERS:
            raise InvalidRequestError(
                f"the label {key} needs a text of 1 to {MOST_VALUE_CHARACTERS} characters"
            )
        if not is_text(value):
            raise InvalidRequestError(f"the label {key} has characters that are no text")
    return dict(sorted(labels.items()))


def checked_key(key: str) -> str:
    """The key; raises InvalidRequestError if it cannot be one."""
    if not isinstance(key, str) or _KEY.fullmatch(key) is None:
        raise InvalidRequestError(
            "a label's key has up to 64 letters, digits, '.', '_' and '-', and begins with a letter or '_'"
        )
    return key


def parse_labels(pairs: Iterable[str]) -> dict[str, str]:
    """Labels of texts like "class=covid"; raises InvalidRequestError, also for a key that comes twice."""
    labels: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise InvalidRequestError("a label is KEY=VALUE, like class=covid")
        if key in labels:
            raise InvalidRequestError(f"the label {checked_key(key)} is given twice")
        labels[key] = value
    return checked_labels(labels)


def is_text(value: str) -> bool:
    """Whether a value holds no control characters and can be written as UTF-8."""
    return not any(unicodedata.category(character) in _NO_TEXT for character in value)
