"""Erasing: nothing of it is left anywhere in the home folder, and all else is as it was."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from alembic import command
from alembic.config import Config
from pydicom.uid import generate_uid
from sqlalchemy import create_engine, inspect, select

import imarium.catalog.catalog as catalog_module
from imarium.access import pseudonym, site_secret
from imarium.archive import Archive
from imarium.audit import Action, AuditFilter, ObjectKind
from imarium.catalog import Catalog
from imarium.catalog.tables import Base, Pack, SeriesRow, Study, Subject
from imarium.erasure import Certificate, Kind, Scope
from imarium.errors import IntegrityError, InvalidRequestError, NotFoundError
from imarium.ingest import Status
from imarium.pack import SeriesIndex, read_directory
from imarium.settings import Settings, Sharing
from imarium.testing.dicom_files import make_dataset, write_file

AT_ONCE = timedelta(0)


class People:
    """Series of several persons, and what each must not leave behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.planted: dict[str, set[bytes]] = {}
        self.uids: dict[str, list[str]] = {}
        self.studies: dict[str, list[str]] = {}

    def add(self, name: str, series: int = 1, slices: int = 2, side: int = 32) -> list[Path]:
        """Files of a person with an identifier, a name and UIDs of their own."""
        random = np.random.default_rng(len(self.planted) + 100 * len(self.uids.get(name, ())))
        study = generate_uid()
        patient = {
            "PatientID": f"ID-{name}-7731",
            "PatientName": f"{name}^Planted",
            "StudyInstanceUID": study,
        }
        self.studies.setdefault(name, []).append(study)
        planted = self.planted.setdefault(name, set())
        planted |= {value.encode() for value in patient.values()}
        made = []
        for _ in range(series):
            uid = generate_uid()
            self.uids.setdefault(name, []).append(uid)
            planted.add(uid.encode())
            for number in range(slices):
                pixels = random.integers(0, 4000, (side, side)).astype(np.uint16)
                dataset = make_dataset(
                    pixels,
                    SOPInstanceUID=generate_uid(),
                    SeriesInstanceUID=uid,
                    InstanceNumber=number + 1,
                    ImagePositionPatient=[0, 0, number],
                    StudyDescription=f"study of {name} Planted",
                    **patient,
                )
                planted.add(str(dataset.SOPInstanceUID).encode())
                path = self.folder / name / f"{uid}-{number}.dcm"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_file(path, dataset)
                made.append(path)
        return made


@pytest.fixture
def people(tmp_path):
    return People(tmp_path / "files")


def take(archive, paths, collection="c"):
    outcomes = list(archive.ingest.run(paths, collection=collection))
    assert {outcome.status for outcome in outcomes} == {Status.TAKEN}, outcomes
    return outcomes


def scope_of(archive, name):
    secret = site_secret(archive.settings.home)
    return Scope(Kind.SUBJECT, pseudonym(secret, f"ID-{name}-7731"))


def erase(archive, scope, **options):
    told = []
    options = {"quiet": AT_ONCE, "actor": "ann", "record": told.append} | options
    certificate = archive.erasure.erase(scope, **options)
    assert told[-1] == certificate
    return certificate


def contents(home: Path) -> bytes:
    """Every byte of a home folder, and every part of packs out of its compression."""
    pieces = []
    for path in sorted(home.rglob("*")):
        if not path.is_file():
            continue
        pieces.append(path.name.encode())
        content = path.read_bytes()
        pieces.append(content)
        start = content.find(b"\x28\xb5\x2f\xfd")
        while start >= 0:  # frames of zstd: directories, indexes and attachments
            with suppress(ValueError, RuntimeError, imagecodecs.ZstdError):
                pieces.append(bytes(imagecodecs.zstd_decode(content[start:], out=1 << 22)))
            start = content.find(b"\x28\xb5\x2f\xfd", start + 4)
    return b"\0".join(pieces)


