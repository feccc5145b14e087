"""Shifts dates by whole days, in the forms of DICOM's DA and DT (PS3.5 section 6.2).

Times of day stay as they are: a shift of whole days keeps every interval, within a day and between days.
"""

from __future__ import annotations

import re
from datetime import date, timedelta

_DA = re.compile(r"(\d{4})([.\-/]?)(\d{2})\2(\d{2})\Z")
_DT = re.compile(r"(\d{4})(\d{2})?(\d{2})?((?:\d{2}){0,3}(?:\.\d{1,6})?)?([+-]\d{4})?\Z")
_TM = re.compile(r"\d{2}(?::?\d{2}(?::?\d{2}(?:\.\d{1,6})?)?)?\Z")


def shifted_date(text: str, days: int) -> str | None:
    """A DA value `days` later, as YYYYMMDD; None if it is no date, or leaves the years 1 to 9999.

    The old form YYYY.MM.DD and ISO's YYYY-MM-DD are understood.
    """
    match = _DA.match(text.strip(" \0"))
    if match is None:
        return None
    return _moved(int(match[1]), int(match[3]), int(match[4]), days)


def shifted_datetime(text: str, days: int) -> str | None:
    """A DT value `days` later; None if it is none, or leaves the years 1 to 9999.

    Time, fraction and offset from UTC stay as they are. A value of a year, or of a year and a month, is moved
    from its middle and keeps its precision, which is the nearest that whole days allow.
    """
    match = _DT.match(text.strip(" \0"))
    if match is None:
        return None
    year, month, day, time, zone = match.groups()
    if time and day is None:
        return None
    moved = _moved(int(year), int(month or 7), int(day or (15 if month else 1)), days)
    if moved is None:
        return None
    length = 8 if day else 6 if month else 4
    return moved[:length] + (time or "") + (zone or "")


def is_time(text: str) -> bool:
    """Whether a text is a TM value, in the form of today or of ACR-NEMA (with colons)."""
    return _TM.match(text.strip(" \0")) is not None


def _moved(year: int, month: int, day: int, days: int) -> str | None:
    try:
        moved = date(year, month, day) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return f"{moved.year:04}{moved.month:02}{moved.day:02}"
