"""What a data set gives beside pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from imarium.errors import InvalidRequestError
from imarium.manifest import Manifest, ManifestRow

Label = str | Callable[[ManifestRow], Any] | None
"""A label's key, whose values become numbers; or what makes something of a row; or nothing."""


def labels_of(manifest: Manifest, label: Label) -> tuple[Sequence[Any] | None, tuple[str, ...]]:
    """What belongs to each series, and the names of the classes if it is their numbers.

    Raises InvalidRequestError if a series lacks the label.
    """
    if label is None:
        return None, ()
    if not isinstance(label, str):
        return [label(row) for row in manifest.rows()], ()
    found = [dict(pairs).get(label) for pairs in manifest.table["labels"].to_pylist()]
    names = sorted({name for name in found if name is not None})
    missing = found.count(None)
    if missing:
        raise InvalidRequestError(
            f"{missing} of {len(found)} series have no label {label!r}; choose those that have one, set it, "
            "or give a function of the manifest's row"
        )
    numbers = {name: number for number, name in enumerate(names)}
    return [numbers[name] for name in found if name is not None], tuple(names)
