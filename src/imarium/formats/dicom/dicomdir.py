"""DICOMDIR: the table of contents of a CD (PS3.3 annex F, PS3.10 section 8)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset

from imarium.errors import UnsupportedFileError
from imarium.formats.dicom import values

FileId = tuple[str, ...]
"""The components of a file's place, from the folder of the DICOMDIR."""

_RECORDS = 1 << 20
"""Most records that are looked at."""
_COMPONENTS = 8
"""PS3.10 8.2: a file ID has at most eight components."""
_NAMES = 1 << 16
"""Most names of one folder that are compared without regard to case."""


class TableOfContentsError(UnsupportedFileError):
    """The file is a DICOMDIR: no image, but it leads to some."""

    def __init__(self, file_ids: Iterable[FileId]) -> None:
        super().__init__("a DICOMDIR is a table of contents and holds no image")
        self.file_ids = tuple(dict.fromkeys(file_ids))


def file_ids(dataset: Dataset) -> list[FileId]:
    """Referenced File IDs (0004,1500) of the records in use, in the order of the file.

    Records are taken as they lie in their sequence (F.2.2.2), not by the offsets that chain them: so no
    chain can lead in circles.
    """
    found: list[FileId] = []
    for record in list(values.items(dataset, "DirectoryRecordSequence"))[:_RECORDS]:
        if values.integer(record, "RecordInUseFlag") == 0:
            continue
        value = values.get(record, "ReferencedFileID")
        parts = [value] if isinstance(value, str) else list(value) if value is not None else []
        if 1 <= len(parts) <= _COMPONENTS and all(isinstance(part, str) for part in parts):
            found.append(tuple(parts))
    return found


@dataclass(slots=True)
class Places:
    """Finds the files that a DICOMDIR names; they lie in its own folder or below it."""

    folder: Path
    _names: dict[Path, dict[str, str]] = field(default_factory=dict)

    def find(self, file_id: FileId) -> Path | None:
        """The regular file of a file ID; None if there is none, or it leads out of the folder.

        Discs are copied with names in other cases and with ISO 9660 version numbers (";1"): where the very
        name is missing, these count as the same.
        """
        if any(part in ("", ".", "..") or any(sign in part for sign in "/\\\0") for part in file_id):
            return None
        path = self.folder
        try:
            for part in file_id:
                name = part if (path / part).exists() else self._known(path).get(_plain(part))
                if name is None:
                    return None
                path = path / name
            inside = path.resolve(strict=True).is_relative_to(self.folder.resolve(strict=True))
            return path if inside and path.is_file() else None
        except (OSError, RuntimeError, ValueError):
            return None

    def all_of(self, table: TableOfContentsError) -> tuple[Path, ...]:
        """The files that a DICOMDIR in the folder names and that are found, in its order."""
        return tuple(found for file_id in table.file_ids if (found := self.find(file_id)) is not None)

    def _known(self, folder: Path) -> dict[str, str]:
        if folder not in self._names:
            with os.scandir(folder) as entries:
                names = [entry.name for entry, _ in zip(entries, range(_NAMES), strict=False)]
            self._names[folder] = {_plain(name): name for name in sorted(names, reverse=True)}
        return self._names[folder]


def _plain(name: str) -> str:
    return name.split(";")[0].rstrip(".").casefold()
