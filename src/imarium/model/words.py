"""Words of a text, as full-text search compares them."""

from __future__ import annotations

import re
import unicodedata

MOST_CHARACTERS = 100
"""Of one word; the rest of a longer one does not count."""

_WORD = re.compile(r"[^\W_]+")


def folded(text: str) -> str:
    """The text without case and accents, compatible characters made one (Unicode NFKD and case folding)."""
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    return unicodedata.normalize("NFKC", plain)


def words(text: str) -> list[str]:
    """Letters and digits between anything else, folded: "T1_Ganglios-ÄB" is t1, ganglios, ab."""
    return [word[:MOST_CHARACTERS] for word in _WORD.findall(folded(text))]