def codestreams(archive, uids) -> dict[str, list[bytes]]:
    """The parts of all frames of series, as they lie in their packs."""
    found = {}
    for uid in uids:
        record = archive.catalog.get_series(uid)
        content = (archive.settings.objects / record.pack.key).read_bytes()
        index = SeriesIndex.from_bytes(content[slice(*record.index_span)])
        parts, frames = index.lengths.shape
        found[uid] = [
            content[slice(*index.span(part, frame))] for part in range(parts) for frame in range(frames)
        ]
    return found


def left_of(home, planted, streams=()):
    everything = contents(home)
    return sorted(
        {value for value in planted if value in everything}
        | {stream[:20] for stream in streams if len(stream) > 24 and stream in everything}
    )


def test_nothing_is_left_of_a_person_and_the_others_are_as_they_were(archive, people):
    home = archive.settings.home
    take(archive, people.add("Ann", series=2) + people.add("Bob", series=3) + people.add("Cid"))
    take(archive, people.add("Ann"), collection="other")
    for name, uids in people.uids.items():
        for uid in uids:
            archive.audit.record(Action.VIEWED, ObjectKind.SERIES, uid, actor=f"reader of {name}"[:6])
    list(archive.manifests.rows(catalog_module.Selection()))
    archive.audit.flush()
    assert len(list(archive.settings.objects.rglob("*.imp"))) == 2
    anns = codestreams(archive, people.uids["Ann"])
    others = codestreams(archive, people.uids["Bob"] + people.uids["Cid"])
    facts = {uid: archive.catalog.get_series(uid) for uid in others}
    streams = [stream for parts in anns.values() for stream in parts]
    found = left_of(home, people.planted["Ann"], streams)
    assert len(found) > 5  # what is looked for can be found
    plan = archive.erasure.plan(scope_of(archive, "Ann"))
    assert plan.summary()["series"] == 3
    assert (plan.summary()["packs_rewritten"], plan.summary()["packs_deleted"]) == (1, 1)
    assert (plan.summary()["studies"], plan.summary()["subjects"]) == (2, 2)

    certificate = erase(archive, scope_of(archive, "Ann"))

    assert certificate.complete
    assert left_of(home, people.planted["Ann"] | {plan.scope.identifier.encode()}, streams) == []
    assert len(left_of(home, people.planted["Bob"] | people.planted["Cid"])) > 5
    assert codestreams(archive, others) == others
    for uid, before in facts.items():
        after = archive.catalog.get_series(uid)
        assert replace(after, pack=before.pack, index_span=before.index_span) == before
    assert [outcome.error for outcome in archive.streaming.verify()] == [None] * 4
    assert archive.audit.verify().sound
    assert archive.erasure.check(certificate) == []
    for uid in people.uids["Ann"]:
        with pytest.raises(NotFoundError):
            archive.catalog.get_series(uid)
    key = archive.audit.keys.of(ObjectKind.SERIES, people.uids["Ann"][0])
    (entry,) = archive.audit.entries(AuditFilter(object_key=key), limit=5)
    assert (entry.object_id, entry.record.action) == (None, "viewed")
    assert certificate.facts["frames"] == 6
    assert certificate.facts["rows"]["sources"] == 6


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_takes_what_belongs_to_it_and_no_more(archive, people, kind):
    take(archive, people.add("Ann", series=2))
    take(archive, people.add("Ann"))
    take(archive, people.add("Bob"))
    take(archive, people.add("Cid"), collection="other")
    identifier = {
        Kind.SERIES: people.uids["Ann"][0],
        Kind.STUDY: people.studies["Ann"][0],
        Kind.SUBJECT: scope_of(archive, "Ann").identifier,
        Kind.COLLECTION: "c",
    }[kind]
    certificate = erase(archive, Scope(kind, identifier))
    expected = {Kind.SERIES: 4, Kind.STUDY: 3, Kind.SUBJECT: 2, Kind.COLLECTION: 1}[kind]
    _, total = archive.catalog.series()
    assert total == expected
    with archive.catalog.session() as session:
        counts = [len(session.scalars(select(table)).all()) for table in (Study, Subject, SeriesRow)]
    studies = {Kind.SERIES: 4, Kind.STUDY: 3, Kind.SUBJECT: 2, Kind.COLLECTION: 1}[kind]
    subjects = {Kind.SERIES: 3, Kind.STUDY: 3, Kind.SUBJECT: 2, Kind.COLLECTION: 1}[kind]
    assert counts == [studies, subjects, expected]
    names = {record.name for record in archive.catalog.collections()}
    assert names == ({"other"} if kind is Kind.COLLECTION else {"c", "other"})
    assert [outcome.error for outcome in archive.streaming.verify()] == [None] * expected
    assert archive.erasure.check(certificate) == []
    assert len(certificate.facts["series"]) == 5 - expected


