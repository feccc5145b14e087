"""What erasing leaves in databases."""

from datetime import timedelta

from sqlalchemy import select, text

from imarium.archive import Archive
from imarium.audit import Action, AuditFilter, ObjectKind
from imarium.catalog import Catalog
from imarium.catalog.audit_tables import AuditObjectRow
from imarium.catalog.search_tables import AttributeValue, SeriesAttribute
from imarium.catalog.tables import SeriesRow
from imarium.deid.policy_file import text_of
from imarium.erasure import Kind, Scope, recording
from imarium.settings import Settings


def test_a_catalog_in_postgresql(tmp_path, postgres_server, phantom):
    archive = Archive(Settings(home=tmp_path / "home", threads=1, database=postgres_server.fresh()))
    outcomes = list(archive.ingest.run([phantom], collection="c"))
    uids = {outcome.series for outcome in outcomes}
    uid = next(uid for uid in uids if archive.catalog.get_series(uid).series.format == "dicom")
    archive.audit.record(Action.VIEWED, ObjectKind.SERIES, uid, wait=True)
    certificate = archive.erasure.erase(
        Scope(Kind.SERIES, uid),
        actor="ann",
        record=recording(archive.audit, "ann", "local"),
        refuse_again=True,
        quiet=timedelta(0),
    )
    assert certificate.complete
    assert archive.erasure.check(certificate) == []
    assert [outcome.error for outcome in archive.streaming.verify()] == [None]
    assert archive.audit.verify().sound
    assert len(archive.audit.entries(AuditFilter(action=Action.ERASED), limit=9)) == 2
    with archive.catalog.session() as session:
        assert uid not in set(session.scalars(select(AuditObjectRow.identifier)))
    assert {outcome.status for outcome in archive.ingest.run([phantom / "dicom"], collection="c")} == {
        "refused"
    }
    archive.close()


def test_words_of_full_text_search_are_not_left_in_the_file(tmp_path):
    path = tmp_path / "catalog.sqlite"
    catalog = Catalog(f"sqlite:///{path}")
    with catalog.session() as session:
        session.execute(text("CREATE VIRTUAL TABLE words USING fts5(content)"))
        for word in ("plantedname", "other"):
            session.execute(text("INSERT INTO words (content) VALUES (:word)"), {"word": word})
    with catalog.session() as session:
        session.execute(text("DELETE FROM words WHERE content = 'plantedname'"))
    assert catalog.rewrite_files()
    everything = b"".join(found.read_bytes() for found in tmp_path.glob("catalog.sqlite*"))
    assert b"plantedname" not in everything
    assert b"other" in everything
    catalog.close()


def test_values_that_only_erased_series_had_go_with_them(archive, phantom):
    outcomes = list(archive.ingest.run([phantom], collection="c"))
    formats = {
        archive.catalog.get_series(uid).series.format: uid for uid in {item.series for item in outcomes}
    }
    with archive.catalog.session() as session:
        (value,) = session.scalars(select(AttributeValue.id).where(AttributeValue.text == "CT").limit(1))
        planted = AttributeValue(keyword="StationName", text="plantedname")
        session.add(planted)
        session.flush()
        number = session.scalar(select(SeriesRow.id).where(SeriesRow.uid == formats["dicom"]))
        session.add(SeriesAttribute(series_id=number, value_id=planted.id))
    for kind, identifier in ((Kind.SERIES, formats["dicom"]), (Kind.COLLECTION, "c")):
        archive.erasure.erase(Scope(kind, identifier), actor="ann", record=lambda _: None, quiet=timedelta(0))
        with archive.catalog.session() as session:
            assert "plantedname" not in set(session.scalars(select(AttributeValue.text)))
    with archive.catalog.session() as session:
        assert session.get(AttributeValue, value) is None


def test_the_pack_that_stays_is_of_its_collection_still(archive, phantom):
    outcomes = list(archive.ingest.run([phantom], collection="c"))
    first, second = {item.series for item in outcomes}
    archive.erasure.erase(Scope(Kind.SERIES, first), actor="a", record=lambda _: None, quiet=timedelta(0))
    record = archive.catalog.get_series(second)
    assert archive.catalog.get_pack(record.pack.key).collection == record.collection_id


def test_the_quarantine_of_an_erased_collection_goes(archive, tmp_path):
    archive.gate.demand("c", text_of("basic"), "ann")
    source = tmp_path / "scan"
    source.write_bytes(b"what did not pass")
    archive.gate._keep("c", source, "review", "somebody has to look")
    (kept,) = (archive.settings.home / "quarantine").iterdir()
    archive.erasure.erase(Scope(Kind.COLLECTION, "c"), actor="ann", record=lambda _: None, quiet=timedelta(0))
    assert not kept.exists()
