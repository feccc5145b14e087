"""The store in a folder."""

import pytest

from imarium.errors import StorageError
from imarium.store import ObjectStore, open_local
from imarium.testing import StoreConformance


class TestLocalStore(StoreConformance):
    @pytest.fixture
    def store(self, tmp_path) -> ObjectStore:
        return open_local(tmp_path / "objects")


def test_half_written_objects_are_not_listed(tmp_path):
    store = open_local(tmp_path)
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs" / "abc.imp#1").write_bytes(b"half")
    assert list(store.keys()) == []


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        open_local(tmp_path / "file" / "objects")
