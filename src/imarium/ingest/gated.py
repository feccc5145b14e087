"""Ingest into a collection that demands de-identification: only copies that passed its gate are taken in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AnySet
from dataclasses import replace
from pathlib import Path

from imarium.deid.gate import Gate
from imarium.formats.base import Refusal
from imarium.ingest.outcome import Observer, Outcome, Status, refused
from imarium.ingest.run import Order
from imarium.ingest.scan import scan

Take = Callable[[Iterable[Path], Order, Observer], Iterator[Outcome]]
"""What takes copies in."""


def through(
    gate: Gate,
    paths: Iterable[Path],
    order: Order,
    watch: Observer,
    take: Take,
    accepted: AnySet[str] = frozenset(),
) -> Iterator[Outcome]:
    """Outcomes by source: refused at the gate, or what became of the copy."""
    files: list[Path] = []
    for found in scan(paths):
        if isinstance(found, Refusal):
            yield refused(found.path, found.error)
        else:
            files.append(found)
    with gate.passage(order.collection, files, accepted) as passage:
        for refusal in passage.refusals:
            yield refused(refusal.path, refusal.error)
        for outcome in take(passage.copies, order, watch):
            yield replace(outcome, path=passage.sources.get(outcome.path, outcome.path))
        for path in passage.known:
            reason = "another file of this run has the same content once it is de-identified"
            yield Outcome(path, Status.KNOWN, reason=reason)