def test_replaced_packs_dead_bytes_orphans_and_scratch_go_too(archive, people):
    home = archive.settings.home
    first = people.add("Ann", slices=4)
    take(archive, first[:2] + people.add("Bob"))
    take(archive, first[2:3])  # grows out of the shared pack, where its dead bytes stay
    take(archive, first[3:])  # leaves a replaced pack
    orphan = next(archive.settings.objects.rglob("*.imp"))
    odd = archive.settings.objects / "packs" / "00" / ("0" * 64 + ".imp")
    odd.parent.mkdir(exist_ok=True)
    shutil.copy(orphan, odd)
    (archive.settings.objects / "packs" / "00" / "half.imp#1").write_bytes(first[0].read_bytes())
    (archive.settings.scratch / "pack-killed").mkdir()
    shutil.copy(first[0], archive.settings.scratch / "pack-killed" / "pack")
    upload = archive.settings.scratch / "uploads" / "ab"
    upload.mkdir(parents=True)
    shutil.copy(first[1], upload / "00000001.part")
    streams = [stream for parts in codestreams(archive, people.uids["Ann"]).values() for stream in parts]
    with archive.catalog.session() as session:
        assert session.scalar(select(Pack).where(Pack.replaced.is_not(None))) is not None
    certificate = erase(archive, Scope(Kind.SERIES, people.uids["Ann"][0]))
    assert certificate.complete
    assert certificate.facts["scratch_removed"] == 3
    assert left_of(home, people.planted["Ann"], streams) == []
    assert [outcome.error for outcome in archive.streaming.verify()] == [None]
    with archive.catalog.session() as session:
        assert session.scalar(select(Pack).where(Pack.replaced.is_not(None))) is None


def test_what_may_be_somebodys_work_is_left_and_told_of(archive, people):
    files = people.add("Ann")
    take(archive, files)
    (pack,) = archive.settings.objects.rglob("*.imp")
    young = archive.settings.objects / "packs" / "00" / ("0" * 64 + ".imp")
    young.parent.mkdir(exist_ok=True)
    shutil.copy(pack, young)
    work = archive.settings.scratch / "pack-at-work"
    work.mkdir()
    (work / "pack").write_bytes(b"x")
    certificate = erase(archive, scope_of(archive, "Ann"), quiet=timedelta(hours=1))
    assert not certificate.complete
    assert len(certificate.facts["unfinished"]) == 2
    assert (young.exists(), work.exists()) == (True, True)
    assert archive.erasure.check(certificate) != []
    past = time.time() - 7200
    for path in (young, work / "pack", work):
        os.utime(path, (past, past))
    (finished,) = archive.erasure.finish(lambda _: None)
    assert finished.complete
    assert (young.exists(), work.exists()) == (False, False)
    assert finished.id == certificate.id
    assert archive.erasure.check(finished) == []
    assert list(archive.erasure.finish(lambda _: None)) == []


