"""Tables of contents (DICOMDIR): what became of them, and the files that they lead to."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from imarium.formats.dicom import Places, TableOfContentsError
from imarium.ingest.outcome import Outcome, Status


def follow(path: Path, error: TableOfContentsError, seen: Collection[Path]) -> tuple[Outcome, list[Path]]:
    """The outcome of a DICOMDIR, and the files it names that are not among those `seen`.

    The outcome is no refusal: nothing in the file was lost. Its reason tells of files that are missing.
    """
    found = Places(path.parent).all_of(error)
    missing = len(error.file_ids) - len(found)
    # Where the whole folder was given, the files are among those seen under the same names.
    rest = [place for place in found if place not in seen]
    known = {os.path.realpath(place) for place in seen} if rest else set()
    fresh = {real: place for place in rest if (real := os.path.realpath(place)) not in known}
    reason = f"a table of contents (DICOMDIR) of {len(error.file_ids)} files"
    if missing:
        reason += f", {missing} of which are not beside it"
    return Outcome(path, Status.KNOWN, reason=reason), list(fresh.values())
