"""Queries as trees: what people ask of the catalog, without saying how it is found.

`query_parser.parse` reads the text of people; `str` of a node writes it again, and `to_json` and `from_json`
are the same for programs. Nothing here knows which attributes there are (`query_fields`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from imarium.errors import QuerySyntaxError
from imarium.model.labels import is_text
from imarium.model.words import words

MOST_CHARACTERS = 4000
"""Of a query's text."""
MOST_NODES = 200
"""Terms, and lists of them, in one query."""
MOST_DEPTH = 24
"""Parentheses and negations in one another."""
MOST_VALUES = 200
"""Values of one term (`modality:CT,MR` has two)."""
KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,79}")
OPERATORS = (">=", "<=", ">", "<")

_BARE = re.compile(r"[^\s()\",*\\<>=:.-][^\s()\",*\\:]*")
_KEYWORDS = ("AND", "OR", "NOT")


@dataclass(frozen=True, slots=True)
class Is:
    """The words of a value occur in a row; with `exact`, it is the whole value. Numbers are equal to it."""

    value: str
    exact: bool = False
    prefix: bool = False
    """The last word, or the value as a whole if `exact`, is only the beginning of one."""

    def __str__(self) -> str:
        return ("=" if self.exact else "") + quoted(self.value) + ("*" if self.prefix else "")


@dataclass(frozen=True, slots=True)
class Compare:
    """Beyond a value: `operator` is >, >=, < or <=."""

    operator: str
    value: str

    def __str__(self) -> str:
        return self.operator + quoted(self.value)


@dataclass(frozen=True, slots=True)
class Between:
    """From a value to another, both among them; None is no bound."""

    low: str | None
    high: str | None

    def __str__(self) -> str:
        return "..".join("" if value is None else quoted(value) for value in (self.low, self.high))


@dataclass(frozen=True, slots=True)
class Present:
    """There is a value, whichever."""

    def __str__(self) -> str:
        return "*"


Test: TypeAlias = Is | Compare | Between | Present


@dataclass(frozen=True, slots=True)
class Term:
    """An attribute meets one of several tests."""

    key: str
    tests: tuple[Test, ...]
    position: int | None = field(default=None, compare=False)
    """Characters before it in the text that it was read from."""

    def __str__(self) -> str:
        return f"{self.key}:{','.join(map(str, self.tests))}"


@dataclass(frozen=True, slots=True)
class Text:
    """Words that occur in a row in one of the texts of a series."""

    value: str
    prefix: bool = False
    """The last word is only the beginning of one."""

    def __str__(self) -> str:
        text = quoted(self.value)
        if text in _KEYWORDS:
            text = f'"{text}"'
        return text + ("*" if self.prefix else "")


@dataclass(frozen=True, slots=True)
class Not:
    """All but those."""

    node: Node

    def __str__(self) -> str:
        return f"-{_inner(self.node)}"


@dataclass(frozen=True, slots=True)
class And:
    """Those that meet all; without items: every series."""

    items: tuple[Node, ...] = ()

    def __str__(self) -> str:
        return " ".join(map(_inner, self.items))


@dataclass(frozen=True, slots=True)
class Or:
    """Those that meet one at least."""

    items: tuple[Node, ...]

    def __str__(self) -> str:
        return " OR ".join(map(_inner, self.items))


Node: TypeAlias = Term | Text | Not | And | Or

EVERYTHING = And()


def terms(node: Node) -> Iterator[Term | Text]:
    """All leaves, from the left."""
    match node:
        case Not():
            yield from terms(node.node)
        case And() | Or():
            for item in node.items:
                yield from terms(item)
        case _:
            yield node


def quoted(value: str) -> str:
    """A value as the parser reads it: as it is, or in quotes where it could mean something else."""
    if _BARE.fullmatch(value) and ".." not in value and not value.endswith("."):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _inner(node: Node) -> str:
    return f"({node})" if isinstance(node, And | Or) else str(node)


def to_json(node: Node) -> dict[str, Any]:
    """JSON-able values: {"and": [...]}, {"or": [...]}, {"not": ...}, {"text": "...", "prefix": true}, or
    {"key": "age", "tests": [{"op": ">", "value": "60"}]}.

    A test's `op` is one of is, exact, >, >=, <, <=, between (with `low` and `high`) and present.
    """
    match node:
        case And():
            return {"and": [to_json(item) for item in node.items]}
        case Or():
            return {"or": [to_json(item) for item in node.items]}
        case Not():
            return {"not": to_json(node.node)}
        case Text():
            return {"text": node.value} | ({"prefix": True} if node.prefix else {})
        case Term():
            return {"key": node.key, "tests": [_test_to_json(test) for test in node.tests]}