KILLED = """
import os, sys
from datetime import timedelta
from pathlib import Path
from imarium.archive import Archive
from imarium.erasure import Kind, Scope
from imarium.settings import Settings
home, uid, target, after = sys.argv[1:]
archive = Archive(Settings(home=Path(home), threads=1))
module, name = target.split(":")
owner, _, method = name.partition(".")
import importlib
place = getattr(importlib.import_module(module), owner)
place, name = (place, method) if method else (importlib.import_module(module), owner)
real = getattr(place, name)
def deadly(*arguments, **options):
    if after == "before":
        os._exit(9)
    result = real(*arguments, **options)
    os._exit(9)
setattr(place, name, deadly)
archive.erasure.erase(Scope(Kind.SERIES, uid), actor="x", record=lambda _: None, quiet=timedelta(0))
"""


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    "target",
    [
        "imarium.erasure.service:rewrite",
        "imarium.erasure.service:remove_target",
        "imarium.erasure.service:Erasure._commit",
        "imarium.store.objects:ObjectStore.delete",
        "imarium.erasure.service:remove_leftovers",
        "imarium.catalog.catalog:Catalog.rewrite_files",
        "imarium.erasure.service:Erasure._keep",
    ],
)
def test_killed_at_any_point_all_is_there_or_a_second_try_finishes_it(tmp_path, people, target, moment):
    home = tmp_path / "home"
    archive = Archive(Settings(home=home, threads=1))
    take(archive, people.add("Ann") + people.add("Bob"))
    streams = [stream for parts in codestreams(archive, people.uids["Ann"]).values() for stream in parts]
    archive.close()
    (uid,) = people.uids["Ann"]
    done = subprocess.run([sys.executable, "-c", KILLED, str(home), uid, target, moment], check=False)
    assert done.returncode == 9
    archive = Archive(Settings(home=home, threads=1))
    _, total = archive.catalog.series()
    assert [outcome.error for outcome in archive.streaming.verify()] == [None] * total
    told = []
    if total == 2:
        erase(archive, Scope(Kind.SERIES, uid))
    else:
        with pytest.raises(NotFoundError):
            erase(archive, Scope(Kind.SERIES, uid), record=told.append)
        assert len(told) == 1
    archive.close()
    assert left_of(home, people.planted["Ann"], streams) == []
    archive = Archive(Settings(home=home, threads=1))
    assert [outcome.error for outcome in archive.streaming.verify()] == [None]
    (kept,) = (home / "erasures").glob("*.json")
    assert archive.erasure.check(Certificate.from_json(kept.read_text())) == []
    archive.close()


def test_what_was_erased_may_come_again_unless_it_is_refused(archive, people, tmp_path, nifti):
    files = people.add("Ann", slices=3)
    take(archive, files[:2])
    scope = Scope(Kind.STUDY, people.studies["Ann"][0])
    erase(archive, scope)
    take(archive, files[:2])
    certificate = erase(archive, scope, refuse_again=True)
    outcomes = list(archive.ingest.run(files, collection="c"))
    assert {outcome.status for outcome in outcomes} == {Status.REFUSED}
    assert all("erased" in (outcome.reason or "") for outcome in outcomes)
    (taken,) = take(archive, [nifti])
    other = erase(archive, Scope(Kind.SERIES, taken.series), refuse_again=True)
    assert [outcome.status for outcome in archive.ingest.run([nifti], collection="c")] == [Status.REFUSED]
    assert left_of(archive.settings.home, people.planted["Ann"]) == []
    take(archive, people.add("Bob"))
    assert archive.erasure.lift(certificate.id) > 3
    take(archive, files)
    assert [outcome.status for outcome in archive.ingest.run([nifti], collection="c")] == [Status.REFUSED]
    archive.erasure.lift(other.id)
    take(archive, [nifti])
    findings = archive.erasure.check(certificate)
    assert any("came again" in finding for finding in findings)
    with pytest.raises(NotFoundError):
        archive.erasure.lift("0" * 32)


def test_a_certificate_can_be_checked_and_not_forged(archive, people):
    take(archive, people.add("Ann"))
    certificate = erase(archive, scope_of(archive, "Ann"))
    text = json.dumps(certificate.to_json())
    assert archive.erasure.check(Certificate.from_json(text)) == []
    (kept,) = (archive.settings.home / "erasures").iterdir()
    assert json.loads(kept.read_text()) == json.loads(text)
    forged = text.replace('"frames": 2', '"frames": 3')
    assert forged != text
    with pytest.raises(IntegrityError):
        archive.erasure.check(Certificate.from_json(forged))
    for wrong in ("", "{}", "[]", "[" * 100_000, text.replace("imarium-erasure-1", "other"), '{"format": 1}'):
        with pytest.raises(InvalidRequestError):
            Certificate.from_json(wrong)


