"""What only a server's catalog can tell: searches, counts, and selections that a user keeps there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

from imarium.model import Selection

Ask = Callable[..., dict[str, Any]]
_PAGE = 500


class Searches:
    """Asks a server."""

    def __init__(self, ask: Ask) -> None:
        """`ask` sends a request and gives the JSON of the answer."""
        self._ask = ask

    def find(self, query: str, order: str, limit: int | None) -> Iterator[dict[str, Any]]:
        """Facts of the series that meet a query, page by page; at most `limit`."""
        cursor: str | None = None
        left = limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            body = {"query": query, "order": order, "limit": size, "cursor": cursor}
            page = self._ask("POST", "/search", json=body)
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return
            left = None if left is None else left - len(page["items"])

    def facets(self, query: str, names: Sequence[str], most: int) -> dict[str, Any]:
        """How many series meet a query, and how many of them have which values."""
        return self._ask("GET", "/facets", params={"q": query, "names": list(names), "most": most})

    def attributes(self) -> list[dict[str, Any]]:
        """What can be asked for."""
        return list(self._ask("GET", "/attributes")["items"])

    def saved(self) -> dict[str, Selection]:
        """All selections that the user keeps, by name."""
        items = self._ask("GET", "/saved")["items"]
        return {item["name"]: Selection.from_json(item["selection"]) for item in items}

    def get_saved(self, name: str) -> Selection:
        """One of them."""
        return _selection(self._ask("GET", address_of(name)))

    def save(self, name: str, selection: Selection) -> Selection:
        """Keep one."""
        return _selection(self._ask("PUT", address_of(name), json=selection.to_json()))

    def change_saved(self, name: str, add: Iterable[str], remove: Iterable[str]) -> Selection:
        """Put series into a list, and take others out."""
        body = {"add": list(add), "remove": list(remove)}
        return _selection(self._ask("POST", f"{address_of(name)}/series", json=body))


def address_of(name: str) -> str:
    """Of a kept selection."""
    return f"/saved/{quote(name, safe='')}"


def _selection(item: dict[str, Any]) -> Selection:
    return Selection.from_json(item["selection"])
