"""Open uploads: a scratch folder each, in which files wait under numbers and get their places at the end.

Headers find their data, and a DICOMDIR its files, by their places from one another. So the path that comes
with a file is kept, within the upload's own folder and no longer than the upload: paths often hold names of
patients. Only what `safe_path` lets pass ever becomes a name on disk.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote_to_bytes

from imarium.errors import NotFoundError, StorageError
from imarium.faces.http.schemas import NewUpload

LONGEST_PATH = 1024
"""Most bytes of a path, in UTF-8."""
LONGEST_NAME = 255
"""Most bytes of one of its names: what file systems take."""
DEEPEST = 32
"""Most names of a path."""

_ID = re.compile(r"[0-9a-f]{32}")
_DRIVE = re.compile(r"[A-Za-z]:")
_FACTS = "upload.json"
_CLAIMED = "ingesting.json"
_RECEIVED = "received"
_NAMED = "named"
_NUMBERED = "numbered"
_PATH = ".path"


def safe_path(encoded: str) -> PurePosixPath | None:
    """A file's path within its upload, from percent-encoded UTF-8; None for one that is not to be used.

    Such are absolute paths, those with `..`, `.` or nothing between slashes, with a name of dots and blanks
    alone (some systems take it for `..`), with backslashes, drive letters or control characters, and those
    that are too long or too deep.
    """
    if len(encoded) > 3 * LONGEST_PATH:
        return None
    content = unquote_to_bytes(encoded)
    try:
        path = content.decode()
    except UnicodeDecodeError:
        return None
    names = path.split("/")
    if len(content) > LONGEST_PATH or len(names) > DEEPEST or not all(map(_is_safe, names)):
        return None
    return PurePosixPath(path)


def _is_safe(name: str) -> bool:
    return (
        name.strip(". ") != ""
        and len(name.encode()) <= LONGEST_NAME
        and "\\" not in name
        and _DRIVE.match(name) is None
        and not any(unicodedata.category(character) == "Cc" for character in name)
    )


@dataclass(frozen=True, slots=True)
class Incoming:
    """An open upload of one user."""

    folder: Path
    wishes: NewUpload

    @staticmethod
    def create(root: Path, user: str, wishes: NewUpload) -> str:
        """Open an upload below the folder `root`; returns its identifier. Raises StorageError."""
        identifier = secrets.token_hex(16)
        folder = root / identifier
        try:
            (folder / _RECEIVED).mkdir(parents=True)
            (folder / _FACTS).write_text(json.dumps({"user": user, **wishes.model_dump(mode="json")}))
        except OSError as error:
            raise StorageError(f"the upload could not be opened: {error.strerror}") from error
        return identifier

    @classmethod
    def find(cls, root: Path, user: str, identifier: str) -> Incoming:
        """An upload of this user that is not being taken in yet; raises NotFoundError."""
        folder = root / identifier
        if not _ID.fullmatch(identifier):
            raise NotFoundError("no such upload")
        try:
            facts = json.loads((folder / _FACTS).read_text())
        except FileNotFoundError as error:
            raise NotFoundError("no such upload") from error
        if facts["user"] != user:
            raise NotFoundError("no such upload")
        return cls(folder, NewUpload.model_validate(facts))

    def part(self, number: int) -> Path:
        """Where a file is written; not among the others, so that what breaks off is never taken in."""
        return self.folder / f"{number:08d}.part"

    def keep(self, number: int, path: PurePosixPath | None) -> None:
        """Have the file that was written, whole, under its number, and the path that it came with.

        Raises OSError.
        """
        received = self.folder / _RECEIVED / f"{number:08d}"
        self.part(number).replace(received)
        if path is None:
            _path_of(received).unlink(missing_ok=True)
        else:
            _path_of(received).write_text(str(path), "utf-8")

    def arrange(self) -> dict[Path, int]:
        """Put every file in its place, in the order of their numbers; returns the places with the numbers.

        Files without a path go among those that have their numbers for names, and so do all files of which
        several have the same path: which of them a header means is anybody's guess. Paths that differ in
        case alone are the same where the file system says so. From then on nobody else finds the upload.
        Raises NotFoundError if it was arranged before, StorageError if files cannot be moved.
        """
        try:
            (self.folder / _FACTS).rename(self.folder / _CLAIMED)
        except FileNotFoundError as error:
            raise NotFoundError("no such upload") from error
        try:
            return self._arranged()
        except OSError as error:
            self.forget()
            raise StorageError(f"the upload could not be arranged: {error.strerror}") from error

    def _arranged(self) -> dict[Path, int]:
        for name in (_NAMED, _NUMBERED):
            (self.folder / name).mkdir()
        key = _folded if _folds_case(self.folder) else str
        paths: dict[str, str | None] = {}
        for name in sorted(os.listdir(self.folder / _RECEIVED)):
            if name.endswith(_PATH):
                paths[name.removesuffix(_PATH)] = (self.folder / _RECEIVED / name).read_text("utf-8")
            else:
                paths.setdefault(name, None)
        times = Counter(key(path) for path in paths.values() if path is not None)
        return {
            self._placed(name, path if path is not None and times[key(path)] == 1 else None): int(name)
            for name, path in paths.items()
        }

    def _placed(self, name: str, path: str | None) -> Path:
        received = self.folder / _RECEIVED / name
        if path is not None:
            target = self.folder / _NAMED / path
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                if not os.path.lexists(target):
                    return received.rename(target)
            except OSError:
                pass  # a path that cannot be here: too long for this file system, or below another file
        return received.rename(self.folder / _NUMBERED / name)

    def forget(self) -> None:
        """Remove the upload with all of its files."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _path_of(received: Path) -> Path:
    return received.with_suffix(_PATH)


def _folds_case(folder: Path) -> bool:
    """Whether the file system takes names that differ in case alone for one."""
    return os.path.lexists(folder / _NAMED.upper())


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path.casefold())
