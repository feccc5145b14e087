"""The page: whole, safe, and readable without seeing the plots."""

import re
from html.parser import HTMLParser

import pytest

from imarium.model import Selection
from imarium.report import Dataset, LevelResult, Link, Page, SeriesResult, Spread, Summary
from imarium.report.fidelity import Fidelity
from imarium.report.plots import SMALL, STYLES, WIDE, Bar, Line, Point, bars, curves, ladder, strip

VOID = {"meta", "input"}
LINKS = (Link(10, 20), Link(100, 20))


class Reader(HTMLParser):
    """Checks that elements close in turn, and keeps what was found."""

    def __init__(self, html):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def result(uid, dataset, levels=4, compared=True, error=None):
    made = []
    for level in range(levels):
        fidelity = Fidelity(0.9 - level / 10, 0.95, 30.0 - level) if compared and level else None
        if fidelity and dataset.label_map:
            fidelity = Fidelity(labels_equal=0.99)
        made.append(LevelResult(level, 64 >> level, 64 >> level, 1000 >> 2 * level, 1, fidelity))
    return SeriesResult(uid, dataset, 5, 64, 64, 1, "int16", 100, tuple(made), 5 * compared, 7, error)


def page(*results, frames=8, selection=""):
    made, summary = Page(Selection.parse(selection), LINKS, frames), Summary()
    for item in results:
        made.add(item)
        summary.add(item)
    return made.html(summary)


CT, MASKS = Dataset("chest", "CT", False), Dataset("chest", None, True)


def test_it_holds_everything_and_loads_nothing():
    html = page(*(result(str(number), CT) for number in range(3)), result("9.9", MASKS))
    read = Reader(html)
    assert "chest, label maps" in read.texts
    assert "9.9" in read.texts
    assert not re.search(r"(?:src|href)=\"(?!#)|url\(|@import|<script|https?:", html)
    assert read.named("html") == [{"lang": "en"}]


def test_plots_tell_what_they_show_and_tables_hold_it():
    read = Reader(page(result("1", CT), result("2", MASKS)))
    plots = [found for found in read.named("svg") if found.get("class") == "plot"]
    assert len(plots) >= 6
    for found in plots:
        assert found["role"] == "img"
        assert "level" in found["aria-label"]
    others = [found for found in read.named("svg") if found.get("class") != "plot"]
    assert all(found["aria-hidden"] == "true" for found in others)
    assert "chest, CT: full resolution: 100 %, exact; level 1: 25 %, 0.8000" in plots[0]["aria-label"]
    regions = [found for found in read.named("div") if found.get("class") == "scroll"]
    assert len(regions) == len(read.named("table")) >= 4
    assert all(found["tabindex"] == "0" and found["aria-label"] for found in regions)
    assert read.named("a")[0]["href"] == "#figures"


def test_names_are_text():
    evil = "<script>alert(1)</script>\"'&"
    html = page(result("<b>1</b>", Dataset(evil, "CT", False)), selection=f"modality='{evil[:20]}'")
    read = Reader(html)
    assert not read.named("script")
    assert not read.named("b")
    assert f"{evil}, CT" in read.texts
    assert any(evil in found.get("aria-label", "") for found in read.named("svg"))


def test_costs_alone():
    html = page(result("1", CT, compared=False), result("2", MASKS, compared=False), frames=0)
    assert "Fidelity against bytes" not in html
    assert "SSIM" not in html
    assert "nothing was compared" in html
    Reader(html)
    html = page(result("1", CT, compared=False), frames=0)
    assert "Image by image" not in html
    Reader(html)


def test_one_dataset_is_not_shown_twice():
    html = page(result("1", CT), result("2", CT))
    read = Reader(html)
    assert "Datasets" not in read.texts
    assert not read.named("input")
    assert html.count("Levels of") == 2  # the caption, and the name of the region


def test_more_datasets_than_can_be_told_apart():
    results = [result(str(number), Dataset(f"set {number:02}", "CT", False)) for number in range(STYLES + 4)]
    html = page(*results, result("x", Dataset("set 11", "CT", False)))
    read = Reader(html)
    assert len(read.named("input")) == STYLES
    assert "5 further datasets" in read.texts
    legend = read.texts[read.texts.index("Show:") :]
    assert legend.index("set 11, CT") < legend.index("set 00, CT")
    assert html.count(".plot .rest{display:none}") == 1
    assert html.count('<g class="rest">') == 5 * 2


def test_a_series_of_one_level_and_no_bytes():
    empty = SeriesResult("1", CT, 1, 1, 1, 1, "int16", 0, (LevelResult(0, 1, 1, 0, 1),))
    Reader(page(empty))


def test_damage_is_told():
    html = page(result("1.2.3", CT), result("4.5.6", CT, compared=False, error="part 0 does not match"))
    assert "part 0 does not match" in html
    assert "Damaged" in Reader(html).texts


def test_a_long_list_is_cut_short():
    html = page(*(result(f"1.{number}", CT) for number in range(250)))
    assert "the first 200 of 250; --csv writes all" in html
    assert "1.199" in html
    assert "1.200" not in html


def places(svg, kind):
    found = [element for element in svg.iter("path") if element.get("class") == kind]
    return [tuple(map(float, re.findall(r"-?[\d.]+", element.get("transform")))) for element in found]


def test_points_lie_where_they_should():
    points = [Point(1.0, 1.0, None, ""), Point(0.1, 0.8, 0.1, ""), Point(0.01, 0.6, None, "")]
    svg = curves([Line("a", 0, points)], x="x", y="y", top=1.0, label="l")
    (x0, y0), (x1, y1), (x2, y2) = places(svg, "point")
    assert x0 - x1 == pytest.approx(x1 - x2, abs=0.2)
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.2)
    assert y0 == WIDE.top
    assert WIDE.left < x2 < x0 < WIDE.width


@pytest.mark.parametrize("area", [SMALL, WIDE])
def test_a_strip_lies_on_its_own_axes(area):
    levels = [("1", Spread([0.9, 0.8])), ("2", Spread([0.5]))]
    svg = strip(levels, area, y="y", digits=2, top=1.0, label="")
    assert svg.get("viewBox") == f"0 0 {area.width:g} {area.height:g}"
    lines = list(svg.iter("line"))
    assert {float(line.get("x2")) for line in lines} == {area.width - area.right}
    assert float(lines[-1].get("y1")) == area.floor
    places_of_means = places(svg, "point")
    assert [x for x, _ in places_of_means] == pytest.approx(area.steps(2), abs=0.1)
    assert area.top < places_of_means[0][1] < places_of_means[1][1] <= area.floor
    assert len(list(svg.iter("circle"))) == 2


@pytest.mark.parametrize("seconds", [(1e-4, 1e-4), (0.02, 3e9), (5.0, 5.0), (59.0, 61.0)])
def test_times_of_any_length(seconds):
    svg = ladder(
        [Line("a", 0, [Point(n, y, None, "") for n, y in enumerate(seconds)])], "01", y="t", label=""
    )
    for x, y in places(svg, "point"):
        assert WIDE.top <= y <= WIDE.floor
        assert WIDE.left <= x <= WIDE.width


def test_bars_are_as_long_as_their_values():
    svg = bars([Bar("a", 400, ""), Bar("b", 100, ""), Bar("c", 0, "")], WIDE, label="")
    long, short, least = (float(found.get("width")) for found in svg.iter("rect"))
    assert long == pytest.approx(4 * short, abs=0.1)
    assert least > 0