def test_a_damaged_pack_of_others_stops_it_before_anything_changes(archive, people):
    take(archive, people.add("Ann") + people.add("Bob"))
    (pack,) = archive.settings.objects.rglob("*.imp")
    entries = read_directory(lambda start, stop: pack.read_bytes()[start:stop], pack.stat().st_size)
    (bob,) = [entry for entry in entries if entry.uid == people.uids["Bob"][0]]
    content = bytearray(pack.read_bytes())
    content[bob.body[0] + 5] ^= 0xFF
    pack.write_bytes(content)
    with pytest.raises(IntegrityError):
        erase(archive, scope_of(archive, "Ann"))
    assert archive.catalog.series()[1] == 2
    assert list(archive.settings.scratch.glob("pack-*")) == []


def test_nothing_of_that_name(archive):
    for kind in Kind:
        with pytest.raises(NotFoundError):
            archive.erasure.plan(Scope(kind, "none"))


def test_a_study_of_two_collections_is_erased_from_one(archive, people):
    take(archive, people.add("Ann"))
    with archive.catalog.session() as session:  # the same study in another collection, with another series
        study = session.scalar(select(Study))
        uid = study.uid
    other = people.add("Ann")
    for path in other:
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID = uid
        dataset.save_as(path)
    take(archive, other, collection="other")
    certificate = erase(archive, Scope(Kind.COLLECTION, "c"))
    assert (certificate.facts["studies"], certificate.facts["subjects"]) == ([], [])
    assert archive.catalog.series()[1] == 1
    assert archive.erasure.check(certificate) == []


def test_ingest_goes_on_beside_it(tmp_path, people):
    settings = Settings(home=tmp_path / "home", threads=1, sharing=Sharing(seconds=0.0))
    archive, beside = Archive(settings), Archive(settings)
    take(archive, people.add("Ann", series=4) + people.add("Bob", series=4))
    files = people.add("Cid", series=12)
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(lambda: list(beside.ingest.run(files, collection="c")))
        for uid in people.uids["Ann"]:
            erase(archive, Scope(Kind.SERIES, uid), quiet=timedelta(hours=1))
        assert {outcome.status for outcome in coming.result()} == {Status.TAKEN}
    assert archive.catalog.series()[1] == 16
    assert [outcome.error for outcome in archive.streaming.verify()] == [None] * 16
    archive.close()
    beside.close()


def test_every_table_that_hangs_on_images_is_emptied():
    """Tables that are added later are reached by their foreign keys; one without would be forgotten."""
    named = {"series_id", "study_id", "subject_id", "collection_id", "pack_id"}
    for table in Base.metadata.tables.values():
        for column in table.columns:
            if column.name in named:
                assert column.foreign_keys, f"{table.name}.{column.name} refers to no table"


def test_migrations_go_both_ways_from_before(tmp_path):
    url = f"sqlite:///{tmp_path / 'c.sqlite'}"
    Catalog(url).close()
    engine = create_engine(url)
    config = Config()
    config.set_main_option("script_location", str(catalog_module._MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
    assert not {"audit_records", "erasures"} & set(inspect(engine).get_table_names())
    with sqlite3.connect(tmp_path / "c.sqlite") as database:
        database.execute(
            "INSERT INTO collections (name, description, created) VALUES ('kept', '', '2020-01-01')"
        )
    assert [record.name for record in Catalog(url).collections()] == ["kept"]


def test_slices_that_come_while_their_series_is_erased_are_stored_anew(archive, people, monkeypatch):
    files = people.add("Ann", slices=3)
    take(archive, files[:2])
    replaced = archive.catalog.replace_series

    def erased_before(*arguments):
        monkeypatch.undo()
        erase(archive, scope_of(archive, "Ann"), quiet=timedelta(hours=1))
        replaced(*arguments)

    monkeypatch.setattr(archive.catalog, "replace_series", erased_before)
    take(archive, files[2:])
    ((record,), total) = archive.catalog.series()
    assert (total, record.series.frames) == (1, 1)
    assert [outcome.error for outcome in archive.streaming.verify()] == [None]
