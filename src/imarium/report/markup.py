"""HTML and SVG as trees, so that every text is escaped."""

from __future__ import annotations

from xml.etree.ElementTree import Element, tostring

Child = Element | str | None


def tag(name: str, /, *children: Child, **attributes: object) -> Element:
    """An element. Attributes named like words of Python end in "_", and "_" stands for "-"; None is none."""
    element = Element(name)
    for key, value in attributes.items():
        if value is not None:
            element.set(key.rstrip("_").replace("_", "-"), _plain(value))
    for child in children:
        if isinstance(child, str):
            if len(element):
                element[-1].tail = (element[-1].tail or "") + child
            else:
                element.text = (element.text or "") + child
        elif child is not None:
            element.append(child)
    return element


def _plain(value: object) -> str:
    """Coordinates with as many digits as can be seen."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def document(root: Element) -> str:
    """A whole page."""
    return "<!doctype html>\n" + tostring(root, "unicode", "html") + "\n"
