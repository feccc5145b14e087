"""Exports on their way to a client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TypedDict

from imarium.errors import IntegrityError
from imarium.formats.outgoing import Outgoing, batched, zipped


class ExportOptions(TypedDict, total=False):
    """What an export may be asked for beside its format."""

    level: int | None
    """A stored level; the full resolution if neither this nor a size is given."""
    size: str | None
    """The shorter side in pixels, or ROWSxCOLUMNS."""
    window: tuple[float, float] | None
    """PNG: center and width in rescaled values."""
    full_range: bool
    """PNG: 16-bit stored values, no window."""
    transfer_syntax: str | None
    """DICOM: explicit or htj2k."""
    even: bool
    """NIfTI, NPY, OME-Zarr: resample slices that are tilted or unevenly spaced onto an even grid with
    right angles."""


@dataclass(frozen=True, slots=True)
class Download:
    """One file, made while it is taken; its first bytes are there already."""

    name: str
    """Tells the format and nothing of the patient."""
    size: int | None
    """Bytes, where they are known before all are made."""
    chunks: Iterator[bytes]
    notes: tuple[str, ...]
    """What was said of it so far. What is said later stands in the comment of the zip, as JSON too."""


def start_download(outgoing: Outgoing, notes: list[str]) -> Download:
    """Make the first bytes of an export, so that whatever shows by then is raised here.

    `notes` is what the writer's reports go to.
    """
    known: tuple[str, ...] | None = None

    def comment() -> bytes:
        late = notes[len(known) :] if known is not None else []
        return json.dumps(late).encode() if late else b""

    if outgoing.bundle is None:
        only = next(outgoing.files, None)
        if only is None:
            raise IntegrityError("the series has no frames to export")
        name, size = only.name, only.size
        # The rest of the files is none; asking for it lets the writer see that nothing is left.
        content = chain(only.chunks, (chunk for file in outgoing.files for chunk in file.chunks))
    else:
        name, size = outgoing.bundle, None
        content = chain(zipped(outgoing.files, comment))
    chunks = batched(content)
    first = next(chunks, b"")
    known = tuple(notes)
    return Download(name, size, chain([first], chunks), known)
