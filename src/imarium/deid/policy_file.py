"""Reads policies from YAML; a mistake is refused with its line.

The file is data of an untrusted author: it is bounded, may hold no anchors, and is built by this module from
the parser's nodes, never by YAML's own constructors.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import yaml

import imarium.formats.dicom.guard  # isort: skip  # noqa: F401 - before anything that imports pydicom

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import tag_for_keyword

from imarium.deid.patterns import PATTERNS
from imarium.deid.policy import (
    Action,
    DateRules,
    Dates,
    Documents,
    Faces,
    Override,
    PixelRules,
    PixelText,
    Policy,
    PrivateRule,
    TextRules,
    Unlisted,
)
from imarium.deid.standard import CLEAN, RETAIN
from imarium.errors import PolicyError

MAXIMUM_BYTES = 1 << 18
_DEPTH = 8
_DAYS = 36_525
_TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),? ?([0-9A-Fa-f]{4})\)?\Z")
_PRIVATE = re.compile(r"\(?([0-9A-Fa-f]{3}[13579BbDdFf]),? ?xx([0-9A-Fa-f]{2})\)?\Z")
_PREFIX = re.compile(r"[A-Za-z0-9_-]{0,16}\Z")
_Choice = TypeVar("_Choice", bound=StrEnum)


def names() -> tuple[str, ...]:
    """The policies that come with Imarium."""
    folder = files("imarium.deid").joinpath("policies")
    return tuple(sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def load(name_or_path: str) -> Policy:
    """A policy by name, or from a file. Raises PolicyError."""
    return parse(text_of(name_or_path))


def text_of(name_or_path: str) -> str:
    """The YAML text of a policy, by name or from a file, not checked. Raises PolicyError."""
    if name_or_path in names():
        return files("imarium.deid").joinpath("policies", f"{name_or_path}.yaml").read_text(encoding="utf-8")
    path = Path(name_or_path)
    if not path.is_file():
        known = ", ".join(names())
        raise PolicyError(f"there is no policy or file {name_or_path!r}; policies are {known}")
    try:
        with path.open("rb") as file:
            return file.read(MAXIMUM_BYTES + 1).decode()
    except OSError as error:
        raise PolicyError(f"the policy cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PolicyError("a policy is UTF-8 text") from error


def parse(data: bytes | str) -> Policy:
    """A policy from YAML text. Raises PolicyError, with the line where it can be told."""
    if len(data) > MAXIMUM_BYTES:
        raise PolicyError(f"a policy has at most {MAXIMUM_BYTES} bytes")
    try:
        depth = 0
        for event in yaml.parse(data, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEPTH:
                raise PolicyError("nested too deeply", _line(event.start_mark))
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise PolicyError("anchors are not used in policies", _line(event.start_mark))
        node = yaml.compose(data, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise PolicyError(f"this is no YAML: {error.problem or error.context}", _line(mark)) from error
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError, ValueError) as error:
        raise PolicyError("this is no YAML that can be read") from error
    if node is None:
        raise PolicyError("the policy is empty", 1)
    return _policy(_Node(node, "the policy"))


@dataclass(frozen=True, slots=True)
class _Node:
    """A YAML node and what it is called in messages."""

    node: yaml.Node
    what: str

    def fail(self, message: str) -> PolicyError:
        return PolicyError(message, _line(self.node.start_mark))

    def mapping(self, known: Iterable[str] = ()) -> dict[str, tuple[_Node, _Node]]:
        """Key to (node of the key, node of the value); unknown and repeated keys are refused."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.fail(f"{self.what} is a mapping: name: value")
        names = tuple(known)
        found: dict[str, tuple[_Node, _Node]] = {}
        for key_node, value_node in self.node.value:
            key = _Node(key_node, "a name")
            text = key.text()
            if names and text not in names:
                raise key.fail(f"{self.what} has no {text!r}{_nearest(text, names)}")
            if text in found:
                raise key.fail(f"{text!r} is there twice")
            found[text] = (key, _Node(value_node, text))
        return found

    def items(self) -> list[_Node]:
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.fail(f"{self.what} is a list")
        return [_Node(item, f"an entry of {self.what}") for item in self.node.value]

    def text(self) -> str:
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.fail(f"{self.what} is a single value")
        return str(self.node.value)

    def whole(self, least: int, most: int) -> int:
        text = self.text()
        if not re.fullmatch(r"[+-]?\d{1,9}", text) or not least <= int(text) <= most:
            raise self.fail(f"{self.what} is a whole number from {least} to {most}, not {text!r}")
        return int(text)

    def choice(self, kind: type[_Choice]) -> _Choice:
        text = self.text()
        # YAML reads `off` as false; here the word itself counts.
        if text not in list(kind):
            raise self.fail(f"{self.what} is one of {', '.join(kind)}, not {text!r}{_nearest(text, kind)}")
        return kind(text)

    def some_of(self, known: Iterable[str]) -> tuple[str, ...]:
        names, chosen = tuple(known), []
        for item in self.items():
            text = item.text()
            if text not in names:
                raise item.fail(f"{self.what}: there is no {text!r}{_nearest(text, names)}")
            chosen.append(text)
        return tuple(chosen)


def _line(mark: Any) -> int | None:
    return None if mark is None else int(mark.line) + 1


