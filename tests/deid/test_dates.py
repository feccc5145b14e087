"""Dates move, and the time between them stays."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imarium.deid.dates import is_time, shifted_date, shifted_datetime

DAYS = st.dates(date(1850, 1, 1), date(2150, 1, 1))
SHIFTS = st.integers(-3650, 3650)


@given(DAYS, DAYS, SHIFTS)
def test_intervals_are_kept(one, other, days):
    moved = [shifted_date(f"{day:%Y%m%d}", days) for day in (one, other)]
    there = [date(int(text[:4]), int(text[4:6]), int(text[6:])) for text in moved]
    assert there[1] - there[0] == other - one
    assert there[0] == one + timedelta(days=days)


@given(DAYS, SHIFTS, st.sampled_from(["", "12", "1230", "123015", "123015.5", "123015.123456"]))
def test_a_datetime_moves_with_its_date(day, days, time):
    for zone in ("", "+0100", "-1130"):
        moved = shifted_datetime(f"{day:%Y%m%d}{time}{zone}", days)
        assert moved == shifted_date(f"{day:%Y%m%d}", days) + time + zone


@pytest.mark.parametrize(
    ("text", "days", "moved"),
    [
        ("20240229", 365, "20250228"),
        ("20240229", -1, "20240228"),
        ("2024.02.29", 1, "20240301"),
        ("2024-02-29", 1, "20240301"),
        ("20230229", 1, None),
        ("00010101", -1, None),
        ("99991231", 1, None),
        ("0229", 1, None),
        ("Smith", 1, None),
        ("", 1, None),
    ],
)
def test_dates(text, days, moved):
    assert shifted_date(text, days) == moved


@pytest.mark.parametrize(
    ("text", "moved"),
    [
        ("2024", "2023"),
        ("202402", "202302"),
        ("2024+0100", "2023+0100"),
        ("20240115120000.5+0100", "20230115120000.5+0100"),
        ("20241", None),
        ("born 2024", None),
    ],
)
def test_partial_datetimes(text, moved):
    assert shifted_datetime(text, -365) == moved


def test_times():
    assert all(is_time(text) for text in ("12", "1230", "123015.123", "12:30:15"))
    assert not any(is_time(text) for text in ("1", "noon", "12301", ""))