def _test_to_json(test: Test) -> dict[str, Any]:
    match test:
        case Is():
            prefix = {"prefix": True} if test.prefix else {}
            return {"op": "exact" if test.exact else "is", "value": test.value} | prefix
        case Compare():
            return {"op": test.operator, "value": test.value}
        case Between():
            return {"op": "between", "low": test.low, "high": test.high}
        case Present():
            return {"op": "present"}


def from_json(data: Any) -> Node:
    """The inverse of `to_json`; a number may stand for a value. Raises QuerySyntaxError for anything else."""
    return _Reader().node(data, 0)


class _Reader:
    """Reads JSON, and counts what it makes."""

    def __init__(self) -> None:
        self._nodes = 0

    def node(self, data: Any, depth: int) -> Node:
        self._nodes += 1
        if self._nodes > MOST_NODES or depth > MOST_DEPTH:
            raise too_much()
        if not isinstance(data, dict):
            raise QuerySyntaxError("a query is a JSON object with and, or, not, text or key")
        match data:
            case {"and": list(found), **rest} if not rest and (found or depth == 0):
                items = tuple(self.node(item, depth + 1) for item in found)
                return items[0] if len(items) == 1 else And(items)
            case {"or": list(found), **rest} if not rest and found:
                items = tuple(self.node(item, depth + 1) for item in found)
                return items[0] if len(items) == 1 else Or(items)
            case {"not": inner, **rest} if not rest:
                return Not(self.node(inner, depth + 1))
            case {"text": str(value), **rest} if _flag(rest):
                return Text(checked_text(value), rest.get("prefix", False))
            case {"key": str(key), "tests": list(found), **rest} if not rest:
                if KEY.fullmatch(key) is None or not 1 <= len(found) <= MOST_VALUES:
                    raise QuerySyntaxError(
                        f"a term has the name of an attribute and 1 to {MOST_VALUES} tests"
                    )
                return Term(key, tuple(_test_from_json(test) for test in found))
        raise QuerySyntaxError("a part of the query has unknown keys, or values of another type")


def _flag(rest: Mapping[Any, Any]) -> bool:
    return not rest or (rest.keys() == {"prefix"} and isinstance(rest["prefix"], bool))


def _test_from_json(data: Any) -> Test:
    match data:
        case {"op": "is" | "exact" as kind, "value": value, **rest} if _flag(rest):
            return Is(_value(value), kind == "exact", bool(rest.get("prefix")))
        case {"op": str(operator), "value": value, **rest} if operator in OPERATORS and not rest:
            return Compare(operator, _value(value))
        case {"op": "between", **rest} if rest and rest.keys() <= {"low", "high"}:
            low, high = (None if rest.get(name) is None else _value(rest[name]) for name in ("low", "high"))
            if low is None and high is None:
                raise QuerySyntaxError("a range needs a bound")
            return Between(low, high)
        case {"op": "present", **rest} if not rest:
            return Present()
    raise QuerySyntaxError("a test is like {'op': 'is', 'value': 'CT'}; see the guide for all of them")


def _value(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
        value = repr(value)
    if not isinstance(value, str):
        raise QuerySyntaxError("the value of a test is a text or a number")
    return checked_value(value)


def checked_value(value: str, position: int | None = None) -> str:
    """A value that may be compared; raises QuerySyntaxError."""
    if not 1 <= len(value) <= MOST_CHARACTERS or not is_text(value):
        raise QuerySyntaxError("a value is empty, too long or has control characters", position)
    return value


def checked_text(value: str, position: int | None = None) -> str:
    """A text that may be looked for; raises QuerySyntaxError."""
    checked_value(value, position)
    if not words(value):
        raise QuerySyntaxError("there is no letter and no digit to look for", position)
    return value


def too_much(position: int | None = None) -> QuerySyntaxError:
    """The answer to a query beyond the bounds."""
    return QuerySyntaxError(
        f"the query is too large: at most {MOST_NODES} terms, {MOST_DEPTH} of them in one another, "
        f"and {MOST_CHARACTERS} characters",
        position,
    )
