"""Intervals against a set of numbers."""

from hypothesis import given
from hypothesis import strategies as st

from imarium.client.intervals import Intervals

CHANGES = st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.integers(0, 40)), max_size=30)


@given(CHANGES, st.integers(0, 40), st.integers(0, 40))
def test_like_a_set_of_offsets(changes, start, stop):
    intervals, offsets = Intervals(), set()
    for adds, first, last in changes:
        if adds:
            intervals.add(first, last)
            offsets |= set(range(first, last))
        else:
            intervals.remove(first, last)
            offsets -= set(range(first, last))
    assert intervals.covers(start, stop) == (set(range(start, stop)) <= offsets)
    runs = sum(offset - 1 not in offsets for offset in offsets)
    assert len(intervals) == runs