def _nearest(text: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(text, [str(name) for name in known], n=1, cutoff=0.5)
    return f"; is it {near[0]!r}?" if near else ""


def _policy(root: _Node) -> Policy:
    parts = root.mapping(_PARTS)
    if "name" not in parts:
        raise root.fail("a policy has a name")
    given: dict[str, Any] = {_FIELDS.get(key, key): _PARTS[key](value) for key, (_, value) in parts.items()}
    return Policy(**given)


def _name(node: _Node) -> str:
    text = node.text()
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", text):
        raise node.fail("a name has up to 40 small letters, digits and hyphens")
    return text


def _dates(node: _Node) -> DateRules:
    parts = node.mapping(("mode", "days", "oldest-age"))
    mode = parts["mode"][1].choice(Dates) if "mode" in parts else Dates.REMOVE
    earliest, latest = DateRules().earliest, DateRules().latest
    if "days" in parts:
        key, bounds = parts["days"]
        items = bounds.items()
        if mode is not Dates.SHIFT:
            raise key.fail("days are for mode: shift")
        if len(items) != 2:
            raise bounds.fail("days are [earliest, latest], like [-3650, -30]")
        earliest, latest = (item.whole(-_DAYS, _DAYS) for item in items)
        if latest - earliest < 1 or (latest - earliest < 2 and earliest <= 0 <= latest):
            raise bounds.fail("days leave fewer than two shifts to choose from")
    oldest = parts["oldest-age"][1].whole(0, 150) if "oldest-age" in parts else DateRules().oldest_age
    return DateRules(mode, earliest, latest, oldest)


def _tag(node: _Node) -> int:
    text = node.text()
    match = _TAG.match(text)
    if match is not None:
        tag = int(match[1] + match[2], 16)
        if tag >> 16 & 1:
            raise node.fail("private attributes are named under `private`, with their creator")
    else:
        named = tag_for_keyword(text)
        tag = -1 if named is None else named
    if tag >> 16 == 2:
        raise node.fail("file meta information is always written anew")
    if tag < 0:
        keywords = (entry[4] for entry in DicomDictionary.values())
        raise node.fail(f"DICOM has no attribute {text!r}{_nearest(text, keywords)}")
    return tag


_ALWAYS = {0x00080016: "SOP Class UID", 0x00080005: "Specific Character Set"}


def _attributes(node: _Node) -> Mapping[int, Override]:
    found: dict[int, Override] = {}
    for key, value in node.mapping().values():
        tag = _tag(key)
        if tag in _ALWAYS:
            raise key.fail(f"{_ALWAYS[tag]} is needed to read the object and cannot be changed")
        if tag in found:
            raise key.fail("the attribute is there twice, by keyword and by tag")
        if isinstance(value.node, yaml.MappingNode):
            ((_, replaced),) = value.mapping(("replace",)).values() or ((value, None),)
            if replaced is None:
                raise value.fail("a value is missing: {replace: VALUE}")
            found[tag] = Override(Action.REPLACE, replaced.text())
        else:
            action = value.choice(Action)
            if action is Action.REPLACE:
                raise value.fail("write {replace: VALUE}")
            found[tag] = Override(action)
    return found


def _private(node: _Node) -> tuple[PrivateRule, ...]:
    rules = []
    for item in node.items():
        parts = item.mapping(("creator", "element", "action"))
        for needed in ("creator", "element"):
            if needed not in parts:
                raise item.fail(f"a private attribute has a {needed}")
        element = parts["element"][1]
        match = _PRIVATE.match(element.text())
        if match is None:
            raise element.fail("a private element is written like 0029,xx10, with an odd group")
        action = parts["action"][1].choice(Action) if "action" in parts else Action.CLEAN
        if action not in (Action.KEEP, Action.CLEAN, Action.REMOVE):
            raise parts["action"][1].fail("private attributes are kept, cleaned or removed")
        creator = parts["creator"][1].text().strip()
        rules.append(PrivateRule(int(match[1], 16), creator, int(match[2], 16), action))
    return tuple(rules)


def _text(node: _Node) -> TextRules:
    parts = node.mapping(("replacement", "patterns", "words"))
    given: dict[str, Any] = {}
    if "replacement" in parts:
        value = parts["replacement"][1]
        given["replacement"] = value.text()
        if not re.fullmatch(r"[ -\[\]-~]{0,16}", value.text()):
            raise value.fail("a replacement has up to 16 printable ASCII characters and no backslash")
    if "patterns" in parts:
        given["patterns"] = parts["patterns"][1].some_of(PATTERNS)
    if "words" in parts:
        words = parts["words"][1]
        given["words"] = tuple(item.text().strip() for item in words.items())
        if any(len(word) < 2 for word in given["words"]):
            raise words.fail("words have two letters or more")
    return TextRules(**given)


def _pixels(node: _Node) -> PixelRules:
    parts = node.mapping(("text", "faces"))
    return PixelRules(
        parts["text"][1].choice(PixelText) if "text" in parts else PixelText.OFF,
        parts["faces"][1].choice(Faces) if "faces" in parts else Faces.KEEP,
    )


def _prefix(node: _Node) -> str:
    if not _PREFIX.match(node.text()):
        raise node.fail("a prefix has up to 16 letters, digits, hyphens and underscores")
    return node.text()


_PARTS: Mapping[str, Callable[[_Node], object]] = {
    "name": _name,
    "about": _Node.text,
    "retain": lambda node: frozenset(node.some_of(RETAIN)),
    "clean": lambda node: frozenset(node.some_of(CLEAN)),
    "dates": _dates,
    "unlisted": lambda node: node.choice(Unlisted),
    "documents": lambda node: node.choice(Documents),
    "attributes": _attributes,
    "private": _private,
    "text": _text,
    "pixels": _pixels,
    "pseudonym-prefix": _prefix,
}
_FIELDS = {"pseudonym-prefix": "prefix"}
