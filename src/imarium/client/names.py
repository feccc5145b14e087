"""The paths under which a server gets to know the files of an upload."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote


class SentPaths:
    """Paths from the folders that are sent, each of which is a number: nothing above them is told.

    Files of one folder are sent as files of one folder, and those of different folders never are: a header
    must find its own data, and no other's. For a file that lies in none of the given folders, its own is
    as if it had been given.
    """

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        self._real: dict[Path, Path] = {}
        given = {self._resolved(folder) for folder in folders}
        outermost = (folder for folder in sorted(given) if given.isdisjoint(folder.parents))
        self._numbers = {folder: number for number, folder in enumerate(outermost)}

    def __call__(self, path: Path) -> str:
        """The path of a file: names with `/` between them, percent-encoded as they are in the file system."""
        folder = self._resolved(path.parent)
        root = next((above for above in (folder, *folder.parents) if above in self._numbers), folder)
        number = self._numbers.setdefault(root, len(self._numbers))
        return quote(os.fsencode((Path(str(number)) / folder.relative_to(root) / path.name).as_posix()))

    def _resolved(self, folder: Path) -> Path:
        if folder not in self._real:
            self._real[folder] = Path(os.path.realpath(folder))
        return self._real[folder]
