"""DICOMDIR: a CD is taken in whole, given as a folder or by its table of contents, and nothing outside it."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imarium.archive import Archive
from imarium.formats.base import ReadContext, Refusal
from imarium.formats.dicom import DicomReader, Places, TableOfContentsError
from imarium.ingest.outcome import Outcome, Status
from imarium.phantoms import ct_chest
from imarium.settings import Limits
from imarium.testing.dicom_files import make_table, write_file

SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files" / "dicomdirtests"


def _table(
    folder: Path, *files: tuple[str, ...] | str | None, name: str = "DICOMDIR", used: int = 0xFFFF
) -> Path:
    return write_file(folder / name, make_table(files, used))


def _ingest(archive: Archive, *paths: Path) -> list[Outcome]:
    return list(archive.ingest.run(paths, collection="main"))


@pytest.fixture
def disc(tmp_path: Path) -> Path:
    """A folder with `IMAGES/IM0` to `IM3`, slices of one series."""
    folder = tmp_path / "disc"
    (folder / "IMAGES").mkdir(parents=True)
    for number, path in enumerate(ct_chest(4, 32, 32).write_dicom(tmp_path / "made")):
        shutil.move(path, folder / "IMAGES" / f"IM{number}")
    return folder


FILES = [("IMAGES", f"IM{number}") for number in range(4)]


def test_given_alone_it_leads_to_its_files(archive: Archive, disc: Path) -> None:
    table = _table(disc, None, *FILES)
    first, *rest = _ingest(archive, table)
    assert (first.path, first.status, first.series) == (table, Status.KNOWN, None)
    assert first.reason == "a table of contents (DICOMDIR) of 4 files"
    assert [outcome.status for outcome in rest] == [Status.TAKEN] * 4
    assert {outcome.path for outcome in rest} == {disc / folder / name for folder, name in FILES}
    assert len({outcome.series for outcome in rest}) == 1
    again = _ingest(archive, table)
    assert [outcome.status for outcome in again] == [Status.KNOWN] * 5


def test_given_in_its_folder_nothing_is_read_twice(archive: Archive, disc: Path) -> None:
    _table(disc, *FILES)
    outcomes = _ingest(archive, disc)
    assert Counter(outcome.status for outcome in outcomes) == {Status.KNOWN: 1, Status.TAKEN: 4}
    assert len({outcome.path for outcome in outcomes}) == 5


def test_files_seen_by_another_name_are_not_read_twice(archive: Archive, disc: Path, tmp_path: Path) -> None:
    _table(disc, *FILES)
    link = tmp_path / "link"
    link.symlink_to(disc)
    outcomes = _ingest(archive, link / "DICOMDIR", disc / "IMAGES")
    assert Counter(outcome.status for outcome in outcomes) == {Status.KNOWN: 1, Status.TAKEN: 4}


def test_missing_files_are_told_of(archive: Archive, disc: Path) -> None:
    table = _table(disc, *FILES, ("IMAGES", "IM9"), ("ELSEWHER", "IM0"))
    first, *rest = _ingest(archive, table)
    assert first.reason == "a table of contents (DICOMDIR) of 6 files, 2 of which are not beside it"
    assert first.status is Status.KNOWN
    assert len(rest) == 4


def test_records_that_are_not_in_use(archive: Archive, disc: Path) -> None:
    (only,) = _ingest(archive, _table(disc, *FILES, used=0))
    assert only.status is Status.KNOWN


def test_nothing_outside_its_folder_is_read(archive: Archive, disc: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.move(disc / "IMAGES" / "IM0", outside / "IM0")
    (disc / "LINK").symlink_to(outside)
    (disc / "FILE").symlink_to(outside / "IM0")
    absolute = str(outside / "IM0")
    table = _table(
        disc,
        ("..", "outside", "IM0"),
        ("LINK", "IM0"),
        "FILE",
        "../outside/IM0",
        absolute,
        ("", *absolute.split("/")[1:]),
    )
    (only,) = _ingest(archive, table)
    assert only.reason is not None
    assert "6 of which are not beside it" in only.reason


def test_names_in_other_cases_and_with_versions(disc: Path) -> None:
    (disc / "IMAGES" / "IM0").rename(disc / "IMAGES" / "im0.;1")
    (disc / "IMAGES").rename(disc / "images")
    places = Places(disc)
    assert places.find(("IMAGES", "IM0")) == disc / "images" / "im0.;1"
    assert places.find(("IMAGES", "IM1")) == disc / "images" / "IM1"
    for file_id in (("IMAGES",), ("IMAGES", "IM0", "X"), ("", "IM1"), ("a\0b",), ("x" * 5000,)):
        assert places.find(file_id) is None


def test_tables_that_lead_to_tables(archive: Archive, disc: Path) -> None:
    first = _table(disc, "SECOND", "DICOMDIR", ("IMAGES", "IM0"))
    _table(disc, "DICOMDIR", "SECOND", ("IMAGES", "IM1"), name="SECOND")
    outcomes = _ingest(archive, first)
    assert Counter(outcome.status for outcome in outcomes) == {Status.KNOWN: 2, Status.TAKEN: 1}


def test_what_it_names_may_be_no_image(archive: Archive, disc: Path) -> None:
    (disc / "REPORT").write_text("no DICOM at all " * 100)
    (disc / "PICTURE").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    first, *rest = _ingest(archive, _table(disc, "REPORT", "PICTURE", ("IMAGES", "IM0")))
    assert first.status is Status.KNOWN
    assert Counter(outcome.status for outcome in rest) == {Status.REFUSED: 2, Status.TAKEN: 1}


@pytest.mark.parametrize("name", ["DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-implicit", "DICOMDIR-nopatient"])
def test_tables_that_pydicom_ships(name: str, archive: Archive) -> None:
    table = SHIPPED / name
    if not table.exists():
        pytest.skip(f"pydicom does not ship {name}")
    dataset = pydicom.dcmread(table)
    named = {
        tuple(record.ReferencedFileID)
        for record in dataset.DirectoryRecordSequence
        if "ReferencedFileID" in record
    }
    there = {file_id for file_id in named if (SHIPPED / Path(*file_id)).is_file()}
    first, *rest = _ingest(archive, table)
    assert first.status is Status.KNOWN
    assert first.reason is not None
    assert f"of {len(named)} files" in first.reason
    assert {outcome.path for outcome in rest} == {SHIPPED / Path(*file_id) for file_id in there}
    assert len(rest) == len(there)


def test_a_whole_disc_of_pydicom(archive: Archive) -> None:
    outcomes = _ingest(archive, SHIPPED / "TINY_ALPHA" / "DICOMDIR")
    assert outcomes[0].status is Status.KNOWN
    assert outcomes[0].reason == f"a table of contents (DICOMDIR) of {len(outcomes) - 1} files"
    assert len(outcomes) > 40


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.integers(132, 1200), st.binary(min_size=1, max_size=4)), max_size=4))
def test_mutated_tables_never_escape(edits: list[tuple[int, bytes]], tmp_path: Path) -> None:
    content = bytearray(_table(tmp_path, *FILES).read_bytes())
    for position, piece in edits:
        at = position % len(content)
        content[at : at + len(piece)] = piece
    path = tmp_path / "mutated"
    path.write_bytes(content)
    (found,) = DicomReader().read([path], ReadContext(Limits(), tmp_path))
    assert isinstance(found, Refusal)
    if isinstance(found.error, TableOfContentsError):
        places = Places(tmp_path)
        for file_id in found.error.file_ids:
            place = places.find(file_id)
            assert place is None or place.parent == tmp_path
