"""What every object store promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from imarium.errors import NotFoundError
from imarium.store import ObjectStore


class StoreConformance:
    """Subclass with a fixture `store`."""

    def _put(self, store: ObjectStore, tmp_path: Path, key: str, content: bytes) -> None:
        source = tmp_path / "source"
        source.write_bytes(content)
        store.put(key, source)

    def test_returns_the_bytes_it_was_given(self, store: ObjectStore, tmp_path: Path) -> None:
        """Whole, in ranges, and through `fetch`."""
        content = bytes(range(256)) * 100
        self._put(store, tmp_path, "packs/ab/abc.imp", content)
        assert store.size("packs/ab/abc.imp") == len(content)
        assert store.read("packs/ab/abc.imp", 0, len(content)) == content
        assert store.read("packs/ab/abc.imp", 250, 260) == content[250:260]
        assert store.fetch("packs/ab/abc.imp")(1, 3) == content[1:3]
        assert store.read("packs/ab/abc.imp", 5, 5) == b""
        spans = [(0, 7), (250, 260), (25_000, len(content))]
        assert store.read_many("packs/ab/abc.imp", spans) == [content[a:b] for a, b in spans]

    def test_writing_the_same_twice_changes_nothing(self, store: ObjectStore, tmp_path: Path) -> None:
        """Keys hold a digest of the content."""
        for _ in range(2):
            self._put(store, tmp_path, "packs/ab/abc.imp", b"content")
        assert list(store.keys()) == ["packs/ab/abc.imp"]

    def test_streams_objects_larger_than_one_part(self, store: ObjectStore, tmp_path: Path) -> None:
        """20 MiB pass in several pieces."""
        content = bytes(1 << 20) * 20
        self._put(store, tmp_path, "packs/cd/large.imp", content)
        assert store.size("packs/cd/large.imp") == len(content)

    def test_lists_by_prefix(self, store: ObjectStore, tmp_path: Path) -> None:
        """Only what lies below it."""
        self._put(store, tmp_path, "packs/ab/1.imp", b"1")
        self._put(store, tmp_path, "other/2", b"2")
        assert sorted(store.keys("packs")) == ["packs/ab/1.imp"]

    def test_says_what_is_missing(self, store: ObjectStore) -> None:
        """NotFoundError, not an empty answer."""
        with pytest.raises(NotFoundError):
            store.read("packs/no/thing.imp", 0, 10)
        with pytest.raises(NotFoundError):
            store.read_many("packs/no/thing.imp", [(0, 1), (5, 10)])
        with pytest.raises(NotFoundError):
            store.size("packs/no/thing.imp")

    def test_what_is_deleted_is_gone(self, store: ObjectStore, tmp_path: Path) -> None:
        """Once and again; others stay."""
        for name in ("1", "2"):
            self._put(store, tmp_path, f"packs/ab/{name}.imp", b"content")
        for key in ("packs/ab/1.imp", "packs/ab/1.imp", "packs/no/thing.imp"):
            store.delete(key)
        assert [key for key, _ in store.changed("packs")] == ["packs/ab/2.imp"]
        with pytest.raises(NotFoundError):
            store.size("packs/ab/1.imp")
