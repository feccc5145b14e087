"""What accuracy.py measures, and the tables made of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import accuracy_statistics as figures
from accuracy_statistics import Bootstrap, Interval, Values, over_seeds, paired
from common import Row
from storage_tables import table

REFERENCE = "files, antialiased"
PLAIN = "files, not antialiased"
ENOUGH = "streamed, large enough"
NEAREST = "streamed, nearest level"
ARMS = (REFERENCE, PLAIN, ENOUGH, NEAREST)
MEASURES = {"accuracy": figures.accuracy, "AUC": figures.auc}


@dataclass
class Reading:
    """How an arm comes by all pictures once, from nothing."""

    received: int
    """Bytes that the client got, heads of answers and manifests too."""
    loopback: float
    """Seconds until the tensors are there."""
    line: float | None = None
    """The same through a line of 20 ms and 100 Mbit/s."""


@dataclass
class Arm:
    """What was measured of one arm at one size."""

    size: int
    name: str
    reading: Reading
    alike: float
    """The least correlation of a picture with the reference's."""
    same: float
    """Share of the pictures that are the reference's within a grey level."""
    scores: Values
    """(seeds, pictures of the validation list)."""
    seconds: float
    """Processor time to train one network."""


@dataclass
class Figures:
    """One measure of one arm: over seeds, of the ensemble over patients, and both less the reference's."""

    arm: Arm
    measure: str
    seeds: Interval
    ensemble: Interval
    seeds_apart: Interval
    ensemble_apart: Interval


@dataclass
class Results:
    """All arms, and who the pictures of the validation list are of."""

    arms: Sequence[Arm]
    labels: Values
    patients: Sequence[str]

    def reference(self, size: int) -> Arm:
        return next(arm for arm in self.arms if arm.size == size and arm.name == REFERENCE)

    def figures(self) -> list[Figures]:
        again = Bootstrap.of(self.labels, self.patients)
        found = []
        for arm in self.arms:
            other = self.reference(arm.size)
            for measure, of in MEASURES.items():
                mine, theirs = (of(one.scores, self.labels) for one in (arm, other))
                drawn = again.accuracy if measure == "accuracy" else again.auc
                mean, others = arm.scores.mean(0), other.scores.mean(0)
                found.append(
                    Figures(
                        arm, measure, over_seeds(mine), drawn(mean), paired(mine, theirs), drawn(mean, others)
                    )
                )
        return found

    def by_size(self) -> Iterator[tuple[int, str, Interval, Interval]]:
        """What the reference at each smaller size has less than at the largest: by seed, and ensembles."""
        again = Bootstrap.of(self.labels, self.patients)
        sizes = sorted({arm.size for arm in self.arms}, reverse=True)
        other = self.reference(sizes[0]).scores
        for size in sizes[1:]:
            mine = self.reference(size).scores
            for measure, of in MEASURES.items():
                drawn = again.accuracy if measure == "accuracy" else again.auc
                apart = drawn(mine.mean(0), other.mean(0))
                yield size, measure, paired(of(mine, self.labels), of(other, self.labels)), apart

    def rows(self) -> list[Row]:
        """For the report."""
        rows = []
        for arm in self.arms:
            name, read = f"{arm.size}: {arm.name}", arm.reading
            rows += [
                Row(f"{name}: read", read.received / 1e6, "MB"),
                Row(f"{name}: read, of the files", read.received / self._files(arm), ""),
                Row(f"{name}: until the tensors are there, loopback", read.loopback, "s"),
            ]
            if read.line is not None:
                rows.append(Row(f"{name}: the same, 20 ms and 100 Mbit/s", read.line, "s"))
            rows.append(Row(f"{name}: training, processor time a network", arm.seconds, "s"))
        for one in self.figures():
            name = f"{one.arm.size}: {one.arm.name}: {one.measure}"
            rows += [_row(name, one.seeds), _row(f"{name} of the ensemble", one.ensemble)]
            if one.arm.name != REFERENCE:
                rows.append(_row(f"{name}, less the reference's", one.seeds_apart))
                rows.append(_row(f"{name} of the ensemble, less the reference's", one.ensemble_apart))
        for size, measure, seeds, ensemble in self.by_size():
            rows.append(_row(f"{size}: reference's {measure}, less the largest size's", seeds))
            rows.append(_row(f"{size}: reference's {measure} of the ensemble, less that", ensemble))
        return rows

    def markdown(self) -> str:
        """The tables of docs/design/accuracy.md."""
        reads = [
            [
                str(arm.size),
                arm.name,
                f"{arm.reading.received / 1e6:.1f}",
                f"{arm.reading.received / self._files(arm):.0%}",
                f"{arm.reading.loopback:.1f}",
                "-" if arm.reading.line is None else f"{arm.reading.line:.1f}",
                f"{arm.seconds:.0f}",
                f"{arm.same:.0%}",
                f"{arm.alike:.3f}",
            ]
            for arm in self.arms
        ]
        head = ["size", "arm", "MB read", "of the files", "s, loopback", "s, 20 ms and 100 Mbit/s"]
        head += ["training, s a network", "pictures as the reference's", "least correlation"]
        found = self.figures()
        scored = [
            [str(one.arm.size), one.arm.name, one.measure, one.seeds.text(), one.ensemble.text()]
            for one in found
        ]
        apart = [
            [
                str(one.arm.size),
                one.arm.name,
                one.measure,
                one.seeds_apart.text(signed=True),
                one.ensemble_apart.text(signed=True),
            ]
            for one in found
            if one.arm.name != REFERENCE
        ]
        sizes = [
            [str(size), measure, seeds.text(signed=True), ensemble.text(signed=True)]
            for size, measure, seeds, ensemble in self.by_size()
        ]
        largest = max(arm.size for arm in self.arms)
        lines = [
            *table(head, reads),
            *table(["size", "arm", "", "mean over seeds", "ensemble"], scored),
            *table(["size", "arm, less the reference", "", "paired by seed", "ensembles"], apart),
            *table([f"reference, less that at {largest}", "", "paired by seed", "ensembles"], sizes),
        ]
        return "\n".join(lines)

    def details(self) -> str:
        """Everything as JSON, so that other figures can be made of it."""
        arms = [
            vars(arm) | {"reading": asdict(arm.reading), "scores": arm.scores.tolist()} for arm in self.arms
        ]
        facts = {"labels": self.labels.tolist(), "patients": list(self.patients), "arms": arms}
        return json.dumps(facts) + "\n"

    def _files(self, arm: Arm) -> int:
        return self.reference(arm.size).reading.received


def _row(what: str, interval: Interval) -> Row:
    return Row(f"{what} ({interval.low:.3f} to {interval.high:.3f})", interval.value, "")
