"""The one way in: what is recorded, how it waits, and how it is found again."""

import json
import logging
import subprocess
import sys
import threading
import time

import pytest
from sqlalchemy import select

from imarium.audit import Action, Audit, AuditFilter, ObjectKind, Outcome
from imarium.audit.objects import forget_identifiers
from imarium.catalog import Catalog, NewSeries, PackRecord
from imarium.catalog.audit_tables import AuditObjectRow, AuditRecordRow
from imarium.catalog.dialects import one_writer
from imarium.errors import InvalidRequestError, StorageError
from imarium.model import Series

SECRET = b"s" * 32


def stored(catalog, uid, study="9.1", pseudonym="S-1", collection="c"):
    """A series that the catalog knows."""
    series = Series(uid=uid, study_uid=study, format="dicom", rows=8, columns=8, frames=2, dtype="uint16")
    new = NewSeries(series, uid, 1, "htj2k", 10, PackRecord(f"packs/{uid}", 10, "ab"), (0, 5), (), pseudonym)
    catalog.add_series(collection, new)


def test_what_happened_is_there_soon_and_whole(audit):
    audit.record(
        Action.LOGIN, ObjectKind.USER, "ann", actor="ann", origin="10.0.0.9", outcome=Outcome.REFUSED
    )
    audit.flush()
    (entry,) = audit.entries(AuditFilter(), limit=10)
    record = entry.record
    assert (record.sequence, record.action, record.actor) == (1, "login", "ann")
    assert (record.origin, record.outcome, record.details) == ("10.0.0.9", "refused", "{}")
    assert len(record.time) == 27
    assert record.time.endswith("Z")


def test_whoever_waits_finds_it_written(audit):
    audit.record(Action.LABELLED, wait=True)
    assert audit.verify().last == 1


def test_the_end_of_a_process_writes_what_waits(database_url, catalog, audit, tmp_path):
    script = (
        "import sys; from pathlib import Path; from imarium.audit import Action, Audit\n"
        "from imarium.catalog import Catalog\n"
        "audit = Audit(Catalog(sys.argv[1]), b's' * 32, Path(sys.argv[2]))\n"
        "for number in range(700): audit.record(Action.QUERY, details={'n': number})\n"
    )
    subprocess.run([sys.executable, "-c", script, database_url, str(tmp_path)], check=True)
    assert audit.verify().last == 700


