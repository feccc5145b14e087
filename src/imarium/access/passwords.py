"""Passwords: which ones are taken, and their argon2id hashes."""

from __future__ import annotations

import secrets
import threading
import unicodedata
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from imarium.errors import InvalidRequestError

SHORTEST = 10
LONGEST = 1000
_FEWEST_DIFFERENT = 5
_COMMON = frozenset(
    """
    abcdef abc123 access admin administrator baseball basketball changeme charlie chocolate computer
    default donald dragon football freedom friend hello hospital hockey iloveyou imarium imaging internet
    jordan killer letmein liverpool login lovely master medicine michael monkey mustang nothing passphrase
    passw0rd password patient pokemon princess qazwsx qwerty radiology samsung scanner secret shadow
    soccer starwars summer sunshine superman test trustno test123 welcome whatever winter xray zaq12wsx
    """.split()  # noqa: SIM905 - to be read
)
"""Words that many passwords consist of. What is left after them must be long enough by itself."""
_ROWS = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "qwertzuiop",
    "yxcvbnm",
    "azertyuiop",
)
_LEET = str.maketrans("013457@$!", "oieastasi")
_RUN = 4
"""So many neighbours of the alphabet, of the digits or of a keyboard count as one character."""

_HASHING = threading.BoundedSemaphore(2)
"""A hash takes 64 MiB; logins beyond two at a time wait, so that many cannot take all memory."""


def check_password(password: str, name: str) -> str:
    """A password that may be used, as it is kept (Unicode NFKC); raises InvalidRequestError, saying why not.

    Length counts, not kinds of characters: at least 10, of which names, common words and runs (1234, qwert,
    aaaa) count as one each.
    """
    password = unicodedata.normalize("NFKC", password)
    if len(password) > LONGEST:
        raise InvalidRequestError(f"a password has at most {LONGEST} characters")
    if len(password) < SHORTEST:
        raise InvalidRequestError(
            f"a password has at least {SHORTEST} characters; several words make a good one"
        )
    if len(set(password)) < _FEWEST_DIFFERENT or _worth(password.casefold(), name.casefold()) < SHORTEST - 2:
        raise InvalidRequestError(
            "the password is too easy to guess: it is made of a common word, the user name or a row of keys; "
            "several words that do not belong together make a good one"
        )
    return password


def _worth(password: str, name: str) -> int:
    """Characters of a password where what is easy to guess counts as one each."""
    least = len(password)
    for text in {password, password.translate(_LEET)}:
        for word in sorted((*_COMMON, name), key=len, reverse=True):
            if len(word) > 2:
                text = text.replace(word, "\0")
        least = min(least, len(_without_runs(text)))
    return least


def _without_runs(text: str) -> str:
    kept: list[str] = []
    place = 0
    while place < len(text):
        length = _run_at(text, place)
        kept.append(text[place])
        place += length if length >= _RUN else 1
    return "".join(kept)


def _run_at(text: str, place: int) -> int:
    """How many characters from here on repeat, or follow one another in a row, forth or back."""
    longest = len(text) - len(text[place:].lstrip(text[place])) - place
    for row in _ROWS:
        for ordered in (row, row[::-1]):
            start = ordered.find(text[place])
            if start < 0:
                continue
            length = 0
            for one, other in zip(text[place:], ordered[start:], strict=False):
                if one != other:
                    break
                length += 1
            longest = max(longest, length)
    return longest


def generated_password() -> str:
    """16 random characters."""
    return secrets.token_urlsafe(12)


class Passwords:
    """Hashes and checks, a few at a time."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()

    def hash(self, password: str) -> str:
        """An argon2id hash."""
        with _HASHING:
            return self._hasher.hash(password)

    def matches(self, kept: str | None, password: str) -> bool:
        """Whether a password is the one; takes as long where none is kept."""
        try:
            with _HASHING:
                return self._hasher.verify(kept or _decoy(), unicodedata.normalize("NFKC", password))
        except (VerificationError, InvalidHashError):
            return False

    def needs_rehash(self, kept: str) -> bool:
        """Whether it was made with weaker parameters than hashes are made with today."""
        return self._hasher.check_needs_rehash(kept)


@cache
def _decoy() -> str:
    """A hash to check against where there is no user, so that the answer takes as long."""
    return PasswordHasher().hash(secrets.token_urlsafe(16))
