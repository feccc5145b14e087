"""The chain: whatever is changed, missing, put in or cut off is found, and named."""

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from imarium.audit import Action, Audit, AuditFilter, Checkpoint, ObjectKind, Outcome, export_lines
from imarium.audit.record import Record, digest_of, encode
from imarium.catalog import Catalog
from imarium.errors import IntegrityError

SECRET = b"s" * 32
COUNT = 12
TRIGGERS = ("audit_records_stay", "audit_records_remain", "audit_records_follow")
FIELDS = (
    "time",
    "actor",
    "origin",
    "action",
    "object_kind",
    "object_key",
    "outcome",
    "details",
    "previous",
    "hash",
    "seal",
)


def fill(audit: Audit, count: int = COUNT) -> None:
    for number in range(count):
        audit.record(
            Action.VIEWED,
            ObjectKind.SERIES,
            f"1.2.{number}",
            actor="ann",
            origin="10.0.0.1",
            details={"number": number},
        )
    audit.flush()


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A folder with a chain of `COUNT` records on SQLite."""
    home = tmp_path_factory.mktemp("chain")
    with closing(Catalog(f"sqlite:///{home / 'catalog.sqlite'}")) as catalog:
        audit = Audit(catalog, SECRET, home)
        fill(audit)
        audit.close()
    return home


class Copy:
    """A copy of the chain's home that may be tampered with, as by somebody who has the file."""

    def __init__(self, chain, folder):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(chain, folder)
        self.home = folder

    def run(self, *statements):
        with closing(sqlite3.connect(self.home / "catalog.sqlite", isolation_level=None)) as database:
            for name in TRIGGERS:
                database.execute(f"DROP TRIGGER IF EXISTS {name}")
            for statement in statements:
                database.execute(*statement)

    def rows(self):
        with closing(sqlite3.connect(self.home / "catalog.sqlite")) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute("SELECT * FROM audit_records ORDER BY sequence")]

    def verify(self, heads=None):
        with closing(Catalog(f"sqlite:///{self.home / 'catalog.sqlite'}")) as catalog:
            return Audit(catalog, SECRET, self.home).verify(heads)


@pytest.fixture
def copy(chain, tmp_path):
    return Copy(chain, tmp_path / "copy")


def numbers(found):
    return [problem.sequence for problem in found.problems]


def test_a_chain_that_was_left_alone_is_sound(audit):
    fill(audit)
    found = audit.verify()
    assert (found.sound, found.records, found.last) == (True, COUNT, COUNT)


def test_an_empty_record_is_sound(audit):
    assert audit.verify().sound


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("sequence", [1, 5, COUNT])
def test_every_field_of_every_record_counts(copy, field, sequence):
    value = copy.rows()[sequence - 1][field]
    other = ("0" if value[:1] != "0" else "1") + value[1:]
    copy.run((f"UPDATE audit_records SET {field} = ? WHERE sequence = ?", (other, sequence)))
    found = copy.verify()
    assert not found.sound
    assert sequence in numbers(found)
    assert set(numbers(found)) <= {sequence, sequence + 1}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sequence=st.integers(1, COUNT),
    field=st.sampled_from([*FIELDS, "sequence"]),
    value=st.one_of(st.text(max_size=80), st.integers(-(2**62), 2**62)),
)
def test_no_change_goes_unseen(chain, tmp_path, sequence, field, value):
    copy = Copy(chain, tmp_path / "copy")
    before = copy.rows()
    try:
        copy.run((f"UPDATE audit_records SET {field} = ? WHERE sequence = ?", (value, sequence)))
    except (sqlite3.Error, UnicodeEncodeError):
        return  # the database itself does not take it
    assert copy.verify().sound == (copy.rows() == before)


@pytest.mark.parametrize("sequence", [1, 6, COUNT - 1])
def test_a_missing_record_is_named(copy, sequence):
    copy.run(("DELETE FROM audit_records WHERE sequence = ?", (sequence,)))
    found = copy.verify()
    assert numbers(found) == [sequence]
    assert f"record {sequence} is missing" in found.problems[0].message


