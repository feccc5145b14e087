"""The page: one HTML file with everything in it, that loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import files
from xml.etree.ElementTree import Element

from imarium.client.wire import CONNECTIONS
from imarium.model import Selection
from imarium.report.costs import Link
from imarium.report.figures import (
    bytes_figure,
    fidelity_figures,
    spread_figures,
    switching_rules,
    time_figure,
)
from imarium.report.markup import Child, document, tag
from imarium.report.plots import SMALL, WIDE
from imarium.report.results import Dataset, SeriesResult
from imarium.report.summary import Group, Summary
from imarium.report.tables import image_table, level_table, table
from imarium.report.texts import amount, counted
from imarium.version import VERSION
from imarium.wording import duration_text, share_text, size_text

_MOST_CARDS = 6
_MOST_IMAGES = 200
_MOST_OPEN = 6
"""Datasets up to which all are unfolded."""
_LOGO = "M7 7h18v18H7z", "M7 7h11v11H7z", "M7 7h5.5v5.5H7z"


class Page:
    """Takes the results as they come; holds the first few hundred of them alone."""

    def __init__(self, selection: Selection, links: Sequence[Link], frames: int) -> None:
        """`frames` is how many frames of a series were compared at most; 0 if none were."""
        self._selection, self._links, self._frames = selection, links, frames
        self._images: list[SeriesResult] = []
        self._failed: list[SeriesResult] = []

    def add(self, result: SeriesResult) -> None:
        """One more series."""
        if len(self._images) < _MOST_IMAGES:
            self._images.append(result)
        if result.error is not None and len(self._failed) < _MOST_IMAGES:
            self._failed.append(result)

    def html(self, summary: Summary) -> str:
        """The page of all that were added."""
        styles = files("imarium.report").joinpath("page.css").read_text("utf-8")
        datasets = summary.datasets()
        compared = [(dataset, group) for dataset, group in datasets if group.compared]
        compared.sort(key=lambda item: -item[1].series)  # where there are too many, the largest have colours
        body = tag(
            "body",
            tag("a", "Skip to the figures", href="#figures", class_="skip"),
            self._header(summary),
            tag(
                "main",
                self._cards(summary.all),
                *self._failures(),
                tag("div", *self._figures(compared), id="figures"),
                self._total(summary.all, len(datasets)),
                *self._datasets(datasets),
                self._list(summary.all.series),
                *_terms(self._links, self._frames),
            ),
            tag(
                "footer",
                tag("p", f"Made by Imarium {VERSION}. Nothing on this page is loaded from elsewhere."),
            ),
        )
        head = tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("title", f"Imarium report: {self._asked}"),
            tag("style", styles + switching_rules(len(compared))),
        )
        return document(tag("html", head, body, lang="en"))

    @property
    def _asked(self) -> str:
        return str(self._selection) or "everything"

    def _header(self, summary: Summary) -> Element:
        everything = summary.all
        when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        logo = tag(
            "svg",
            tag("rect", width="32", height="32", rx="8", fill="#0b7285"),
            *(
                tag("path", d=path, fill="#fff", fill_opacity=opacity)
                for path, opacity in zip(_LOGO, (0.3, 0.55, 1.0), strict=True)
            ),
            viewBox="0 0 32 32",
            aria_hidden="true",
        )
        facts = amount(everything)
        compared = (
            f"{counted(everything.sampled, 'frame', 'frames')} compared, for which "
            f"{size_text(everything.read_bytes)} were read"
            if everything.sampled
            else "costs alone, nothing was compared"
        )
        return tag(
            "header",
            tag("h1", logo, "What the levels cost, and how good they are"),
            tag("p", "Selection: ", tag("code", self._asked), class_="lead"),
            tag("p", f"{facts}; {compared}. {when}", class_="lead"),
            class_="top",
        )

    def _cards(self, group: Group) -> Element:
        levels = group.levels()
        link = self._links[len(self._links) // 2]
        cards = []
        for level in levels[:_MOST_CARDS]:
            share = level.bytes / levels[0].bytes if levels[0].bytes else 0.0
            facts: list[Child] = [
                tag("dt", f"at {link.bandwidth:g} Mbit/s"),
                tag("dd", duration_text(group.seconds(level, link))),
            ]
            if group.compared:
                mean = level.ssim.mean
                text = "1, exact" if level.level == 0 else "" if mean is None else f"{mean:.3f}"
                facts += [tag("dt", "SSIM"), tag("dd", text)]
            name = "Full resolution" if level.level == 0 else f"Level {level.level}: 1/{1 << level.level}"
            bar = tag("i", style=f"width:{100 * share:.2f}%")
            cards.append(
                tag(
                    "li",
                    tag("div", name, class_="what"),
                    tag("div", size_text(level.bytes), class_="size"),
                    tag("div", f"{share_text(share)} of the bytes", class_="what"),
                    tag("div", bar, class_="share", aria_hidden="true"),
                    tag("dl", *facts),
                )
            )
        return tag("ul", *cards, class_="cards", aria_label="The whole selection, level by level")

    def _failures(self) -> list[Child]:
        if not self._failed:
            return []
        rows = [[result.series, result.error or ""] for result in self._failed]
        return [
            tag(
                "section",
                tag("h2", "Damaged"),
                tag("p", "These series could not be compared; their costs count.", class_="warn"),
                table(["series", "what is wrong"], rows, "Damaged series", texts=(0, 1), long=(0, 1)),
            )
        ]

    def _figures(self, datasets: Sequence[tuple[Dataset, Group]]) -> list[Child]:
        if not datasets:
            return []
        note = (
            "Each mark is a level of a dataset: from right to left, the full resolution (exact) and one "
            "halving after another. Whiskers are one standard deviation over those series that have the "
            "level: where only the larger ones do, a line may turn."
        )
        heading = tag("h2", "Fidelity against bytes")
        return [tag("section", heading, tag("p", note, class_="dim"), fidelity_figures(datasets))]

    def _total(self, group: Group, datasets: int) -> Element:
        title = "The selection in sum" if datasets > 1 else "Level by level"
        note = (
            "Series that do not have a level are read at their smallest one, and count so in bytes, requests "
            "and times."
        )
        name = "the whole selection"
        plots = tag("div", bytes_figure(name, group, WIDE), time_figure(group, self._links), class_="pair")
        panel = tag("div", plots, level_table(name, group, self._links), class_="panel")
        return tag("section", tag("h2", title), tag("p", note, class_="dim"), panel)

    def _datasets(self, datasets: Sequence[tuple[Dataset, Group]]) -> list[Child]:
        if len(datasets) == 1:  # its costs were shown
            ((dataset, group),) = datasets
            plots = spread_figures(dataset.name, group, WIDE)
            heading = tag("h2", "Image by image")
            if not plots:
                return []
            return [tag("section", heading, tag("div", tag("div", *plots, class_="pair"), class_="panel"))]
        sections: list[Child] = []
        for number, (dataset, group) in enumerate(datasets):
            name = dataset.name
            plots = [bytes_figure(name, group, SMALL), *spread_figures(name, group, SMALL)]
            content = tag("div", *plots, class_="three"), level_table(name, group, self._links)
            unfolded = len(datasets) <= _MOST_OPEN or number < 2
            sections.append(
                tag(
                    "details",
                    tag("summary", tag("h3", name), tag("span", amount(group), class_="dim")),
                    tag("div", *content, class_="inside"),
                    open_="" if unfolded else None,
                )
            )
        return [tag("section", tag("h2", "Datasets"), *sections)]

    def _list(self, count: int) -> Element:
        held = len(self._images)
        facts = f"the first {held} of {count:,}; --csv writes all" if count > held else f"{count}"
        return tag(
            "section",
            tag(
                "details",
                tag("summary", tag("h3", "All series, one by one"), tag("span", facts, class_="dim")),
                tag("div", image_table(self._images), class_="inside"),
            ),
        )


def _terms(links: Sequence[Link], frames: int) -> list[Child]:
    """What the figures mean."""
    latency = links[0].latency
    terms = [
        ("level", "0 is the full resolution, which is exact; each further level halves rows and columns."),
        ("bytes", "What a reader fetches for all frames of a level; its index comes on top, once a series."),
        (
            "requests",
            "HTTP requests that the Python client makes for a level of a whole series and its index: up to "
            "256 ranges and 32 MiB each.",
        ),
        (
            "time",
            f"An estimate: bits by bandwidth, and {latency:g} ms for each round of up to {CONNECTIONS} "
            "requests at a time. Connecting, headers and the server's work are not in it.",
        ),
    ]
    if frames:
        terms += [
            (
                "SSIM, PSNR",
                "Of a level against bilinear, antialiased downsampling of the full resolution to the same "
                "size, with the range of the full frame's values; SSIM with a 7x7 window. Colour: all "
                f"samples. At most {frames} frames of a series, spread evenly; a series counts with the mean "
                "of its frames. Frames of one value say nothing, nor do complex numbers; frames that equal "
                "the reference have no PSNR.",
            ),
            (
                "same centres",
                "SSIM against downsampling to the level's own grid. Pixels of levels are centred on every "
                "2^k-th pixel, those of a resized image on the middle of what they cover; this shift is no "
                "loss.",
            ),
            (
                "labels equal",
                "Label maps, which are never averaged: share of pixels with the label of the nearest pixel "
                "of the full resolution.",
            ),
        ]
    found: list[Child] = []
    for term, meaning in terms:
        found += [tag("dt", term), tag("dd", meaning)]
    return [tag("section", tag("h2", "What the figures mean"), tag("dl", *found, class_="terms"))]
