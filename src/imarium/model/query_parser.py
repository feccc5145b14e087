"""Reads queries of people.

    query  = either ("OR" either)*           either = factor ("AND"? factor)*
    factor = ("NOT" | "-") factor | "(" query ")" | term
    term   = key ":" test ("," test)*  |  value "*"?
    test   = "*" | ("=" | ">" | ">=" | "<" | "<=")? value "*"?  |  value? ".." value?
    value  = a word without special characters, or anything in double quotes (\\" and \\\\ in it)

Words stand for themselves: `ground glass` wants both, `"ground glass"` in a row. AND, OR and NOT are in
capitals.
"""

from __future__ import annotations

from imarium.errors import QuerySyntaxError
from imarium.model.query import (
    EVERYTHING,
    KEY,
    MOST_CHARACTERS,
    MOST_DEPTH,
    MOST_NODES,
    MOST_VALUES,
    OPERATORS,
    And,
    Between,
    Compare,
    Is,
    Node,
    Not,
    Or,
    Present,
    Term,
    Test,
    Text,
    checked_text,
    checked_value,
    too_much,
)

_SPECIAL = '()"'
_ENDS_VALUE = '()",*'


def parse(text: str) -> Node:
    """The tree of a query; an empty one means every series. Raises QuerySyntaxError with its position."""
    if len(text) > MOST_CHARACTERS:
        raise too_much(MOST_CHARACTERS)
    return _Parser(text).query()


class _Parser:
    """Reads a text from the left; each method takes what it is named after."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._nodes = text, 0, 0

    def query(self) -> Node:
        self._space()
        if self._at == len(self._text):
            return EVERYTHING
        node = self._either(0)
        if self._at < len(self._text):
            raise self._error("this parenthesis was not opened")
        return node

    def _either(self, depth: int) -> Node:
        items = [self._all(depth)]
        while self._keyword("OR"):
            items.append(self._all(depth))
        return items[0] if len(items) == 1 else Or(tuple(items))

    def _all(self, depth: int) -> Node:
        items = [self._factor(depth)]
        while True:
            if self._keyword("AND") or (
                self._at < len(self._text) and not self._peek(")") and not self._sees("OR")
            ):
                items.append(self._factor(depth))
            else:
                return items[0] if len(items) == 1 else And(tuple(items))

    def _factor(self, depth: int) -> Node:
        self._nodes += 1
        if self._nodes > MOST_NODES or depth > MOST_DEPTH:
            raise too_much(self._at)
        if self._keyword("NOT"):
            return Not(self._factor(depth + 1))
        if self._at == len(self._text):
            raise self._error("something to look for is missing here")
        if self._sees("AND") or self._sees("OR"):
            raise self._error('something to look for is missing here; the word itself goes in quotes: "OR"')
        if self._peek("-"):
            self._at += 1
            if self._at == len(self._text) or self._text[self._at].isspace():
                raise self._error("a minus stands right before what it excludes")
            return Not(self._factor(depth + 1))
        if self._peek("("):
            return self._group(depth)
        node = self._term()
        self._space()
        return node

    def _group(self, depth: int) -> Node:
        opened = self._at
        self._at += 1
        self._space()
        if self._peek(")"):
            raise self._error("there is nothing between these parentheses", opened)
        node = self._either(depth + 1)
        if not self._peek(")"):
            raise self._error("this parenthesis is not closed", opened)
        self._at += 1
        self._space()
        return node

    def _term(self) -> Node:
        start = self._at
        if self._peek(")"):
            raise self._error("something to look for is missing before this parenthesis")
        key = KEY.match(self._text, start)
        if key is not None and self._text[key.end() : key.end() + 1] == ":":
            self._at = key.end() + 1
            return Term(key[0], self._tests(), start)
        value = self._quoted() if self._peek('"') else self._run(_SPECIAL + "*")
        prefix = self._star()
        self._ended(start)
        return Text(checked_text(value, start), prefix)

    def _tests(self) -> tuple[Test, ...]:
        found = [self._test()]
        while self._peek(","):
            self._at += 1
            found.append(self._test())
            if len(found) > MOST_VALUES:
                raise self._error(f"these are more than {MOST_VALUES} values")
        self._ended(self._at)
        return tuple(found)

    def _test(self) -> Test:
        start = self._at
        if self._star():
            return Present()
        for operator in OPERATORS:
            if self._text.startswith(operator, start):
                self._at += len(operator)
                return Compare(operator, self._value())
        if self._peek("="):
            self._at += 1
            value = self._value()
            return Is(value, exact=True, prefix=self._star())
        low = None if self._text.startswith("..", start) else self._value()
        if not self._text.startswith("..", self._at):
            assert low is not None
            return Is(low, prefix=self._star())
        self._at += 2
        bounded = self._at < len(self._text) and not self._text[self._at].isspace()
        high = self._value() if bounded and self._text[self._at] not in "(),*" else None
        if low is None and high is None:
            raise self._error("a range needs a bound: 2019.., ..2021 or 2019..2021", start)
        return Between(low, high)

    def _value(self) -> str:
        start = self._at
        value = self._quoted() if self._peek('"') else self._run(_ENDS_VALUE, ends_at_range=True)
        if not value:
            raise self._error("a value is missing here, right after what comes before it")
        return checked_value(value, start)

    def _run(self, ends: str, *, ends_at_range: bool = False) -> str:
        start = at = self._at
        while at < len(self._text) and not self._text[at].isspace() and self._text[at] not in ends:
            if ends_at_range and self._text.startswith("..", at):
                break
            at += 1
        self._at = at
        return self._text[start:at]

    def _quoted(self) -> str:
        start = self._at
        found: list[str] = []
        at = start + 1
        while at < len(self._text):
            character = self._text[at]
            if character == '"':
                self._at = at + 1
                return "".join(found)
            if character == "\\" and self._text[at + 1 : at + 2] in ("\\", '"'):
                at += 1
                character = self._text[at]
            found.append(character)
            at += 1
        raise self._error("this quote has no end", start)

    def _star(self) -> bool:
        if not self._peek("*"):
            return False
        self._at += 1
        return True

    def _ended(self, start: int) -> None:
        """After a term comes a space, a parenthesis or nothing."""
        rest = self._text[self._at : self._at + 1]
        if rest and not rest.isspace() and rest not in "()":
            where = max(start, self._at)
            raise self._error("a space is missing here, or quotes around what belongs together", where)

    def _peek(self, character: str) -> bool:
        return self._text.startswith(character, self._at)

    def _sees(self, word: str) -> bool:
        if not self._text.startswith(word, self._at):
            return False
        after = self._text[self._at + len(word) : self._at + len(word) + 1]
        return not after or after.isspace() or after in '()"'

    def _keyword(self, word: str) -> bool:
        if not self._sees(word):
            return False
        self._at += len(word)
        self._space()
        return True

    def _space(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _error(self, message: str, position: int | None = None) -> QuerySyntaxError:
        return QuerySyntaxError(message, self._at if position is None else position)