@pytest.mark.parametrize("left", [0, 1, COUNT - 1])
def test_a_chain_that_was_cut_off_is_found(copy, left):
    copy.run(("DELETE FROM audit_records WHERE sequence > ?", (left,)))
    found = copy.verify()
    assert numbers(found) == [left + 1]
    assert "cut off" in found.problems[0].message


def test_a_gap_that_was_closed_by_numbering_anew_is_found(copy):
    copy.run(
        ("DELETE FROM audit_records WHERE sequence = 4",),
        ("UPDATE audit_records SET sequence = sequence - 1 WHERE sequence > 4",),
    )
    assert numbers(copy.verify())[0] == 4


def test_records_in_another_order_are_found(copy):
    copy.run(
        ("UPDATE audit_records SET sequence = 99 WHERE sequence = 3",),
        ("UPDATE audit_records SET sequence = 3 WHERE sequence = 7",),
        ("UPDATE audit_records SET sequence = 7 WHERE sequence = 99",),
    )
    assert {3, 7} <= set(numbers(copy.verify()))


def test_a_record_put_in_is_found(copy):
    (template, *_) = copy.rows()
    copy.run(
        ("UPDATE audit_records SET sequence = -sequence WHERE sequence > 4",),
        ("UPDATE audit_records SET sequence = 1 - sequence WHERE sequence < 0",),
        (
            f"INSERT INTO audit_records VALUES ({','.join('?' * len(template))})",
            tuple((template | {"sequence": 5}).values()),
        ),
    )
    assert numbers(copy.verify())[0] == 5


def forged(rows, changes):
    """The whole chain anew with changes, every hash right: what whoever lacks the secret can do."""
    previous = "0" * 64
    for row in rows:
        row |= changes.get(row["sequence"], {})
        row["previous"] = previous
        row["hash"] = previous = digest_of(Record(**row))
    return rows


def test_a_chain_made_anew_without_the_secret_is_found(copy):
    rows = forged(copy.rows(), {8: {"actor": "somebody else"}})
    copy.run(
        *(
            (
                "UPDATE audit_records SET actor = :actor, previous = :previous, hash = :hash "
                "WHERE sequence = :sequence",
                row,
            )
            for row in rows
        )
    )
    found = copy.verify()
    assert set(numbers(found)) == set(range(8, COUNT + 1))
    assert any("head was signed" in problem.message for problem in found.problems)


def test_a_record_added_without_the_secret_is_found_even_after_a_true_one(copy):
    last = copy.rows()[-1]
    added = last | {"sequence": COUNT + 1, "previous": last["hash"], "actor": "forger"}
    added["hash"] = digest_of(Record(**added))
    copy.run((f"INSERT INTO audit_records VALUES ({','.join('?' * len(added))})", tuple(added.values())))
    with closing(Catalog(f"sqlite:///{copy.home / 'catalog.sqlite'}")) as catalog:
        audit = Audit(catalog, SECRET, copy.home)
        fill(audit, 1)
        audit.close()
    assert numbers(copy.verify()) == [COUNT + 1]


def test_later_records_do_not_hide_that_the_end_was_cut_off(copy):
    copy.run(("DELETE FROM audit_records WHERE sequence > 8",))
    with closing(Catalog(f"sqlite:///{copy.home / 'catalog.sqlite'}")) as catalog:
        audit = Audit(catalog, SECRET, copy.home)
        fill(audit, 20)
        audit.close()
    found = copy.verify()
    assert numbers(found) == [COUNT]
    assert "another than the one whose head was signed" in found.problems[0].message


def test_a_checkpoint_that_is_missing_or_changed_is_a_finding(copy):
    head = copy.home / "audit.head"
    content = head.read_text()
    head.write_text(content.replace(f'"sequence":{COUNT}', '"sequence":3'))
    assert not copy.verify().sound
    head.write_text("{")
    assert not copy.verify().sound
    head.unlink()
    assert "checkpoint" in copy.verify().problems[0].message
    head.write_text(content)
    assert copy.verify().sound


