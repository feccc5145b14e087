"""Plots as SVG within a page: their colours and fonts are the page's (page.css).

Each is one image to a screen reader, described by its label; tables beside the plots hold the same figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from xml.etree.ElementTree import Element

from imarium.report.markup import Child, tag
from imarium.report.summary import Spread
from imarium.wording import duration_text

Scale: TypeAlias = Callable[[float], float]
"""A value's place in the image."""

_MOST_DOTS = 250
"""Images shown one by one in a strip."""
_MARKS = (
    "M-4.5 0A4.5 4.5 0 1 0 4.5 0A4.5 4.5 0 1 0-4.5 0Z",
    "M-4.2-4.2H4.2V4.2H-4.2Z",
    "M0-5.5 5.3 4H-5.3Z",
    "M0-6 6 0 0 6-6 0Z",
    "M0 5.5 5.3-4H-5.3Z",
    "M-5.5-2H-2V-5.5H2V-2H5.5V2H2V5.5H-2V2H-5.5Z",
    "M0-6 5.7-1.9 3.5 4.9H-3.5L-5.7-1.9Z",
    "M-3-5.2H3L6 0 3 5.2H-3L-6 0Z",
)
STYLES = len(_MARKS)
"""Lines that can be told apart, by colour and by mark."""


@dataclass(frozen=True, slots=True)
class Area:
    """A plot with its axes, in the units of the image."""

    width: float
    height: float
    left: float = 58.0
    right: float = 16.0
    top: float = 14.0
    bottom: float = 50.0

    @property
    def floor(self) -> float:
        """Where the horizontal axis lies."""
        return self.height - self.bottom

    def across(self, low: float, high: float) -> Scale:
        """From a range of values, with a little room at its ends."""
        extent, room = (high - low) or 1.0, self.width - self.left - self.right - 22
        return lambda value: self.left + 10 + (value - low) / extent * room

    def up(self, low: float, high: float) -> Scale:
        """From a range of values; what lies beyond it goes to the edge."""
        extent, room = (high - low) or 1.0, self.floor - self.top
        return lambda value: self.floor - min(1.0, max(0.0, (value - low) / extent)) * room

    def steps(self, count: int) -> list[float]:
        """Middles of so many columns."""
        step = (self.width - self.left - self.right) / count
        return [self.left + (number + 0.5) * step for number in range(count)]


WIDE, SMALL = Area(560.0, 340.0), Area(380.0, 268.0)


@dataclass(frozen=True, slots=True)
class Point:
    """A place on a curve, with what is said when it is pointed at."""

    x: float
    y: float
    deviation: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A curve; `style` is None for one that stands back."""

    name: str
    style: int | None
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Bar:
    """A length with words on either side."""

    label: str
    value: float
    text: str


def mark(style: int | None) -> Element:
    """The mark of a line, as a legend shows it."""
    path = tag("path", d=_MARKS[style or 0], transform="translate(8 8)")
    return tag("svg", path, viewBox="0 0 16 16", class_=f"mark {line_class(style)}", aria_hidden="true")


def line_class(style: int | None) -> str:
    """The class of a line in the page."""
    return "rest" if style is None else f"c{style}"


def curves(lines: Sequence[Line], *, x: str, y: str, top: float | None, label: str) -> Element:
    """Lines over a logarithmic share of bytes (0 to 1), with whiskers of one standard deviation."""
    points = [point for line in lines for point in line.points]
    least = min(point.x for point in points)
    first = max(tick for tick in _share_ticks() if tick <= least * 1.001)
    shares = [tick for tick in _share_ticks() if tick >= first]
    ticks = _ticks(
        min(point.y - (point.deviation or 0) for point in points),
        max(point.y + (point.deviation or 0) for point in points),
        top,
    )
    across = WIDE.across(math.log(first), 0.0)
    up = WIDE.up(ticks[0], ticks[-1])
    frame = _frame(
        WIDE,
        [(across(math.log(tick)), f"{100 * tick:g} %") for tick in shares],
        [(up(tick), f"{tick:g}") for tick in ticks],
        x,
        y,
        upright=True,
    )
    drawn: list[Child] = []
    for line in sorted(lines, key=lambda line: line.style is not None):  # those that stand back, first
        places = [(across(math.log(point.x)), point) for point in line.points]
        drawn.append(_drawn(line, places, up))
    return _svg([*frame, *drawn], label, WIDE)


def ladder(lines: Sequence[Line], levels: Sequence[str], *, y: str, label: str) -> Element:
    """Durations over levels, whose numbers are the points' x; logarithmic."""
    values = [point.y for line in lines for point in line.points]
    marks = _time_ticks(min(values), max(values))
    up_log = WIDE.up(math.log(marks[0]), math.log(marks[-1]))

    def up(value: float) -> float:
        return up_log(math.log(value))

    columns = WIDE.steps(len(levels))
    frame = _frame(
        WIDE,
        list(zip(columns, levels, strict=True)),
        [(up(tick), duration_text(tick)) for tick in marks],
        "level",
        y,
        upright=False,
    )
    drawn = [_drawn(line, [(columns[int(point.x)], point) for point in line.points], up) for line in lines]
    return _svg([*frame, *drawn], label, WIDE)


def _drawn(line: Line, places: Sequence[tuple[float, Point]], up: Scale) -> Element:
    path = "M" + "L".join(f"{x:.1f} {up(point.y):.1f}" for x, point in places)
    shapes: list[Child] = [tag("path", d=path, class_="curve")]
    for x, point in places:
        says = tag("title", f"{line.name}, {point.text}")
        shapes += [_whisker(x, point, up), _mark_at(line.style, x, up(point.y), says)]
    return tag("g", *shapes, class_=line_class(line.style))


