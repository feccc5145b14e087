"""What erasing leaves in databases."""

from datetime import timedelta

from sqlalchemy import select, text

from imarium.archive import Archive
from imarium.audit import Action, AuditFilter, ObjectKind
from imarium.catalog import Catalog
from imarium.catalog.audit_tables import AuditObjectRow
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
