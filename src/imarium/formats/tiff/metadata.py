"""What the descriptions in TIFF files say of axes and sizes: OME-XML, ImageJ, tifffile's shapes, Aperio.

All of it is a hint by other people's software: what does not fit the pages is not used, and said so.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

DESCRIPTION_BYTES = 16 << 20
"""Longest description that is looked into."""

_LENGTHS = {
    "pm": 1e-9, "Å": 1e-7, "angstrom": 1e-7, "nm": 1e-6, "nanometer": 1e-6,
    "µm": 1e-3, "μm": 1e-3, "um": 1e-3, "micron": 1e-3, "microns": 1e-3, "micrometer": 1e-3, "\\u00b5m": 1e-3,
    "mm": 1.0, "millimeter": 1.0, "cm": 10.0, "centimeter": 10.0, "dm": 100.0, "m": 1e3, "meter": 1e3,
    "in": 25.4, "inch": 25.4,
}  # fmt: skip
"""Millimetres of a unit. Pixels and reference frames are none."""
_TIMES = {
    "ns": 1e-9,
    "µs": 1e-6,
    "μs": 1e-6,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "min": 60.0,
    "h": 3600.0,
}
_ORDER = re.compile(r"XY[ZCT]{3}")
_APERIO = re.compile(r"(?:^|\|)\s*MPP\s*=\s*([0-9.eE+-]{1,24})\s*(?:\||$)")


@dataclass(frozen=True, slots=True)
class Spacing:
    """Millimetres of a pixel, and seconds between times; None where nothing is said."""

    column: float | None = None
    row: float | None = None
    slice: float | None = None
    time: float | None = None


@dataclass(frozen=True, slots=True)
class Axes:
    """How planes follow one another: the lengths of times, channels and slices, and the order of the file."""

    times: int = 1
    channels: int = 1
    slices: int = 1
    order: str = "CZT"
    """Fastest first."""

    @property
    def planes(self) -> int:
        """How many planes that makes."""
        return self.times * self.channels * self.slices

    def place(self, time: int, channel: int, slice_: int) -> int:
        """The number of a plane in the file's order."""
        position, step = 0, 1
        at = {"T": (time, self.times), "C": (channel, self.channels), "Z": (slice_, self.slices)}
        for axis in self.order:
            index, length = at[axis]
            position += index * step
            step *= length
        return position

    @property
    def dimensions(self) -> tuple[int, ...]:
        """(times, channels, slices) without those of length one; (1,) if that is all of them."""
        return tuple(length for length in (self.times, self.channels, self.slices) if length > 1) or (1,)

    def planes_in_order(self) -> list[int]:
        """Numbers of the planes in the file's order, for slices within channels within times."""
        return [
            self.place(time, channel, slice_)
            for time in range(self.times)
            for channel in range(self.channels)
            for slice_ in range(self.slices)
        ]


