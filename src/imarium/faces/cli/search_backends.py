"""Searches and kept selections, of a home folder in this process or of a server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from imarium.access.accounts import ADMINISTRATOR
from imarium.archive import Archive
from imarium.catalog.search.paging import Order
from imarium.client import Client
from imarium.model import Selection
from imarium.model.query_parser import parse
from imarium.streaming import describe

_PAGE = 500


class SearchBackend(Protocol):
    """What the commands that search need, wherever they act."""

    def find(self, query: str, order: str, limit: int | None) -> Iterator[dict[str, Any]]:
        """Facts of the series that meet a query."""

    def facets(self, query: str, names: Sequence[str], most: int) -> dict[str, Any]:
        """`total` and `facets` of a query."""

    def attributes(self) -> list[dict[str, Any]]:
        """What can be asked for."""

    def saved(self) -> dict[str, Selection]:
        """All kept selections."""

    def get_saved(self, name: str) -> Selection:
        """One of them."""

    def save(self, name: str, selection: Selection) -> Selection:
        """Keep one."""

    def change_saved(self, name: str, add: Iterable[str], remove: Iterable[str]) -> Selection:
        """Change the series of one."""

    def remove_saved(self, name: str) -> None:
        """Forget one."""


class LocalSearch:
    """In a home folder, whose owner is its administrator."""

    def __init__(self, archive: Archive) -> None:
        self._catalog = archive.catalog

    def find(self, query: str, order: str, limit: int | None) -> Iterator[dict[str, Any]]:
        """Facts of series, page by page."""
        node, cursor, left = parse(query), None, limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            found = self._catalog.searching.search(node, order=Order(order), limit=size, after=cursor)
            yield from map(describe, found.records)
            cursor = found.next
            if cursor is None:
                return
            left = None if left is None else left - len(found.records)

    def facets(self, query: str, names: Sequence[str], most: int) -> dict[str, Any]:
        """Counts."""
        total, facets = self._catalog.searching.facets(parse(query), names, most_values=most)
        items = {
            name: [{"value": item.value, "count": item.count, "query": item.query} for item in values]
            for name, values in facets.items()
        }
        return {"total": total, "facets": items}

    def attributes(self) -> list[dict[str, Any]]:
        """What can be asked for."""
        return [
            {
                "name": item.name,
                "kind": str(item.kind),
                "meaning": item.meaning,
                "aliases": list(item.aliases),
                "facet": item.facet,
            }
            for item in self._catalog.searching.attributes()
        ]

    def saved(self) -> dict[str, Selection]:
        """All kept selections."""
        return {record.name: record.selection for record in self._catalog.saving.list(ADMINISTRATOR)}

    def get_saved(self, name: str) -> Selection:
        """One of them."""
        return self._catalog.saving.get(ADMINISTRATOR, name).selection

    def save(self, name: str, selection: Selection) -> Selection:
        """Keep one."""
        return self._catalog.saving.save(ADMINISTRATOR, name, selection).selection

    def change_saved(self, name: str, add: Iterable[str], remove: Iterable[str]) -> Selection:
        """Change the series of one."""
        return self._catalog.saving.change(ADMINISTRATOR, name, list(add), list(remove)).selection

    def remove_saved(self, name: str) -> None:
        """Forget one."""
        self._catalog.saving.remove(ADMINISTRATOR, name)


class RemoteSearch:
    """On a server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def find(self, query: str, order: str, limit: int | None) -> Iterator[dict[str, Any]]:
        """Facts of series, page by page."""
        return self._client.find(query, order=order, limit=limit)

    def facets(self, query: str, names: Sequence[str], most: int) -> dict[str, Any]:
        """Counts."""
        return self._client.facets(query, names, most=most)

    def attributes(self) -> list[dict[str, Any]]:
        """What can be asked for."""
        return self._client.attributes()

    def saved(self) -> dict[str, Selection]:
        """All kept selections."""
        return self._client.list_saved()

    def get_saved(self, name: str) -> Selection:
        """One of them."""
        return self._client.saved(name)

    def save(self, name: str, selection: Selection) -> Selection:
        """Keep one."""
        return self._client.save(name, selection)

    def change_saved(self, name: str, add: Iterable[str], remove: Iterable[str]) -> Selection:
        """Change the series of one."""
        return self._client.change_saved(name, add, remove)

    def remove_saved(self, name: str) -> None:
        """Forget one."""
        self._client.remove_saved(name)
