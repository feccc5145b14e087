"""Nothing reaches a collection that demands de-identification without passing its gate."""

import numpy as np
import pydicom
import pytest
from PIL import Image

from imarium.archive import Archive
from imarium.errors import InvalidRequestError, NotFoundError, PolicyError
from imarium.ingest import Status
from imarium.settings import Settings
from imarium.testing.dicom_files import make_dataset
from imarium.testing.identifiers import kept_on_purpose, planted_file, search

PIXELS = np.arange(64, dtype=np.uint16).reshape(8, 8)
EMPTY_DOCUMENTS = "name: open\ndocuments: empty\n"


def save(dataset, path):
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def stored(archive, tmp_path) -> bytes:
    """Every series as DICOM, with the headers that its pack keeps, and the packs themselves."""
    held = [path.read_bytes() for path in archive.settings.objects.rglob("*") if path.is_file()]
    for item in archive.catalog.series()[0]:
        if item.series.format == "dicom":
            archive.streaming.export(item.series.uid, "dicom", tmp_path / "exported" / item.series.uid)
    held += [path.read_bytes() for path in (tmp_path / "exported").rglob("*") if path.is_file()]
    return b"".join(held)


def test_only_what_passed_is_stored(archive, tmp_path):
    archive.gate.demand("open", EMPTY_DOCUMENTS, "ann")
    data, planter = planted_file(5)
    folder, name = planter.file_names()
    path = tmp_path / folder / name
    path.parent.mkdir()
    path.write_bytes(data)
    Image.fromarray(PIXELS.astype(np.uint8)).save(tmp_path / folder / "a.png", comment="x")
    (tmp_path / folder / "letter.txt").write_text("Dear")
    outcomes = {
        outcome.path.name: outcome for outcome in archive.ingest.run([tmp_path / folder], collection="open")
    }
    assert outcomes[name].status is Status.TAKEN
    assert outcomes["a.png"].status is Status.TAKEN
    assert outcomes["letter.txt"].status is Status.REFUSED
    assert outcomes[name].path == path
    assert not archive.gate.waiting()
    database = (archive.settings.home / "catalog.sqlite").read_bytes()
    for held in (stored(archive, tmp_path), database):
        left = [one for one in search(held, planter.planted) if not kept_on_purpose(one, ())]
        assert not left, {(one.where, one.kind) for one in left}
    assert not list(archive.settings.scratch.glob("deid-*"))
    again = list(archive.ingest.run([path], collection="open"))
    assert [outcome.status for outcome in again] == [Status.KNOWN]
    key = archive.settings.home / "custody" / "deid-key"
    assert key.stat().st_mode & 0o777 == 0o600


def test_other_collections_are_as_they_were(archive, tmp_path):
    path = save(make_dataset(PIXELS), tmp_path / "a.dcm")
    (outcome,) = archive.ingest.run([path], collection="plain")
    assert outcome.status is Status.TAKEN
    assert b"ID-0815" in stored(archive, tmp_path)
    with pytest.raises(InvalidRequestError, match="passed no gate"):
        archive.gate.demand("plain", EMPTY_DOCUMENTS, "ann")
    with pytest.raises(PolicyError):
        archive.gate.demand("new", "nmae: x", "ann")
    with pytest.raises(NotFoundError):
        archive.gate.passage("plain", []).__enter__()


def test_what_may_not_be_released_waits_until_somebody_decides(archive, tmp_path):
    archive.gate.demand("open", "name: strict\n", "ann")
    stated, document = make_dataset(PIXELS, 1), make_dataset(PIXELS, 2)
    stated.BurnedInAnnotation = "YES"
    document.SeriesInstanceUID, document.EncapsulatedDocument = "1.2.3", b"%PDF"
    paths = [save(stated, tmp_path / "stated.dcm"), save(document, tmp_path / "document.dcm")]
    outcomes = list(archive.ingest.run(paths, collection="open"))
    assert [outcome.status for outcome in outcomes] == [Status.REFUSED] * 2
    assert all(outcome.reason.startswith("in quarantine: ") for outcome in outcomes)
    rows = archive.gate.waiting("open")
    assert [row.code for row in rows] == ["review", "quarantine"]
    kept = archive.settings.home / "quarantine"
    assert kept.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in kept.iterdir()} == {row.digest for row in rows}
    # Somebody looked at the first; the second passes only once the policy says what to do.
    (outcome,) = archive.ingest.release(rows[0].id, "bob")
    assert outcome.status is Status.TAKEN
    (outcome,) = archive.ingest.release(rows[1].id, "bob")
    assert outcome.status is Status.REFUSED
    assert [row.id for row in archive.gate.waiting()] == [rows[1].id]
    archive.gate.demand("open", EMPTY_DOCUMENTS, "ann")
    (outcome,) = archive.ingest.release(rows[1].id, "bob")
    assert outcome.status is Status.TAKEN
    assert not list(kept.iterdir())
    assert [row.decided_by for row in archive.gate.waiting(state=None)] == ["bob", "bob"]
    with pytest.raises(NotFoundError):
        list(archive.ingest.release(rows[0].id, "bob"))
    with pytest.raises(NotFoundError):
        archive.gate.discard(999, "bob")


def test_discarding(archive, tmp_path):
    archive.gate.demand("open", "name: strict\n", "ann")
    stated = make_dataset(PIXELS)
    stated.BurnedInAnnotation = "YES"
    path = save(stated, tmp_path / "a.dcm")
    for _ in range(2):
        list(archive.ingest.run([path], collection="open"))
    (row,) = archive.gate.waiting()
    archive.gate.discard(row.id, "bob")
    assert not list((archive.settings.home / "quarantine").iterdir())
    assert [one.state for one in archive.gate.waiting(state=None)] == ["discarded"]


def test_a_study_that_mixes_two_patients(archive, tmp_path):
    archive.gate.demand("open", "name: strict\n", "ann")
    one, other = make_dataset(PIXELS, 1), make_dataset(PIXELS, 2)
    other.PatientID = "ID-OTHER"
    first, second = save(one, tmp_path / "a.dcm"), save(other, tmp_path / "b.dcm")
    outcomes = list(archive.ingest.run([first, second], collection="open"))
    assert [outcome.status for outcome in outcomes] == [Status.REFUSED] * 2
    assert len(archive.gate.waiting()) == 2
    # One after the other: the catalog knows whose study it is.
    (outcome,) = archive.ingest.run([first], collection="open")
    assert outcome.status is Status.TAKEN
    (outcome,) = archive.ingest.run([second], collection="open")
    assert outcome.status is Status.REFUSED
    assert "of another patient" in outcome.reason


def test_a_home_of_before_has_no_demands(tmp_path):
    archive = Archive(Settings(home=tmp_path / "home", threads=1))
    assert archive.gate.policy("default") is None
    archive.close()
