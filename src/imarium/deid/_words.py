"""Sets of words, written as text."""

from __future__ import annotations


def words(text: str, separator: str | None = None) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split(separator))
