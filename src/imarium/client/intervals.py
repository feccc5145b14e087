"""Which bytes of a pack are there."""

from __future__ import annotations

from bisect import bisect_left, bisect_right


class Intervals:
    """A set of byte offsets as ascending spans that do not touch."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def __len__(self) -> int:
        return len(self._starts)

    def covers(self, start: int, stop: int) -> bool:
        """Whether all of a span is there; an empty one always is."""
        if start >= stop:
            return True
        number = bisect_right(self._starts, start) - 1
        return number >= 0 and self._stops[number] >= stop

    def add(self, start: int, stop: int) -> None:
        """A span is there now."""
        if start >= stop:
            return
        first = bisect_left(self._stops, start)  # those that touch are joined
        last = bisect_right(self._starts, stop)
        if first < last:
            start, stop = min(start, self._starts[first]), max(stop, self._stops[last - 1])
        self._starts[first:last], self._stops[first:last] = [start], [stop]

    def remove(self, start: int, stop: int) -> None:
        """A span is there no longer."""
        if start >= stop:
            return
        first = bisect_right(self._stops, start)
        last = bisect_left(self._starts, stop)
        if first >= last:
            return
        kept = [(self._starts[first], start), (stop, self._stops[last - 1])]
        left = [span for span in kept if span[0] < span[1]]
        self._starts[first:last] = [span[0] for span in left]
        self._stops[first:last] = [span[1] for span in left]