def _mark_at(style: int | None, x: float, y: float, says: Element) -> Element:
    place = f"translate({x:.1f} {y:.1f})"
    return tag("path", says, d=_MARKS[style or 0], transform=place, class_="point")


def strip(
    levels: Sequence[tuple[str, Spread]],
    area: Area,
    *,
    y: str,
    digits: int,
    top: float | None,
    label: str,
) -> Element:
    """Images of each level as dots, among them their mean and one standard deviation."""
    values = [value for _, spread in levels for value in spread.values]
    ticks = _ticks(min(values), max(values), top)
    up = area.up(ticks[0], ticks[-1])
    columns = area.steps(len(levels))
    frame = _frame(
        area,
        [(middle, name) for middle, (name, _) in zip(columns, levels, strict=True)],
        [(up(tick), f"{tick:g}") for tick in ticks],
        "level",
        y,
        upright=False,
    )
    breadth = min(60.0, 0.5 * (area.width - area.left) / len(levels))
    drawn: list[Child] = []
    for middle, (name, spread) in zip(columns, levels, strict=True):
        mean, deviation = spread.mean, spread.deviation
        if mean is None:
            continue
        if len(spread) > 1:
            every = -(-len(spread) // _MOST_DOTS)
            for number, value in enumerate(spread.values[::every]):
                aside = ((number * 0.618034) % 1 - 0.5) * breadth  # spread out evenly, always alike
                drawn.append(tag("circle", cx=middle + aside, cy=up(value), r=2.2, class_="dot"))
        says = f"level {name}: {mean:.{digits}f}" + (f" ± {deviation:.{digits}f}" if deviation else "")
        drawn.append(_whisker(middle, Point(0, mean, deviation, ""), up))
        drawn.append(_mark_at(0, middle, up(mean), tag("title", says)))
    return _svg([*frame, tag("g", *drawn, class_="c0")], label, area)


def bars(items: Sequence[Bar], area: Area, *, label: str) -> Element:
    """Lengths that start at 0, one below another."""
    left, right = 110.0, 130.0
    line = (area.height - 20) / max(6, len(items))
    thick = min(26.0, 0.6 * line)
    most = max(item.value for item in items) or 1.0
    drawn: list[Child] = []
    for number, item in enumerate(items):
        y = 10 + number * line
        length = max(1.5, (area.width - left - right) * item.value / most)
        base = y + thick / 2 + 4.5
        drawn += [
            tag("text", item.label, x=left - 10, y=base, class_="name"),
            tag("rect", x=left, y=y, width=length, height=thick, rx=3.0, class_="bar"),
            tag("text", item.text, x=left + length + 8, y=base, class_="amount"),
        ]
    return _svg(drawn, label, area)


def _svg(children: Sequence[Child], label: str, area: Area) -> Element:
    box = f"0 0 {area.width:g} {area.height:g}"
    return tag("svg", *children, viewBox=box, role="img", aria_label=label, class_="plot")


def _frame(
    area: Area,
    columns: Sequence[tuple[float, str]],
    rows: Sequence[tuple[float, str]],
    x: str,
    y: str,
    *,
    upright: bool,
) -> list[Child]:
    """Grid, ticks and names of the axes; with `upright` grid lines, or horizontal ones alone."""
    right, floor = area.width - area.right, area.floor
    drawn: list[Child] = []
    for place, text in rows:
        drawn += [
            tag("line", x1=area.left, x2=right, y1=place, y2=place, class_="grid"),
            tag("text", text, x=area.left - 8, y=place + 4, class_="tick end"),
        ]
    for place, text in columns:
        if upright:
            drawn.append(tag("line", x1=place, x2=place, y1=area.top, y2=floor, class_="grid"))
        drawn.append(tag("text", text, x=place, y=floor + 18, class_="tick middle"))
    drawn.append(tag("line", x1=area.left, x2=right, y1=floor, y2=floor, class_="axis"))
    drawn.append(tag("text", x, x=(area.left + right) / 2, y=area.height - 10, class_="axis-name middle"))
    middle = (area.top + floor) / 2
    turned = f"rotate(-90 12 {middle:g})"
    drawn.append(tag("text", y, x=12.0, y=middle, transform=turned, class_="axis-name middle"))
    return drawn


def _whisker(x: float, point: Point, up: Scale) -> Element | None:
    if not point.deviation:
        return None
    high, low = up(point.y + point.deviation), up(point.y - point.deviation)
    path = f"M{x - 4:.1f} {high:.1f}h8m-4 0V{low:.1f}m-4 0h8"
    return tag("path", d=path, class_="whisker")


def _share_ticks() -> list[float]:
    return [factor * 10.0**power for power in range(-9, 0) for factor in (1, 3)] + [1.0]


_TIMES = [
    *(factor * 10.0**power for power in range(-4, 1) for factor in (1, 3)),
    *(10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 36000.0, 86400.0 * 2),
    *(86400.0 * 10.0**power for power in range(1, 12)),
]


def _time_ticks(low: float, high: float) -> list[float]:
    """Round times about a range, at most eight or so."""
    first = max(0, sum(tick <= low for tick in _TIMES) - 1)
    last = min(len(_TIMES) - 1, sum(tick < high for tick in _TIMES))
    ticks = _TIMES[first : max(last, first + 1) + 1]
    return ticks if len(ticks) <= 9 else ticks[:: 1 + len(ticks) // 8]


def _ticks(low: float, high: float, top: float | None) -> list[float]:
    """Round numbers about a range; `top` is the most that values can be."""
    if top is not None:
        high = top
    extent = max(high - low, 1e-3 * abs(high), 1e-6)
    rough = extent / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 9) for number in range(first, max(last, first + 1) + 1)]
