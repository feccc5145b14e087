"""The tables of the page."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from imarium.report.costs import Link
from imarium.report.markup import tag
from imarium.report.results import LevelResult, SeriesResult
from imarium.report.summary import Group, LevelSummary
from imarium.report.texts import MEASURES, sides, spread_of, spread_text
from imarium.wording import duration_text, share_text, size_text


def level_table(name: str, group: Group, links: Sequence[Link]) -> Element:
    """A row a level."""
    levels = group.levels()
    measures = [item for item in MEASURES if any(spread_of(level, item[1]) for level in levels)]
    head = ["level", "rows x columns", "series", "bytes", "of the whole", "requests"]
    head += [f"at {link.bandwidth:g} Mbit/s" for link in links]
    head += [text for text, _, _ in measures]
    rows = [_level_cells(group, level, levels[0].bytes, links, measures) for level in levels]
    return table(head, rows, f"Levels of {name}", texts=(1,))


def _level_cells(
    group: Group,
    level: LevelSummary,
    full: int,
    links: Sequence[Link],
    measures: Sequence[tuple[str, str, int]],
) -> list[str]:
    share = share_text(level.bytes / full) if full else ""
    cells = [str(level.level), sides(level), f"{level.series:,}", size_text(level.bytes), share]
    cells.append(f"{level.requests:,}")
    cells += [duration_text(group.seconds(level, link)) for link in links]
    for _, attribute, digits in measures:
        cells.append("exact" if level.level == 0 else spread_text(spread_of(level, attribute), digits))
    return cells


def image_table(results: Sequence[SeriesResult]) -> Element:
    """A row a series."""
    depth = max(len(result.levels) for result in results)
    head = ["series", "dataset", "frames", "full resolution"]
    head += [f"level {level}" for level in range(1, depth)]
    rows = []
    for result in results:
        full = result.levels[0]
        row = [result.series, result.dataset.name, str(result.frames)]
        row.append(f"{full.rows}x{full.columns}, {size_text(full.bytes)}")
        row += [_image_cell(level, full.bytes) for level in result.levels[1:]]
        rows.append(row + [""] * (depth - len(result.levels)))
    said = ", SSIM or labels equal, and PSNR" if any(result.sampled for result in results) else ""
    return table(head, rows, f"Share of the full resolution's bytes{said}", texts=(0, 1), long=(0, 1))


def _image_cell(level: LevelResult, full: int) -> str:
    parts = [share_text(level.bytes / full) if full else size_text(level.bytes)]
    found = level.fidelity
    if found is not None:
        parts += [f"{value:.4f}" for value in (found.ssim, found.labels_equal) if value is not None]
        parts += [f"{found.psnr:.1f} dB"] if found.psnr is not None else []
    return ", ".join(parts)


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    name: str,
    *,
    texts: Sequence[int] = (),
    long: Sequence[int] = (),
) -> Element:
    """`texts` are columns of words, and `long` those of them that may be broken."""

    def kind(column: int) -> str | None:
        found = ["text"] * (column in texts) + ["long"] * (column in long)
        return " ".join(found) or None

    top = tag("tr", *(tag("th", text, scope="col", class_=kind(n)) for n, text in enumerate(head)))
    body = [tag("tr", *(tag("td", text, class_=kind(n)) for n, text in enumerate(row))) for row in rows]
    made = tag("table", tag("caption", name), tag("thead", top), tag("tbody", *body))
    # It may be wider than the screen: then it scrolls by itself, with the keyboard too.
    return tag("div", made, class_="scroll", tabindex="0", role="region", aria_label=name)
