"""The figures of the page: which plot shows what."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from imarium.report.costs import Link
from imarium.report.markup import Child, tag
from imarium.report.plots import (
    STYLES,
    Area,
    Bar,
    Line,
    Point,
    bars,
    curves,
    ladder,
    line_class,
    mark,
    strip,
)
from imarium.report.results import Dataset
from imarium.report.summary import Group, LevelSummary
from imarium.report.texts import sides, spread_of, spread_text
from imarium.wording import duration_text, share_text, size_text

_MEASURES = (("SSIM", "ssim", 4, 1.0), ("PSNR dB", "psnr", 1, None), ("Labels equal", "labels_equal", 4, 1.0))
"""Name, attribute of a level, digits after the point, and the most that a value can be."""
_LEAST_SECONDS = 1e-4


def fidelity_figures(datasets: Sequence[tuple[Dataset, Group]]) -> Element:
    """Fidelity against bytes, a line a dataset: figure 3 of the paper."""
    plots = []
    for head, attribute, digits, top in _MEASURES[:2]:
        found = [
            _curve(dataset.name, _style(number, len(datasets)), group, attribute, digits)
            for number, (dataset, group) in enumerate(datasets)
        ]
        lines = [line for line in found if line.points]
        if lines:
            label = f"{head} against the share of bytes, a line a dataset. " + _told(lines[:STYLES])
            svg = curves(lines, x="bytes, of the full resolution", y=head, top=top, label=label)
            plots.append(_figure(head, svg))
    legend = None if len(datasets) == 1 else _legend([dataset.name for dataset, _ in datasets])
    return tag("div", legend, tag("div", *plots, class_="pair"), class_="panel figures")


def switching_rules(count: int) -> str:
    """CSS that hides the lines of those of `count` datasets whose boxes are not checked."""
    classes = [line_class(_style(number, count)) for number in range(min(count, STYLES))]
    return "".join(
        f".figures:has(#show{number}:not(:checked)) .plot .{name}{{display:none}}\n"
        for number, name in enumerate(classes)
    )


def _style(number: int, count: int) -> int | None:
    """Of dataset `number` of `count`: where there are too many, the last ones stand back together."""
    return None if count > STYLES and number >= STYLES - 1 else number


def _legend(names: Sequence[str]) -> Element:
    shown: list[Child] = [tag("legend", "Show:")]
    for number in range(min(len(names), STYLES)):
        style = _style(number, len(names))
        name = names[number] if style is not None else f"{len(names) - number} further datasets"
        box = tag("input", type="checkbox", id=f"show{number}", checked="")
        shown.append(tag("label", box, mark(style), tag("span", name)))
    return tag("fieldset", *shown, class_="legend")


def _curve(name: str, style: int | None, group: Group, attribute: str, digits: int) -> Line:
    points = []
    for level in group.levels():
        spread, share = spread_of(level, attribute), level.share.mean
        if level.level == 0 and attribute == "ssim":
            points.append(Point(1.0, 1.0, None, "full resolution: 100 %, exact"))
        elif spread.mean is not None and share:
            text = f"level {level.level}: {share_text(share)}, {spread_text(spread, digits)}"
            points.append(Point(min(1.0, share), spread.mean, spread.deviation, text))
    return Line(name, style, points)


def bytes_figure(name: str, group: Group, area: Area) -> Element:
    """Bytes of each level."""
    levels = group.levels()
    items = [Bar(_level_name(level), level.bytes, _size(level, levels[0].bytes)) for level in levels]
    label = f"Bytes by level, {name}: " + "; ".join(
        f"level {level.level}, {sides(level)}, {item.text}" for level, item in zip(levels, items, strict=True)
    )
    return _figure("Bytes by level", bars(items, area, label=label))


def _level_name(level: LevelSummary) -> str:
    several = "" if level.smallest == level.largest else "≤ "
    return f"{level.level}: {several}{level.largest[0]}x{level.largest[1]}"


def _size(level: LevelSummary, full: int) -> str:
    return f"{size_text(level.bytes)} ({share_text(level.bytes / full)})" if full else size_text(level.bytes)


def time_figure(group: Group, links: Sequence[Link]) -> Element:
    """Estimated time of each level, a line a link."""
    levels = group.levels()
    lines = []
    for style, link in enumerate(links):
        points = []
        for level in levels:
            seconds = group.seconds(level, link)
            text = f"level {level.level}: {duration_text(seconds)}"
            points.append(Point(level.level, max(seconds, _LEAST_SECONDS), None, text))
        lines.append(Line(f"{link.bandwidth:g} Mbit/s", style, points))
    svg = ladder(
        lines, [str(level.level) for level in levels], y="time", label="Estimated time. " + _told(lines)
    )
    legend = [tag("span", mark(line.style), tag("span", line.name), class_="key") for line in lines]
    return _figure("Estimated time by level", tag("div", *legend, class_="legend"), svg)


def spread_figures(name: str, group: Group, area: Area) -> list[Element]:
    """How good each level is, image by image."""
    found = []
    for head, attribute, digits, top in _MEASURES:
        levels = [
            (str(level.level), spread) for level in group.levels() if (spread := spread_of(level, attribute))
        ]
        if levels:
            says = "; ".join(f"level {number}, {spread_text(spread, digits)}" for number, spread in levels)
            label = f"{head} by level, {name}: {says}"
            svg = strip(levels, area, y=head, digits=digits, top=top, label=label)
            found.append(_figure(f"{head} by level", svg))
    return found


def _told(lines: Sequence[Line]) -> str:
    """What a plot shows, for those who do not see it."""
    return ". ".join(f"{line.name}: " + "; ".join(point.text for point in line.points) for line in lines)


def _figure(head: str, *children: Child) -> Element:
    return tag("figure", tag("h4", head), *children)
