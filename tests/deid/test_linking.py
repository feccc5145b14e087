"""The custodian's table."""

import sqlite3

import pytest

from imarium.deid.linking import LinkingTable, Original
from imarium.errors import NotFoundError, StorageError

KEY = b"t" * 32


def test_what_went_in_comes_out_with_the_key_and_is_recorded(tmp_path):
    path = tmp_path / "deep" / "table"
    table = LinkingTable(path, KEY)
    table.add("subject", {"S-1": "MRN 123"})
    table.add("uid", {"2.25.1": "1.2.3"})
    table.add("subject", {"S-1": "somebody else"})
    assert path.stat().st_mode & 0o777 == 0o600
    assert table.reveal("S-1", "ann") == Original("subject", "MRN 123")
    assert table.reveal("2.25.1", "bob") == Original("uid", "1.2.3")
    assert [(stand_in, by) for _, stand_in, by in table.reveals()] == [("S-1", "ann"), ("2.25.1", "bob")]
    with pytest.raises(NotFoundError):
        table.reveal("S-2", "ann")
    assert b"MRN 123" not in path.read_bytes()


def test_without_the_key_nothing_is_told(tmp_path):
    LinkingTable(tmp_path / "t", KEY).add("subject", {"S-1": "MRN 123"})
    other = LinkingTable(tmp_path / "t", b"u" * 32)
    with pytest.raises(StorageError, match="does not fit"):
        other.reveal("S-1", "eve")
    assert not other.reveals()


def test_rows_cannot_be_exchanged(tmp_path):
    table = LinkingTable(tmp_path / "t", KEY)
    table.add("subject", {"S-1": "one", "S-2": "two"})
    with sqlite3.connect(tmp_path / "t") as connection:
        (sealed,) = connection.execute("SELECT sealed FROM links WHERE stand_in = 'S-2'").fetchone()
        connection.execute("UPDATE links SET sealed = ? WHERE stand_in = 'S-1'", (sealed,))
    with pytest.raises(StorageError):
        table.reveal("S-1", "ann")


def test_lengths_do_not_show(tmp_path):
    LinkingTable(tmp_path / "t", KEY).add("subject", {"S-1": "1", "S-2": "a much longer identifier"})
    with sqlite3.connect(tmp_path / "t") as connection:
        sizes = {len(row[0]) for row in connection.execute("SELECT sealed FROM links")}
    assert len(sizes) == 1


def test_what_is_no_table(tmp_path):
    (tmp_path / "t").write_bytes(b"no database" * 100)
    with pytest.raises(StorageError):
        LinkingTable(tmp_path / "t", KEY)
    with pytest.raises(StorageError):
        LinkingTable(tmp_path / "t" / "t", KEY)
