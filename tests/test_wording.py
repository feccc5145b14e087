"""Amounts as people read them."""

import pytest

from imarium.wording import duration_text, share_text, size_text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1.5 * 2**30, "1.5 GiB"), (2**50, "1024.0 TiB")],
)
def test_sizes(size, text):
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0 ms"), (0.0254, "25 ms"), (0.9994, "999 ms"), (0.9996, "1.0 s"), (9.94, "9.9 s")),
        *((9.96, "10 s"), (119.4, "119 s"), (119.6, "2 min"), (7000, "117 min"), (7200, "2.0 h")),
        *((3600 * 99.9, "99.9 h"), (3600 * 100, "4 d")),
    ],
)
def test_durations(seconds, text):
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(1, "100 %"), (0.301, "30 %"), (0.0886, "8.9 %"), (0.0021, "0.21 %"), (0.00001, "0.001 %"), (0, "0 %")],
)
def test_shares(share, text):
    assert share_text(share) == text
