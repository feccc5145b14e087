"""What every format module provides, and what readers share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from imarium.errors import ImariumError
from imarium.model import Rendition, SourceSeries
from imarium.settings import Limits


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file that could not be taken in, and why."""

    path: Path
    error: ImariumError


@dataclass(frozen=True, slots=True)
class ReadContext:
    """What readers may use: bounds, and a folder for temporary files."""

    limits: Limits
    scratch: Path


class Reader(Protocol):
    """Reads files of one format. Recognition looks at content, never at the name."""

    name: str
    batch: bool
    """True if files must be seen together to form series (DICOM); False if each stands alone."""

    def recognises(self, path: Path, head: bytes) -> bool:
        """Whether the first 4 KiB of a file say that it is of this format."""

    def read(self, paths: Iterable[Path], context: ReadContext) -> Iterator[SourceSeries | Refusal]:
        """Series found in the files, and a refusal for each file that is in none. Raises for no file."""


class Writer(Protocol):
    """Writes a rendition in one format."""

    name: str

    def write(self, rendition: Rendition, destination: Path) -> list[Path]:
        """Write one file at `destination`, or several below it; returns the files written.

        Raises ExportRefusedError where the format cannot hold the rendition.
        """
