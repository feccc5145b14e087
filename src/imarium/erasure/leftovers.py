"""Scratch files and half-written objects, which may hold anything."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from imarium.errors import StorageError
from imarium.store import ObjectStore

_UPLOADS = "uploads"


def remove_leftovers(
    scratch: Path, store: ObjectStore, quiet: timedelta, abandoned: Iterable[Path] = ()
) -> tuple[int, int]:
    """Remove what nobody changed for `quiet`; returns how many files and folders went, and how many stay.

    `abandoned` are further files that nothing refers to.
    """
    removed = left = 0
    try:
        for path in (*_children(scratch), *_children(scratch / _UPLOADS), *abandoned):
            if path.name == _UPLOADS and path.parent == scratch:
                continue
            if _age(path) < quiet.total_seconds():
                left += 1
                continue
            _remove(path)
            removed += 1
        for path, moment in store.half_written():
            if datetime.now(UTC) - moment < quiet:
                left += 1
                continue
            _remove(path)
            removed += 1
    except OSError as error:
        raise StorageError(f"scratch files could not be removed: {error.strerror}") from error
    return removed, left


def _children(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _age(path: Path) -> float:
    """Seconds since anything in a file or folder was changed; 0 for what is being moved just now."""
    newest = 0.0
    try:
        newest = path.lstat().st_mtime
        for folder, _, files in os.walk(path):
            newest = max(newest, *(os.lstat(Path(folder) / name).st_mtime for name in files), newest)
    except FileNotFoundError:
        return 0.0
    return time.time() - newest


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        pass  # whoever it belonged to was quicker
