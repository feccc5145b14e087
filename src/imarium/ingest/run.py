"""What belongs to one call of `Ingest.run`."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imarium.codec import Tier
from imarium.formats.base import ReadContext, Reader
from imarium.ingest.open_pack import OpenPack
from imarium.ingest.outcome import Observer, Outcome


@dataclass(frozen=True, slots=True)
class Order:
    """What the caller of `Ingest.run` wants."""

    collection: str
    description: str
    tier: Tier
    labels: Mapping[str, str]
    within: Collection[int] | None = None
    """Numbers of the collections of which the caller may be told; None: all."""


@dataclass(frozen=True, slots=True)
class Run:
    """What belongs to one call of `Ingest.run`."""

    order: Order
    watch: Observer
    context: ReadContext
    digests: dict[Path, str]
    """Of the files that were hashed already."""
    sizes: dict[Path, int]
    open: OpenPack
    shares: bool = True
    """Whether small series go to the open pack."""
    named: set[Path] = field(default_factory=set)
    """Files that a table of contents led to."""
    waiting: deque[Outcome] = field(default_factory=deque)
    again: deque[tuple[Reader, list[Path]]] = field(default_factory=deque)
    """Files of series that lost a race in the commit of the open pack."""

    @property
    def collection(self) -> str:
        """Where the series belong."""
        return self.order.collection

    def tell(self, outcome: Outcome) -> None:
        """Keep an outcome that was found while a reader was drawing files."""
        self.watch.advanced(self.sizes.get(outcome.path, 0))
        self.waiting.append(outcome)

    def told(self) -> Iterator[Outcome]:
        """The outcomes kept since the last call."""
        while self.waiting:
            yield self.waiting.popleft()
