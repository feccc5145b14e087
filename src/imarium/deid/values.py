"""Single values: dummies of the right VR, and whether a value is what its VR says."""

from __future__ import annotations

import re

_DUMMIES: dict[str, object] = {
    "AE": "REMOVED",
    "AS": "000Y",
    "CS": "REMOVED",
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "DS": "0",
    "IS": "0",
    "PN": "Removed",
    "LO": "Removed",
    "SH": "Removed",
    "ST": "Removed",
    "LT": "Removed",
    "UC": "Removed",
    "UT": "Removed",
    "UR": "urn:removed",
    "AT": 0,
}
_WORDS = {"FL": 0.0, "FD": 0.0, "SL": 0, "SS": 0, "UL": 0, "US": 0, "SV": 0, "UV": 0, "US or SS": 0}
_PATTERNS = {
    "DS": re.compile(rb"[0-9+\-.eE \\]*\0?\Z"),
    "IS": re.compile(rb"[0-9+\- \\]*\0?\Z"),
    "AS": re.compile(rb"(?:\d{3}[DWMY] ?)?\0?\Z"),
    "CS": re.compile(rb"[A-Za-z0-9_ \\./+,\-()&:*#%\[\]]*\0?\Z"),
    "DA": re.compile(rb"(?:\d{4}([.\-/]?)\d{2}\1\d{2}[ \\]*)*\0?\Z"),
    "TM": re.compile(rb"[0-9:. \\]*\0?\Z"),
    "DT": re.compile(rb"[0-9+\-. \\]*\0?\Z"),
    "UI": re.compile(rb"[0-9. \\]*\0*\Z"),
}
_SIZES = {"FL": 4, "FD": 8, "SL": 4, "SS": 2, "UL": 4, "US": 2, "SV": 8, "UV": 8, "AT": 4, "US or SS": 2}
MAXIMUM_NUMBER = 24
"""Characters of a DS or IS value, from which it is no number (the standard allows 16 and 12)."""


def dummy(vr: str) -> object:
    """A value of `vr` that is no one's."""
    if vr in _WORDS:
        return _WORDS[vr]
    return _DUMMIES.get(vr, b"\0\0")


def sound(vr: str, value: bytes) -> bool:
    """Whether the bytes of a value can be of their VR: numbers are numbers, codes hold no sentences."""
    if vr in _SIZES:
        return len(value) % _SIZES[vr] == 0
    pattern = _PATTERNS.get(vr)
    if pattern is None:
        return True
    if pattern.match(value) is None:
        return False
    if vr in ("DS", "IS"):
        return all(len(part.strip(b" \0")) <= MAXIMUM_NUMBER for part in value.split(b"\\"))
    return True


def capped_age(text: str, oldest: int) -> str:
    """An AS value, at most `oldest` years and one."""
    match = re.fullmatch(r"(\d{3})Y", text.strip(" \0"))
    if match is not None and int(match[1]) > oldest:
        return f"{min(oldest + 1, 999):03}Y"
    return text
