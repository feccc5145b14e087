"""The review of what was found in pixels: one finding a box, each with a decision and who took it.

A finding holds no text and no digest of text: what a box says is read in its picture, which is made when a
reviewer looks (`preview`). The fields are plain values, so that a row of a table or a JSON object holds one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from blake3 import blake3

from imarium.deid.pixels.boxes import Box, Kind, TextBox
from imarium.errors import InvalidRequestError


class Decision(StrEnum):
    """What a reviewer decided."""

    OPEN = "open"
    """Nobody looked yet; blanked until somebody does."""
    ACCEPTED = "accepted"
    """The box is blanked."""
    MENDED = "mended"
    """Another box is blanked instead."""
    DISMISSED = "dismissed"
    """Nothing is blanked: there is no text, or text that may stay."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One box of one series, what is in it and what was decided. Times are UTC, ISO 8601."""

    id: str
    """Hex; the same for the same series, box and kind."""
    series: str
    """Series Instance UID, or what the caller knows the series by."""
    top: int
    left: int
    bottom: int
    right: int
    first: int
    stop: int
    """As of `Box`: what was found."""
    kind: Kind
    confidence: float
    characters: int
    """Letters and digits that were read; 0 where none were."""
    decision: Decision = Decision.OPEN
    decided_by: str | None = None
    decided_at: str | None = None
    mended: tuple[int, int, int, int, int, int] | None = None
    """(top, left, bottom, right, first, stop) of the box that a reviewer drew instead."""

    @property
    def found(self) -> Box:
        """The box as it was found."""
        return Box(self.top, self.left, self.bottom, self.right, self.first, self.stop)

    @property
    def box(self) -> Box | None:
        """What is to be blanked: nothing if dismissed, the mended box if there is one."""
        if self.decision is Decision.DISMISSED:
            return None
        return Box(*self.mended) if self.mended is not None else self.found

    def accept(self, by: str, at: datetime | None = None) -> Finding:
        """Decided: the box as found is blanked."""
        return self._decided(Decision.ACCEPTED, by, at, None)

    def mend(self, box: Box, by: str, at: datetime | None = None) -> Finding:
        """Decided: `box` is blanked instead."""
        sides = (box.top, box.left, box.bottom, box.right, box.first, box.stop)
        return self._decided(Decision.MENDED, by, at, sides)

    def dismiss(self, by: str, at: datetime | None = None) -> Finding:
        """Decided: nothing is blanked."""
        return self._decided(Decision.DISMISSED, by, at, None)

    def _decided(
        self,
        decision: Decision,
        by: str,
        at: datetime | None,
        mended: tuple[int, int, int, int, int, int] | None,
    ) -> Finding:
        if not by.strip():
            raise InvalidRequestError("a decision names who took it")
        moment = (at or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
        return replace(self, decision=decision, decided_by=by, decided_at=moment, mended=mended)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Finding:
        """The inverse of `to_json`. Raises InvalidRequestError for what is none."""
        known = {item.name for item in fields(cls)}
        values = {key: value for key, value in data.items() if key in known}
        try:
            values["decision"] = Decision(values.get("decision", Decision.OPEN))
            if values.get("mended") is not None:
                values["mended"] = tuple(int(side) for side in values["mended"])
            finding = cls(**values)
            _ = finding.found, finding.box
        except (TypeError, ValueError) as error:
            raise InvalidRequestError("this is no finding of a review") from error
        return finding


def findings_of(series: str, found: Iterable[TextBox]) -> list[Finding]:
    """Findings of one series, open, in the order of frames, rows and columns."""
    made = {}
    for one in found:
        box = one.box
        sides = (box.top, box.left, box.bottom, box.right, box.first, box.stop)
        name = blake3(repr((series, sides, one.kind)).encode()).hexdigest(12)
        made[name] = Finding(name, series, *sides, one.kind, round(one.confidence, 4), one.characters)
    return sorted(made.values(), key=lambda finding: (finding.first, finding.top, finding.left))


def drawn(series: str, box: Box, by: str, at: datetime | None = None) -> Finding:
    """A finding that a reviewer drew because nothing had found it; decided at once."""
    (finding,) = findings_of(series, [TextBox(box, "drawn", 1.0)])
    return finding.accept(by, at)


def boxes_to_blank(findings: Iterable[Finding], *, only_decided: bool = False) -> list[Box]:
    """What the decisions say is to be blanked. Open findings are blanked too, unless `only_decided`."""
    return [
        finding.box
        for finding in findings
        if finding.box is not None and not (only_decided and finding.decision is Decision.OPEN)
    ]


def is_reviewed(findings: Iterable[Finding]) -> bool:
    """Whether somebody decided on every finding, so that the series may be released."""
    return all(finding.decision is not Decision.OPEN for finding in findings)
