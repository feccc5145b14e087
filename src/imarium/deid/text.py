"""Removes from text what identifies: what the object itself names, and patterns.

Text is compared without regard to case, accents and separators: it is folded first, and a match is cut out
of the text as it was.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from imarium.deid._words import words
from imarium.deid.identity import Identity
from imarium.deid.patterns import MONTHS, PATTERNS
from imarium.deid.policy import TextRules

_TITLES = words(
    "dr prof md phd mr mrs ms miss sir med dipl ing jun jr sr von van der den de del della di da la le el al "
    "bin ibn and und et the of zu zur mit"
)
_COMMON = words(
    "hospital hospitals university clinic clinics clinical center centre medical medicine health healthcare "
    "institute institution department radiology imaging general regional national memorial klinikum klinik "
    "krankenhaus universitatsklinikum uniklinik hopital hospitalier centro street strasse avenue road north "
    "south east west saint sankt city state county united states scanner suite floor building house room "
    "main diagnostic diagnostics research foundation trust school college children childrens "
    "service services "
    "cancer heart brain chest spine women care group associates surgery emergency ward unit"
)
_TECHNICAL = words(
    "original primary secondary derived axial sagittal coronal localizer head neck chest abdomen pelvis "
    "spine brain body breast heart other none norm projection image volume mixed reformatted "
    "average minip maxip "
    "standard left right prone supine phantom test tomo scout"
)
"""Words that coded attributes need, though someone may bear them as a name."""

_SEPARATORS = r"[\s\-_./:,^=]*"
_BYTES_SEARCHED = 1 << 20
_PARTS = re.compile(r"[\s^=,.;:\-_'`’()\[\]/\\&+*\"]+")


def fold(text: str) -> tuple[str, list[int] | None]:
    """Text in small letters without accents, and where each character came from (None: one to one)."""
    if text.isascii():
        return text.lower(), None
    folded: list[str] = []
    origins: list[int] = []
    for index, character in enumerate(text):
        for piece in unicodedata.normalize("NFKD", character).casefold():
            if not unicodedata.combining(piece):
                folded.append(piece)
                origins.append(index)
    return "".join(folded), origins


def _umlauts(text: str) -> str:
    table = str.maketrans(
        {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "ae", "Ö": "oe", "Ü": "ue", "ø": "oe", "Ø": "oe", "å": "aa"}
    )
    return unicodedata.normalize("NFC", text).translate(table)


def _cjk(text: str) -> bool:
    return any(ord(character) >= 0x2E80 for character in text)


@dataclass(frozen=True, slots=True)
class _Terms:
    """Regular expressions, not compiled, over folded text."""

    anywhere: frozenset[str]
    """Identify beyond doubt, even inside other words and in coded attributes."""
    words: frozenset[str]
    """Identify where they stand alone."""
    short: frozenset[str]
    """Of two letters: only in free text."""


def _terms(identity: Identity, chosen: Iterable[str]) -> _Terms:
    anywhere: set[str] = set()
    alone: set[str] = set()
    short: set[str] = set()
    for name in identity.names:
        for variant in {name, _umlauts(name)}:
            _add_name(fold(variant)[0], anywhere, alone, short)
    for number in identity.numbers:
        _add_number(fold(number)[0], anywhere, alone)
    for phrase in identity.phrases:
        for variant in {phrase, _umlauts(phrase)}:
            _add_phrase(fold(variant)[0], anywhere, alone)
    for birth in identity.births:
        anywhere.update(_birth(birth))
    alone.update(re.escape(fold(word)[0]) for word in chosen)
    return _Terms(frozenset(anywhere), frozenset(alone), frozenset(short))


def _add_name(name: str, anywhere: set[str], alone: set[str], short: set[str]) -> None:
    parts = [part for part in _PARTS.split(name) if part and part not in _TITLES]
    for part in parts:
        if _cjk(part):
            if len(part) > 1:
                anywhere.add(re.escape(part))
        elif len(part) >= 6 and part not in _TECHNICAL and part not in _COMMON:
            anywhere.add(re.escape(part))
        elif len(part) >= 3:
            alone.add(re.escape(part))
        elif len(part) == 2:
            short.add(re.escape(part))
    for one, other in pairwise(parts):
        for pair in ((one, other), (other, one)):
            if sum(map(len, pair)) >= (2 if _cjk(one + other) else 5):
                anywhere.add(re.escape(pair[0]) + _SEPARATORS + re.escape(pair[1]))


def _add_number(number: str, anywhere: set[str], alone: set[str]) -> None:
    characters = [character for character in number if character.isalnum()]
    digits = any(character.isdigit() for character in characters)
    pattern = _SEPARATORS.join(re.escape(character) for character in characters[:64])
    if len(characters) >= 6 and digits:
        anywhere.add(pattern)
        stripped = "".join(characters).lstrip("0")
        if len(stripped) >= 5 and stripped != "".join(characters):
            anywhere.add(_SEPARATORS.join(re.escape(character) for character in stripped[:64]))
    elif (len(characters) >= 4 and digits) or len(characters) >= 5:
        alone.add(pattern)


def _add_phrase(phrase: str, anywhere: set[str], alone: set[str]) -> None:
    parts = [part for part in _PARTS.split(phrase) if part]
    if sum(map(len, parts)) >= (3 if _cjk(phrase) else 5) and not all(part in _COMMON for part in parts):
        joined = _SEPARATORS.join(re.escape(part) for part in parts[:64])
        (anywhere if len(parts) > 1 or _cjk(phrase) else alone).add(joined)
    for part in parts:
        digits = any(character.isdigit() for character in part)
        if (
            len(part) >= 5
            and part not in _COMMON
            and part not in _TECHNICAL
            and not (digits and len(part) < 6)
        ):
            alone.add(re.escape(part))


def _birth(birth: str) -> Iterator[str]:
    digits = re.sub(r"\D", "", birth)
    if len(digits) != 8:
        return
    year, month, day = digits[:4], digits[4:6], digits[6:]
    m, d, gap = rf"0?{int(month)}", rf"0?{int(day)}", r"[-./_ ]{1,2}"
    yield rf"(?<!\d){year}[-./_ ]?{month}[-./_ ]?{day}"
    yield rf"(?<!\d)(?:{d}{gap}{m}|{m}{gap}{d}){gap}(?:{year}|{year[2:]})(?!\d)"
    yield rf"(?<!\d){day}{month}{year}(?!\d)"
    if 1 <= int(month) <= 12:
        name = MONTHS[int(month) - 1]
        yield rf"(?<!\d){d}(?:st|nd|rd|th)?[-./_ ]{{0,3}}{name}[-.,/_ ]{{0,3}}(?:{year}|{year[2:]})(?!\d)"
        yield rf"{name}[-.,/_ ]{{1,3}}{d}(?:st|nd|rd|th)?[-.,/_ ]{{1,3}}(?:{year}|{year[2:]})(?!\d)"


class Cleaner:
    """Cuts out of text what identifies. Made once for each set of identifiers; see `cleaner`."""

    def __init__(self, identity: Identity, rules: TextRules) -> None:
        self.replacement = rules.replacement
        terms = _terms(identity, rules.words)
        patterns = {PATTERNS[name] for name in rules.patterns}
        coded = {word for word in terms.words if word not in _TECHNICAL and len(word) >= 4}
        known = terms.words | terms.short
        self._free = _compiled(terms.anywhere | patterns, known)
        self._known = _compiled(terms.anywhere, known)
        self._coded = _compiled(terms.anywhere, coded)
        self._sure = _compiled(terms.anywhere, set())
        self._memory: dict[str, str] = {}

    def clean(self, text: str, *, technical: bool = False) -> str:
        """Text with what identifies replaced; `technical` text is not searched for patterns."""
        if not technical and text in self._memory:
            return self._memory[text]
        cleaned = self._cut(text, self._known if technical else self._free)
        if not technical and len(text) <= 256 and len(self._memory) < 4096:
            self._memory[text] = cleaned
        return cleaned

    def identifies(self, code: str) -> bool:
        """Whether a coded value (CS, or a number as text) holds what identifies."""
        return self._coded is not None and self._coded.search(fold(code)[0]) is not None

    def in_bytes(self, data: bytes) -> bool:
        """Whether bytes hold, as Latin-1, UTF-8 or UTF-16, what identifies beyond doubt."""
        if self._sure is None:
            return False
        for start in range(0, len(data), _BYTES_SEARCHED):
            part = data[max(0, start - 256) : start + _BYTES_SEARCHED]
            readings = [part.decode("latin-1")]
            if not part.isascii():
                readings.append(part.decode("utf-8", "ignore"))
            if b"\0" in part:
                readings.append(part.replace(b"\0", b"").decode("latin-1"))
            if any(self._sure.search(fold(reading)[0]) for reading in readings):
                return True
        return False

    def _cut(self, text: str, pattern: re.Pattern[str] | None) -> str:
        if pattern is None or not text:
            return text
        folded, origins = fold(text)
        pieces: list[str] = []
        end = 0
        for match in pattern.finditer(folded):
            if match.end() == match.start():
                continue
            first = match.start() if origins is None else origins[match.start()]
            last = match.end() - 1 if origins is None else origins[match.end() - 1]
            if first >= end:
                pieces.append(text[end:first])
                pieces.append(self.replacement)
            end = max(end, last + 1)
        if not pieces:
            return text
        return "".join(pieces) + text[end:]


def _compiled(anywhere: Iterable[str], alone: Iterable[str]) -> re.Pattern[str] | None:
    # Longer alternatives first, so that a name does not hide a longer one that starts alike.
    parts = sorted(anywhere, key=lambda part: (-len(part), part))
    standing = sorted(alone, key=lambda part: (-len(part), part))
    if standing:
        parts.append(rf"(?<![^\W\d_])(?:{'|'.join(standing)})(?![^\W\d_])")
    return re.compile("|".join(parts)) if parts else None


@lru_cache(maxsize=64)
def cleaner(identity: Identity, rules: TextRules) -> Cleaner:
    """The cleaner for a set of identifiers; kept, since slices of a series share theirs."""
    return Cleaner(identity, rules)