def test_a_catalog_that_is_busy_delays_records_and_loses_none(tmp_path, caplog):
    caplog.set_level(logging.CRITICAL)
    catalog = Catalog(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    audit = Audit(catalog, SECRET, tmp_path)
    catalog._engine.dispose()
    (tmp_path / "catalog.sqlite").rename(tmp_path / "away")
    (tmp_path / "catalog.sqlite").mkdir()  # cannot be opened
    for number in range(3):
        audit.record(Action.QUERY, details={"number": number})
    with pytest.raises(StorageError):
        audit.record(Action.ERASED, wait=True)
    (tmp_path / "catalog.sqlite").rmdir()
    (tmp_path / "away").rename(tmp_path / "catalog.sqlite")
    audit.close()
    assert [entry.record.action for entry in audit.entries(AuditFilter(), limit=9)] == ["query"] * 3
    order = [json.loads(entry.record.details)["number"] for entry in audit.entries(AuditFilter(), limit=9)]
    assert order == [2, 1, 0]
    catalog.close()


def test_a_request_does_not_wait_for_the_catalog(audit, catalog):
    release = threading.Event()
    holding = threading.Event()

    def hold():
        with catalog.session() as session:
            one_writer(session)
            holding.set()
            release.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holding.wait(60)
    began = time.monotonic()
    for _ in range(200):
        audit.record(Action.VIEWED)
    assert time.monotonic() - began < 5
    assert audit.entries(AuditFilter(), limit=1) == []
    release.set()
    thread.join()
    audit.flush()
    assert audit.verify().last == 200


def test_what_does_not_fit_in_memory_is_counted(audit, monkeypatch):
    monkeypatch.setattr("imarium.audit.service._MOST_WAITING", 0)
    audit.record(Action.QUERY)
    monkeypatch.undo()
    audit.record(Action.QUERY, wait=True)
    actions = [entry.record.action for entry in audit.entries(AuditFilter(), limit=9)]
    assert actions == ["audit-lost", "query"]


@pytest.mark.parametrize(
    "details",
    [
        {"Name": 1},
        {"a b": 1},
        {"x": "y" * 201},
        {"x": [1]},
        {"x": float("nan")},
        {f"k{number}": 1 for number in range(33)},
        {f"k{number}": "é" * 200 for number in range(30)},
    ],
)
def test_details_are_few_and_short(audit, details):
    with pytest.raises(InvalidRequestError):
        audit.record(Action.QUERY, details=details)


@pytest.mark.parametrize("name", ["\ud800", "a\0b", "x" * 2000, "'; DROP TABLE x", "<b>\n\x1b[31m"])
def test_any_name_and_address_can_be_recorded(audit, name):
    audit.record(Action.VIEWED, ObjectKind.POLICY, name, actor=name, origin=name, wait=True)
    assert audit.verify().sound
    (entry,) = audit.entries(AuditFilter(), limit=1)
    assert len(entry.record.actor) <= 100
    assert entry.record.actor.isprintable()


def test_an_object_leads_to_its_records_and_those_of_its_parts(audit, catalog):
    stored(catalog, "1.1")
    stored(catalog, "1.2", study="9.2")
    stored(catalog, "1.3", study="9.3", pseudonym="S-2")
    for uid in ("1.1", "1.2", "1.3"):
        audit.record(Action.VIEWED, ObjectKind.SERIES, uid)
    audit.record(Action.EXPORTED, ObjectKind.STUDY, "9.1", actor="bob")
    audit.flush()

    def found(kind, identifier):
        entries = audit.entries(AuditFilter(object_kind=kind, object_id=identifier), limit=9)
        return [(entry.record.action, entry.object_id) for entry in entries]

    assert found(ObjectKind.SERIES, "1.1") == [("viewed", "1.1")]
    assert found(ObjectKind.STUDY, "9.1") == [("exported", "9.1"), ("viewed", "1.1")]
    assert len(found(ObjectKind.SUBJECT, "S-1")) == 3
    assert len(found(ObjectKind.SUBJECT, "S-2")) == 1
    (entry,) = audit.entries(AuditFilter(object_kind=ObjectKind.SERIES, object_id="1.2"), limit=9)
    assert (entry.study, entry.subject) == ("9.2", "S-1")


def test_filters_and_pages(audit):
    for number in range(10):
        audit.record(Action.VIEWED if number % 2 else Action.QUERY, actor=f"a{number % 3}")
    audit.flush()
    assert len(audit.entries(AuditFilter(action=Action.QUERY), limit=99)) == 5
    assert len(audit.entries(AuditFilter(actor="a0"), limit=99)) == 4
    assert audit.entries(AuditFilter(since="2999"), limit=9) == []
    assert audit.entries(AuditFilter(until="2000"), limit=9) == []
    assert (
        len(audit.entries(AuditFilter(since="2000", until="2999", outcome=Outcome.SUCCESS), limit=99)) == 10
    )
    first = audit.entries(AuditFilter(), limit=4)
    second = audit.entries(AuditFilter(), limit=4, before=first[-1].record.sequence)
    assert [entry.record.sequence for entry in first + second] == list(range(10, 2, -1))


def test_a_name_that_nothing_has_is_not_kept(audit, catalog):
    audit.record(Action.VIEWED, ObjectKind.SERIES, "SMITH^JOHN", outcome=Outcome.FAILED, wait=True)
    (entry,) = audit.entries(AuditFilter(), limit=1)
    assert entry.object_id is None
    assert entry.record.object_key
    with catalog.session() as session:
        assert session.scalars(select(AuditObjectRow)).all() == []


def test_without_its_identifiers_the_chain_is_whole_and_still_tells_them_apart(audit, catalog):
    stored(catalog, "1.1")
    stored(catalog, "1.2")
    for uid in ("1.1", "1.2", "1.1"):
        audit.record(Action.VIEWED, ObjectKind.SERIES, uid)
    audit.flush()
    key = audit.keys.of(ObjectKind.SERIES, "1.1")
    with catalog.session() as session:
        assert forget_identifiers(session, [key]) == 1
        assert forget_identifiers(session, [key]) == 0
    assert audit.verify().sound
    entries = audit.entries(AuditFilter(object_key=key), limit=9)
    assert [entry.object_id for entry in entries] == [None, None]
    with catalog.session() as session:
        kept = [*session.scalars(select(AuditObjectRow.identifier))]
        texts = [str(row) for row in session.execute(select(*AuditRecordRow.__table__.columns))]
    assert "1.1" not in kept
    assert "1.2" in kept
    assert not any("1.1" in line for line in texts)


def test_keys_differ_between_installations_and_kinds(audit, catalog, tmp_path):
    (tmp_path / "other").mkdir()
    other = Audit(catalog, b"o" * 32, tmp_path / "other")
    key = audit.keys.of(ObjectKind.SERIES, "1.2")
    assert len({key, other.keys.of(ObjectKind.SERIES, "1.2"), audit.keys.of(ObjectKind.STUDY, "1.2")}) == 3