def test_a_finding_that_was_looked_into_is_signed_and_recorded(copy):
    copy.run(("DELETE FROM audit_records WHERE sequence > 8",))
    with closing(Catalog(f"sqlite:///{copy.home / 'catalog.sqlite'}")) as catalog:
        audit = Audit(catalog, SECRET, copy.home)
        assert audit.renew("os:root", "local").count == 1
        assert audit.verify().sound
        (entry,) = audit.entries(AuditFilter(action=Action.AUDIT_RENEWED), limit=5)
        assert json.loads(entry.record.details) == {"problems": 1, "records": 8}
        audit.close()


def test_a_head_that_was_kept_elsewhere_finds_a_home_that_was_set_back(chain, tmp_path):
    old = Copy(chain, tmp_path / "old")
    with closing(Catalog(f"sqlite:///{old.home / 'catalog.sqlite'}")) as catalog:
        audit = Audit(catalog, SECRET, old.home)
        fill(audit, 3)
        head = audit.head()
        audit.close()
    assert old.verify([head]).sound
    back = Copy(chain, tmp_path / "back")
    assert back.verify().sound
    found = back.verify([Checkpoint.from_json(head.to_json())])
    assert numbers(found) == [COUNT + 1]


def test_what_is_no_checkpoint(tmp_path):
    for content in ("", "[]", "{}", '{"sequence": "x"}', "[" * 100_000):
        with pytest.raises(IntegrityError):
            Checkpoint.from_json(content)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_records SET actor = 'x' WHERE sequence = 1",
        "DELETE FROM audit_records WHERE sequence = 3",
        "DELETE FROM audit_records",
        "INSERT INTO audit_records SELECT sequence + 7, time, actor, origin, action, object_kind, "
        "object_key, outcome, details, previous, hash, seal FROM audit_records WHERE sequence = 3",
    ],
)
def test_the_database_refuses_changes(database_url, audit, statement):
    fill(audit, 3)
    with (
        create_engine(database_url).connect() as connection,
        pytest.raises(DBAPIError, match="audit records"),
    ):
        connection.execute(text(statement))


def test_the_hash_can_be_checked_by_others(audit):
    """As docs/design/audit.md says it, with nothing of ours but the lines of an export."""
    fill(audit)
    previous = "0" * 64
    order = ["sequence", "time", "actor", "origin", "action"]
    order += ["object_kind", "object_key", "outcome", "details", "previous"]
    for line in export_lines(audit.all_entries(AuditFilter()), "json"):
        record = json.loads(line)
        assert record["previous"] == previous
        hasher = blake3()
        for value in ["imarium-audit-1", *(str(record[name]) for name in order)]:
            content = value.encode()
            hasher.update(str(len(content)).encode() + b":" + content + b",")
        assert hasher.hexdigest() == record["hash"]
        previous = record["hash"]


@given(st.lists(st.text(), max_size=5), st.lists(st.text(), max_size=5))
def test_no_two_lists_of_fields_have_one_encoding(first, second):
    assert (encode(*first) == encode(*second)) == (first == second)


WRITER = """
import sys
from pathlib import Path
from imarium.audit import Action, Audit
from imarium.catalog import Catalog
url, home, name = sys.argv[1:]
catalog = Catalog(url)
audit = Audit(catalog, b"s" * 32, Path(home))
for number in range(60):
    audit.record(Action.QUERY, actor=name, details={"number": number}, wait=number % 20 == 0)
audit.close()
catalog.close()
"""


def test_several_processes_make_one_chain(database_url, catalog, audit, tmp_path):
    line = [sys.executable, "-c", WRITER, database_url, str(tmp_path)]
    writers = [subprocess.Popen([*line, f"writer-{number}"]) for number in range(4)]
    assert [writer.wait(240) for writer in writers] == [0] * 4
    found = audit.verify()
    assert (found.sound, found.records) == (True, 240)
    for number in range(4):
        entries = audit.entries(AuditFilter(actor=f"writer-{number}"), limit=100)
        order = [json.loads(entry.record.details)["number"] for entry in entries]
        assert order == list(range(59, -1, -1))
    assert entries[0].record.outcome == Outcome.SUCCESS
    assert json.loads((tmp_path / "audit.head").read_text())["sequence"] == 240
