"""Patterns of text that identifies whoever it is about: dates, phone numbers, addresses of the net, numbers.

They are matched against folded text (small letters, no accents), in time linear in it: repetitions are
bounded and not nested.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

MONTHS = (
    r"jan(?:uary|uar)?",
    r"feb(?:ruary|ruar)?",
    r"(?:march|mar|mrz|maerz|marz)",
    r"apr(?:il)?",
    r"(?:may|mai)",
    r"(?:june|juni|jun)",
    r"(?:july|juli|jul)",
    r"aug(?:ust)?",
    r"sept?(?:ember)?",
    r"o[ck]t(?:ober)?",
    r"nov(?:ember)?",
    r"de[cz](?:ember)?",
)
"""The months in English and German, folded."""

_MONTH = f"(?:{'|'.join(MONTHS)})"
_DATES = (
    r"(?<!\d)(?:"
    r"(?:18|19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:\d{6}(?:\.\d{1,6})?)?"
    r"|(?:18|19|20)\d\d[-./_ ](?:0?[1-9]|1[0-2])[-./_ ](?:0?[1-9]|[12]\d|3[01])"
    r"|(?:0?[1-9]|[12]\d|3[01])[-./_ ](?:0?[1-9]|[12]\d|3[01])[-./_ ](?:(?:18|19|20)\d\d|\d\d)"
    r"|(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?[-./_ ]{1,2}MONTH[-.,/_ ]{0,3}(?:(?:18|19|20)?\d\d)"
    r"|MONTH[-.,/_ ]{1,3}(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?[-.,/_ ]{1,3}(?:(?:18|19|20)?\d\d)"
    r")(?!\d)"
).replace("MONTH", _MONTH)
_PHONES = (
    r"(?<![\w.])(?:"
    r"\+\d{1,3}[-./ ]?\(?\d{1,5}\)?(?:[-./ ]?\d{2,5}){1,4}(?:-\d{1,5})?"
    r"|\(\d{2,5}\)[-./ ]?\d{3,5}(?:[-./ ]\d{2,5})?"
    r"|\d{3}[-. ]\d{3}[-. ]\d{4}"
    r"|0\d{2,4}[-/ ]\d{3,5}(?:[-/ ]\d{2,5}){0,2}"
    r")(?![\w])"
)
_EMAILS = r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}"
_URLS = r"(?:(?:https?|ftp|file|smb)://|\bwww\.|\\\\\w)[^\s\"'<>^]{1,2000}"
_NUMBERS = (
    r"(?:"
    r"(?<!\w)\d{3}-\d{2}-\d{4}(?!\w)"
    r"|(?<![\w.])[a-z]{0,4}[-_]?\d{6,}(?:[-_]\d{1,})?(?![\w])"
    r"|\b(?:mrn|pid|patient ?id|acc(?:ession)?|ssn|case|visit)[ .:#=-]{1,3}[\w-]{0,16}\d[\w-]{0,16}"
    r")"
)

PATTERNS: Mapping[str, str] = MappingProxyType(
    {"dates": _DATES, "phones": _PHONES, "emails": _EMAILS, "urls": _URLS, "numbers": _NUMBERS}
)
"""Name of a pattern, as policies give it, to the regular expression."""
