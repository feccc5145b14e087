"""Many files over several processes; copies appear whole or not at all."""

import numpy as np
import pydicom
import pytest
from PIL import Image

from imarium.deid.pipeline import Deidentifier, Status, Work, run, write_copy
from imarium.deid.policy import Policy
from imarium.deid.policy_file import load
from imarium.errors import CorruptFileError, QuarantineError, StorageError
from imarium.settings import Limits
from imarium.testing.dicom_files import make_dataset
from imarium.testing.identifiers import planted_file, search

PIXELS = np.arange(64, dtype=np.uint16).reshape(8, 8)


def work(folder, policy=None) -> Work:
    return Work(policy or Policy(), b"k" * 32, folder / "out")


def save(dataset, path):
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def outcomes(folder, paths, **options):
    return sorted(run(work(folder), paths, **options), key=lambda outcome: outcome.number)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_folder(tmp_path, processes):
    paths = [save(make_dataset(PIXELS, number), tmp_path / f"{number}.dcm") for number in range(1, 6)]
    Image.fromarray(PIXELS.astype(np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").touch()
    paths += [tmp_path / "a.png", tmp_path / "notes.txt", tmp_path / "empty", tmp_path / "missing"]
    found = outcomes(tmp_path, paths, processes=processes)
    assert [one.number for one in found] == list(range(1, 10))
    assert [one.status for one in found] == [Status.RELEASED] * 6 + [Status.REFUSED] * 3
    assert [one.code for one in found[6:]] == ["unsupported", "corrupt", "refused"]
    released = {(tmp_path / "out" / one.name).resolve() for one in found[:6]}
    written = {path.resolve() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert written == released, "and no partial files"
    assert len({one.subject for one in found[:5]}) == 1
    again = outcomes(tmp_path, paths, processes=processes)
    assert [one.status for one in again[:6]] == [Status.KNOWN] * 6


def test_one_and_many_processes_write_the_same(tmp_path):
    data, planter = planted_file(4)
    folder, name = planter.file_names()
    path = tmp_path / folder / name
    path.parent.mkdir()
    path.write_bytes(data)
    paths = [path, save(make_dataset(PIXELS), tmp_path / "b.dcm")]
    policy = load("research-longitudinal")
    trees = []
    for processes in (1, 2):
        out = tmp_path / f"out{processes}"
        found = list(run(Work(policy, b"k" * 32, out), paths, processes))
        assert found
        trees.append({str(file.relative_to(out)): file.read_bytes() for file in out.rglob("*.dcm")})
    assert trees[0] == trees[1]
    assert not search("\n".join(trees[0]).encode(), planter.planted)


def test_a_study_that_mixes_two_patients(tmp_path):
    one, other, third = make_dataset(PIXELS, 1), make_dataset(PIXELS, 2), make_dataset(PIXELS, 3)
    other.PatientID = "ID-OTHER"
    third.StudyInstanceUID = "1.2.3"
    paths = [save(dataset, tmp_path / f"{n}.dcm") for n, dataset in enumerate((one, other, third))]
    found = outcomes(tmp_path, paths)
    assert [outcome.status for outcome in found] == [Status.REFUSED, Status.REFUSED, Status.RELEASED]
    assert {outcome.code for outcome in found[:2]} == {"quarantine"}
    assert "mixes two patients" in found[0].reason
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 1


def test_two_objects_with_one_uid(tmp_path):
    one, other = make_dataset(PIXELS, 1), make_dataset(PIXELS + 1, 1)
    paths = [save(one, tmp_path / "a.dcm"), save(other, tmp_path / "b.dcm")]
    found = outcomes(tmp_path, paths, processes=1)
    assert [outcome.status for outcome in found] == [Status.RELEASED, Status.REFUSED]
    assert found[1].code == "quarantine"


def test_pieces_that_fail_leave_nothing(tmp_path):
    def broken():
        yield b"half"
        raise CorruptFileError("cut off")

    with pytest.raises(CorruptFileError):
        write_copy(tmp_path / "a" / "b", broken(), Limits())
    assert not list((tmp_path / "a").iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        write_copy(tmp_path / "file" / "b", iter([b"x"]), Limits())
    assert write_copy(tmp_path / "c", iter([b"x"]), Limits())
    assert not write_copy(tmp_path / "c", iter([b"x"]), Limits())
    with pytest.raises(QuarantineError):
        write_copy(tmp_path / "c", iter([b"y"]), Limits())


def test_a_key_makes_runs_agree_and_another_does_not(tmp_path):
    path = save(make_dataset(PIXELS), tmp_path / "a.dcm")

    def name(key, collection=""):
        return Deidentifier(Work(Policy(), key, tmp_path, collection)).clean(path).name

    assert name(b"k" * 32) == name(b"k" * 32)
    assert not set(name(b"k" * 32)) & set(name(b"l" * 32))
    assert not set(name(b"k" * 32)) & set(name(b"k" * 32, "other"))


def test_keys_and_originals_are_not_shown(tmp_path):
    path = save(make_dataset(PIXELS), tmp_path / "a.dcm")
    (found,) = outcomes(tmp_path, [path])
    assert found.original == "ID-0815"
    assert "0815" not in repr(found)
    assert "kkkk" not in repr(work(tmp_path))
