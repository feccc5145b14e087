"""Descriptions in TIFF files: what of them is needed to read the pixels, and nothing else."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from imarium.deid._words import words

_APERIO = re.compile(r"Aperio ")
_APERIO_KEYS = frozenset({"AppMag", "MPP", "StripeWidth", "Left", "Top", "OriginalWidth", "OriginalHeight"})
_NUMBER = re.compile(r"[0-9.eE+-]{1,24}\Z")
_IMAGEJ_KEYS = words("images channels slices frames hyperstack mode unit spacing loop min max finterval")
_PLAIN = re.compile(r"[A-Za-z0-9.+\\-]{0,24}\Z")
_SHAPED = re.compile(r'\{"shape": \[[\d, ]*\]\}\Z')
_OME = "{http://www.openmicroscopy.org/Schemas/OME/"
_OME_ELEMENTS = frozenset({"OME", "Image", "Pixels", "Channel", "TiffData", "Plane", "LightPath"})
_OME_ATTRIBUTES = words(
    "ID DimensionOrder Type SizeX SizeY SizeZ SizeC SizeT PhysicalSizeX PhysicalSizeY PhysicalSizeZ "
    "PhysicalSizeXUnit PhysicalSizeYUnit PhysicalSizeZUnit TimeIncrement TimeIncrementUnit BigEndian "
    "Interleaved "
    "SignificantBits SamplesPerPixel Color EmissionWavelength ExcitationWavelength EmissionWavelengthUnit "
    "ExcitationWavelengthUnit IFD FirstZ FirstC FirstT PlaneCount TheZ TheC TheT DeltaT ExposureTime "
    "PositionX PositionY PositionZ"
)
_OME_VALUE = re.compile(r"[A-Za-z0-9.:+µÅ_-]{0,40}\Z")


def is_label(text: str, subfile: int, *, tiled: bool) -> bool:
    """Whether a page of a slide shows its label or the slide as a whole, on which a label sticks."""
    if tiled or not _APERIO.match(text):
        return False
    lines = text.splitlines()
    kind = lines[1].split(" ", 1)[0].lower() if len(lines) > 1 else ""
    return kind in ("label", "macro") or subfile in (1, 9)


def cleaned_description(text: str) -> str | None:
    """What of a description may stay, never longer than it was; None if nothing may."""
    if _APERIO.match(text):
        return _aperio(text)
    if text.startswith("ImageJ="):
        return _imagej(text)
    if _SHAPED.match(text):
        return text
    if "<OME" in text[:4096]:
        return _ome(text)
    return None


def _aperio(text: str) -> str:
    head, *pairs = text.split("|")
    kept = ["Aperio Image Library"]
    geometry = re.search(r"\d+x\d+(?: \[\d+,\d+ \d+x\d+\])?(?: \(\d+x\d+\))?", head)
    if geometry:
        kept[0] += f"\r\n{geometry[0]}"
    for pair in pairs:
        key, _, value = (part.strip() for part in pair.partition("="))
        if key in _APERIO_KEYS and _NUMBER.match(value):
            kept.append(f"{key} = {value}")
    cleaned = "|".join(kept)
    return cleaned if len(cleaned) <= len(text) else ""


def _imagej(text: str) -> str:
    kept = []
    for number, line in enumerate(text.splitlines()):
        key, _, value = line.partition("=")
        if (number == 0 or key in _IMAGEJ_KEYS) and _PLAIN.match(value):
            kept.append(line)
    return "\n".join(kept) + "\n" if len("\n".join(kept)) < len(text) else "\n".join(kept)


def _ome(text: str) -> str | None:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        return None
    try:
        root = ElementTree.fromstring(text.encode())  # noqa: S314 - no document types, so no entities
    except (ElementTree.ParseError, ValueError, RecursionError):
        return None
    match = re.match(re.escape(_OME) + r"[0-9-]{1,12}\}OME\Z", root.tag)
    if match is None:
        return None
    space = root.tag[1:-4]
    _strip(root, f"{{{space}}}", 0)
    ElementTree.register_namespace("", space)
    cleaned = ElementTree.tostring(root, encoding="unicode")
    return cleaned if len(cleaned.encode()) <= len(text.encode()) else None


def _strip(element: ElementTree.Element, space: str, depth: int) -> None:
    element.text = element.tail = None
    for name in list(element.attrib):
        if name not in _OME_ATTRIBUTES or not _OME_VALUE.match(element.attrib[name]):
            del element.attrib[name]
    for child in list(element):
        known = child.tag.startswith(space) and child.tag[len(space) :] in _OME_ELEMENTS
        if known and depth < 8:
            _strip(child, space, depth + 1)
        else:
            element.remove(child)
