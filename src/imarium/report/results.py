"""What a report says of one series: plain values."""

from __future__ import annotations

from dataclasses import dataclass

from imarium.report.fidelity import Fidelity


@dataclass(frozen=True, slots=True)
class Dataset:
    """Series that are looked at together."""

    collection: str
    modality: str | None
    label_map: bool
    """Values are names, not amounts."""

    @property
    def name(self) -> str:
        """For people."""
        kind = self.modality or ("" if self.label_map else "no modality")
        parts = [self.collection, kind, "label maps" if self.label_map and self.modality != "SEG" else ""]
        return ", ".join(part for part in parts if part)

    @property
    def order(self) -> tuple[str, str, bool]:
        """For sorting."""
        return self.collection, self.modality or "", self.label_map


@dataclass(frozen=True, slots=True)
class LevelResult:
    """One level of one series."""

    level: int
    """0 is the full resolution."""
    rows: int
    columns: int
    bytes: int
    """Of the level, for all frames."""
    requests: int
    """That the client makes for it, and for the index with it."""
    fidelity: Fidelity | None = None
    """Mean over the sampled frames; None where nothing was compared, as at level 0, which is exact."""


@dataclass(frozen=True, slots=True)
class SeriesResult:
    """One series."""

    series: str
    dataset: Dataset
    frames: int
    rows: int
    columns: int
    samples: int
    dtype: str
    index_bytes: int
    """Read once with any level."""
    levels: tuple[LevelResult, ...]
    """Full resolution first."""
    sampled: int = 0
    """Frames that were compared."""
    read_bytes: int = 0
    """That were read for comparing."""
    error: str | None = None
    """Why the series could not be compared."""
