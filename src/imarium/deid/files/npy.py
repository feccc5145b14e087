"""NPY files hold an array and its type; only the names of fields could say anything."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from imarium.deid.files.base import Part, Rewritten
from imarium.errors import UnsupportedFileError
from imarium.settings import Limits

_MAGIC = b"\x93NUMPY"
_PLAIN = re.compile(
    rb"\{'descr': '[<>|=][a-zA-Z]\d{1,2}', 'fortran_order': (?:True|False), 'shape': \([\d, ]*\),? ?\} *\n"
)


def recognises(head: bytes) -> bool:
    """Whether a file starts like an NPY file."""
    return head.startswith(_MAGIC)


def rewritten(path: Path, limits: Limits, name: str) -> Rewritten:
    """The file as it is, if its header says nothing but type and shape; else UnsupportedFileError."""
    del limits, name
    with path.open("rb") as file:
        head = file.read(12)
        wide = head[6:7] != b"\1"
        length = int.from_bytes(head[8:12] if wide else head[8:10], "little")
        start = 12 if wide else 10
        file.seek(start)
        text = file.read(min(length, 1 << 16))
    if _PLAIN.fullmatch(text) is None:
        raise UnsupportedFileError("the header of the NPY file says more than type and shape")
    return Rewritten(path, (Part(0, path.stat().st_size),), Counter(), ".npy")