@dataclass(slots=True)
class OmeImage:
    """One Image of OME-XML (schema 2016-06)."""

    pixels: Mapping[str, str]
    samples: int = 1
    """SamplesPerPixel of the first channel."""
    data: list[Mapping[str, str]] = field(default_factory=list)
    """TiffData elements."""
    files: set[str] = field(default_factory=set)
    """UUIDs of the files that hold planes."""

    def axes(self) -> Axes | None:
        """The axes, if they make sense."""
        order = self.pixels.get("DimensionOrder", "")
        sizes = [whole(self.pixels.get(f"Size{axis}", "")) for axis in "TCZ"]
        if not _ORDER.fullmatch(order) or len(set(order)) != 5 or any(not size for size in sizes):
            return None
        times, channels, slices = (size or 1 for size in sizes)
        return Axes(times, max(1, channels // max(1, self.samples)), slices, order[2:])

    def pages(self, axes: Axes, pages: int) -> list[int] | None:
        """For each plane, in the file's order, the number of its page; None if that is not clear."""
        found: dict[int, int] = {}
        for element in self.data or [{}]:
            first = whole(element.get("IFD", "0"))
            given = element.get("PlaneCount")
            count = whole(given) if given is not None else 1 if "IFD" in element else axes.planes
            at = [whole(element.get(f"First{axis}", "0")) for axis in "TCZ"]
            if first is None or count is None or None in at or count > pages or first + count > pages:
                return None
            time, channel, slice_ = (value or 0 for value in at)
            start = axes.place(time, channel, slice_)
            found.update((start + step, first + step) for step in range(count))
        if sorted(found) != list(range(axes.planes)) or len(set(found.values())) != axes.planes:
            return None
        return [found[plane] for plane in range(axes.planes)]

    def spacing(self) -> Spacing:
        """Physical sizes; micrometres are the unit if none is given."""

        def length(axis: str) -> float | None:
            unit = _LENGTHS.get(self.pixels.get(f"PhysicalSize{axis}Unit", "µm"))
            value = positive(self.pixels.get(f"PhysicalSize{axis}", ""))
            return value * unit if value is not None and unit is not None else None

        unit = _TIMES.get(self.pixels.get("TimeIncrementUnit", "s"))
        step = positive(self.pixels.get("TimeIncrement", ""))
        seconds = step * unit if step is not None and unit is not None else math.inf
        return Spacing(length("X"), length("Y"), length("Z"), seconds if math.isfinite(seconds) else None)


def whole(text: str) -> int | None:
    """A number without sign of up to nine digits, or None."""
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None


def positive(text: str) -> float | None:
    """A finite number above zero, or None."""
    try:
        value = float(text[:64])
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


class _Refused(Exception):  # noqa: N818 - not an error of the program: stops the parser
    """The XML declares entities, which could grow without end."""


def ome_images(description: str) -> list[OmeImage] | None:
    """The images of OME-XML; None if it is not OME-XML, or not well-formed, or declares entities."""
    start = description.lstrip()[:512]
    if not start.startswith("<") or "<OME" not in description[:4096] or len(description) > DESCRIPTION_BYTES:
        return None
    images: list[OmeImage] = []
    inside: list[str] = []
    text: list[str] = []

    def opened(name: str, attributes: dict[str, str]) -> None:
        kind = name.rsplit(":", 1)[-1]
        inside.append(kind)
        if len(inside) > 64:
            raise _Refused
        if kind == "Pixels" and len(images) < 1024:
            images.append(OmeImage(attributes))
        elif not images:
            return
        elif kind == "Channel" and "Pixels" in inside and images[-1].samples == 1:
            images[-1].samples = whole(attributes.get("SamplesPerPixel", "1")) or 1
        elif kind == "TiffData":
            images[-1].data.append(attributes)
        elif kind == "UUID":
            text.clear()

    def closed(_name: str) -> None:
        if inside.pop() == "UUID" and images:
            images[-1].files.add("".join(text)[:64])

    def characters(data: str) -> None:
        if inside and inside[-1] == "UUID" and len(text) < 64:
            text.append(data)

    def refused(*_arguments: Any) -> None:
        raise _Refused

    # What it is given is UTF-8, whatever the text says of its encoding.
    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler, parser.EndElementHandler = opened, closed
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refused
    try:
        parser.Parse(description.encode("utf-8", "replace"), True)
    except (expat.ExpatError, _Refused, ValueError):
        return None
    return images


def imagej_axes(description: str) -> tuple[Axes, Callable[[float | None, float | None], Spacing]] | None:
    """Axes of ImageJ's description, and how pixels a unit (column, row) become a spacing; else None."""
    if not description.startswith("ImageJ="):
        return None
    lines = (line.split("=", 1) for line in description[:65536].splitlines() if "=" in line)
    said = {key.strip(): value.strip() for key, value in lines}
    sizes = {name: whole(said.get(name, "1")) or 1 for name in ("images", "channels", "slices", "frames")}
    axes = Axes(sizes["frames"], sizes["channels"], sizes["slices"], "CZT")
    if axes.planes != sizes["images"]:
        axes = Axes(slices=sizes["images"])
    unit = _LENGTHS.get(said.get("unit", "").lower())
    between = positive(said.get("spacing", ""))
    step = positive(said.get("finterval", ""))

    def spacing(columns: float | None, rows: float | None) -> Spacing:
        if unit is None:
            return Spacing(time=step)
        return Spacing(
            unit / columns if columns else None,
            unit / rows if rows else None,
            between * unit if between is not None else None,
            step,
        )

    return axes, spacing


def stated_shape(description: str) -> tuple[int, ...] | None:
    """The shape that tifffile wrote as JSON, {"shape": [...]}; None if there is none."""
    if not description.startswith('{"shape":') or len(description) > 65536:
        return None
    try:
        shape = json.loads(description).get("shape")
    except (ValueError, RecursionError):
        return None
    if not isinstance(shape, list) or not 2 <= len(shape) <= 16:
        return None
    return tuple(shape) if all(type(size) is int and 0 < size < 1 << 31 for size in shape) else None


def aperio_spacing(description: str) -> Spacing:
    """Micrometres a pixel (MPP) of an Aperio slide's description."""
    found = _APERIO.search(description[:65536]) if description.startswith("Aperio") else None
    value = positive(found.group(1)) if found else None
    return Spacing() if value is None else Spacing(value / 1000, value / 1000)


def aperio_role(description: str) -> str | None:
    """label or macro, for the pictures of an Aperio slide that are not the slide; None for others."""
    if not description.startswith("Aperio"):
        return None
    second = description[:65536].split("\n")[1:2]
    return next((word for word in ("label", "macro") for line in second if line.startswith(word)), None)
