"""What the tests of a query mean for values: which texts meet them, and which numbers."""

from __future__ import annotations

import calendar
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from imarium.errors import QuerySyntaxError
from imarium.model.query import Between, Compare, Is, Present, Term, Test
from imarium.model.query_fields import Kind
from imarium.model.words import folded, words

_DATE = re.compile(r"(\d{4})(?:-?(\d{2})(?:-?(\d{2}))?)?")
_AGE = re.compile(r"(\d+(?:\.\d+)?)([dwmy]?)", re.IGNORECASE)
_A_YEAR = {"d": 365.25, "w": 365.25 / 7, "m": 12.0, "y": 1.0}


class Interval(NamedTuple):
    """Numbers from `low` to `high`, both among them."""

    low: float
    high: float


def intervals(term: Term, kind: Kind) -> list[Interval]:
    """Numbers that meet a term; dates as YYYYMMDD, ages in years. Raises QuerySyntaxError."""
    return [_interval(test, kind, term) for test in term.tests]


def _interval(test: Test, kind: Kind, term: Term) -> Interval:
    match test:
        case Present():
            return Interval(-math.inf, math.inf)
        case Is() if not test.prefix:
            return _span(test.value, kind, term)
        case Compare():
            span = _span(test.value, kind, term)
            return {
                ">": Interval(math.nextafter(span.high, math.inf), math.inf),
                ">=": Interval(span.low, math.inf),
                "<": Interval(-math.inf, math.nextafter(span.low, -math.inf)),
                "<=": Interval(-math.inf, span.high),
            }[test.operator]
        case Between():
            low = -math.inf if test.low is None else _span(test.low, kind, term).low
            high = math.inf if test.high is None else _span(test.high, kind, term).high
            return Interval(low, high)
    raise QuerySyntaxError(f"{term.key} is a {kind}: it has no beginning; give a range", term.position)


def _span(value: str, kind: Kind, term: Term) -> Interval:
    """All numbers that a value means: a year has many days."""
    found = None
    if kind is Kind.DATE:
        found = _days(value)
    elif kind is Kind.AGE:
        found = _years(value)
    else:
        try:
            number = float(value)
            found = Interval(number, number) if math.isfinite(number) else None
        except ValueError:
            found = None
    if found is None:
        wanted = {Kind.DATE: "2019, 2019-03 or 2019-03-31", Kind.AGE: "60, or 18m for months"}
        raise QuerySyntaxError(
            f"{term.key} is a {kind} like {wanted.get(kind, '1.5')}, not {value[:40]!r}", term.position
        )
    return found


def _days(value: str) -> Interval | None:
    match = _DATE.fullmatch(value)
    if match is None:
        return None
    year, month, day = (None if part is None else int(part) for part in match.groups())
    assert year is not None
    if month is None:
        return Interval(year * 10000 + 101, year * 10000 + 1231)
    if not 1 <= month <= 12 or (day is not None and not 1 <= day <= 31):
        return None
    last = calendar.monthrange(max(1, min(year, 9999)), month)[1]
    first = year * 10000 + month * 100
    return Interval(first + (day or 1), first + (day or last))


def _years(value: str) -> Interval | None:
    match = _AGE.fullmatch(value)
    if match is None:
        return None
    number, unit = float(match[1]), (match[2] or "y").lower()
    years = number / _A_YEAR[unit]
    # Stored ages were divided the same way; a hair on both sides forgives the last bit.
    return Interval(years - 1e-9, years + 1e-9) if unit != "y" else Interval(years, years)


def meets(value: str, tests: Sequence[Test], *, whole: bool = False) -> bool:
    """Whether a text meets one of the tests. `whole`: every test of equality is for the whole value.

    Comparisons and ranges take texts that are numbers as numbers; others they do not meet.
    """
    return any(_meets(value, test, whole) for test in tests)


def _meets(value: str, test: Test, whole: bool) -> bool:
    match test:
        case Present():
            return True
        case Is() if test.exact or whole:
            found, wanted = folded(value), folded(test.value)
            return found.startswith(wanted) if test.prefix else found == wanted
        case Is():
            wanted_words = words(test.value)
            if not wanted_words:
                return folded(value) == folded(test.value)
            return _in_a_row(words(value), wanted_words, prefix=test.prefix)
        case Compare() | Between():
            try:
                number = float(value)
                low, high = _interval(test, Kind.NUMBER, Term("value", (test,)))
            except (ValueError, QuerySyntaxError):
                return False
            return low <= number <= high


def _in_a_row(found: Sequence[str], wanted: Sequence[str], *, prefix: bool) -> bool:
    length = len(wanted)
    for start in range(len(found) - length + 1):
        part = found[start : start + length]
        if part[:-1] == list(wanted[:-1]) and (
            part[-1].startswith(wanted[-1]) if prefix else part[-1] == wanted[-1]
        ):
            return True
    return False
