"""Labels that come with an ingest."""

import pytest

from imarium.archive import Archive
from imarium.errors import InvalidRequestError
from imarium.ingest import Status
from imarium.settings import Settings, Sharing


def labels(archive):
    return {record.series.format: dict(record.labels) for record in archive.catalog.series()[0]}


def test_all_series_of_an_ingest_get_its_labels(archive, phantom, nifti):
    outcomes = list(archive.ingest.run([phantom, nifti], collection="c", labels={"split": "train", "a": "1"}))
    assert {outcome.status for outcome in outcomes} == {Status.TAKEN}
    assert labels(archive) == {"dicom": {"a": "1", "split": "train"}, "nifti": {"a": "1", "split": "train"}}


def test_what_is_known_gets_labels_too(archive, phantom):
    list(archive.ingest.run([phantom], collection="c", labels={"split": "train"}))
    list(archive.ingest.run([phantom], collection="c"))
    assert labels(archive) == {"dicom": {"split": "train"}, "nifti": {"split": "train"}}
    outcomes = list(
        archive.ingest.run([phantom / "dicom"], collection="c", labels={"split": "test", "new": "x"})
    )
    assert {outcome.status for outcome in outcomes} == {Status.KNOWN}
    assert labels(archive) == {"dicom": {"new": "x", "split": "test"}, "nifti": {"split": "train"}}


def test_large_series_with_packs_of_their_own(tmp_path, phantom):
    archive = Archive(Settings(home=tmp_path / "home", sharing=Sharing(series_bytes=0)))
    list(archive.ingest.run([phantom], collection="c", labels={"split": "train"}))
    assert labels(archive) == {"dicom": {"split": "train"}, "nifti": {"split": "train"}}
    archive.close()


def test_labels_that_cannot_be_stop_it_before_it_begins(archive, phantom):
    with pytest.raises(InvalidRequestError):
        list(archive.ingest.run([phantom], collection="c", labels={"1": "x"}))
    assert archive.catalog.series()[1] == 0
