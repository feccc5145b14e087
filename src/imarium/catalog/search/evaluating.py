"""Which series meet a query: its terms one by one, put together as it says."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import numpy as np
from sqlalchemy.orm import Session

from imarium.catalog.search.columns import Columns, Mask, Snapshot
from imarium.catalog.search.leaves import among, columns_of, term_mask, text_mask
from imarium.model.query import And, Node, Not, Or, Term, Text, terms

_KEPT_BYTES = 32 << 20
"""Of what terms were met by, packed to a bit a series."""

TIERS: tuple[tuple[str, ...], ...] = (("description",), ("description", "concepts"), ())
"""Texts in which words count most; what is found in the first of these is more relevant. () is all texts.

Ranks do not hang on how often words occur elsewhere, so that pages stay what they are while series arrive."""


class Kept:
    """Remembers which series met a term, until anything changes."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._masks: OrderedDict[tuple[object, ...], bytes] = OrderedDict()
        self._bytes = 0

    def get(self, key: tuple[object, ...], size: int) -> Mask | None:
        """What was kept."""
        with self._lock:
            packed = self._masks.get(key)
            if packed is None:
                return None
            self._masks.move_to_end(key)
        return np.unpackbits(np.frombuffer(packed, np.uint8), count=size).astype(bool)

    def put(self, key: tuple[object, ...], mask: Mask) -> None:
        """Keep it, and forget what was not asked for the longest."""
        packed = np.packbits(mask).tobytes()
        with self._lock:
            self._bytes += len(packed) - len(self._masks.pop(key, b""))
            self._masks[key] = packed
            while self._bytes > _KEPT_BYTES:
                self._bytes -= len(self._masks.popitem(last=False)[1])

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._masks.clear()
            self._bytes = 0


class Evaluator:
    """Evaluates queries over columns in memory and what the databases find."""

    def __init__(self) -> None:
        self.columns, self.kept = Columns(), Kept()

    def snapshot(self, session: Session, node: Node, names: Sequence[str] = ()) -> Snapshot:
        """The columns that a query needs, and others by name."""
        wanted = set(names)
        for term in terms(node):
            wanted |= columns_of(term)
        return self.columns.at(session, wanted)

    def mask(
        self,
        session: Session,
        snapshot: Snapshot,
        node: Node,
        within: Sequence[int] | None = None,
        fields: Sequence[str] = (),
    ) -> Mask:
        """Which series of these collections meet the query; None: of all. Raises QuerySyntaxError.

        `fields` are the texts in which words are looked for; none: all of them.
        """
        found = self._met(session, snapshot, node, tuple(fields)) & snapshot.present
        if within is not None:
            found &= among(snapshot.columns["collection"], [number for number in within if number >= 0])
        return found

    def _met(self, session: Session, snapshot: Snapshot, node: Node, fields: tuple[str, ...]) -> Mask:
        match node:
            case Not():
                return ~self._met(session, snapshot, node.node, fields)
            case And():
                met = np.ones(snapshot.size, bool)
                for item in node.items:
                    met &= self._met(session, snapshot, item, fields)
                return met
            case Or():
                met = np.zeros(snapshot.size, bool)
                for item in node.items:
                    met |= self._met(session, snapshot, item, fields)
                return met
            case Text() | Term():
                return self._leaf(session, snapshot, node, fields if isinstance(node, Text) else ())

    def _leaf(self, session: Session, snapshot: Snapshot, leaf: Term | Text, fields: tuple[str, ...]) -> Mask:
        key = (leaf, fields, snapshot.version)
        met = self.kept.get(key, snapshot.size)
        if met is None:
            if isinstance(leaf, Text):
                met = text_mask(session, snapshot, leaf, fields)
            else:
                met = term_mask(session, snapshot, leaf)
            self.kept.put(key, met)
        return met
