"""Slices described from the one before are what they are when read alone."""

import random
from dataclasses import replace
from pathlib import Path

import pydicom
import pydicom.data
import pytest

from imarium.errors import ImariumError
from imarium.formats.base import Refusal
from imarium.formats.dicom import instance as instances
from imarium.formats.dicom import slices, values
from imarium.formats.dicom.attachments import read_index, restore_instance
from imarium.formats.dicom.instance import describe, read_instance, scan
from imarium.formats.dicom.slices import OF_A_SLICE, SliceScanner, StoredSlices, of_a_slice
from imarium.phantoms import ct_chest


@pytest.fixture
def heads(tmp_path):
    files = ct_chest(6, 32, 32).write_dicom(tmp_path / "phantom")
    shipped = sorted(Path(pydicom.data.__file__).parent.rglob("*.dcm"))
    return [path.read_bytes() for path in files], [path.read_bytes()[:16384] for path in shipped]


def described(scanned, path):
    try:
        found = scanned(path)
    except ImariumError as error:
        return str(error)
    kept = path.read_bytes()[: found.header_bytes] if found.header_bytes is not None else None
    assert found.header in (None, kept)
    return replace(found, header=None)


def test_any_sequence_of_files(tmp_path, context, heads):
    """Nothing of one header ever shows in the next, however alike the two are."""
    alike, others = heads
    chance = random.Random(7)
    scanner = SliceScanner(context)
    quick = 0
    path = tmp_path / "file"
    for _ in range(1500):
        data = bytearray(chance.choice(alike if chance.random() < 0.9 else others))
        for _ in range(chance.choice([0, 0, 0, 1, 2])):
            position = chance.randrange(132, min(len(data), 2500))
            if chance.random() < 0.5:
                data[position] = chance.randrange(256)
            else:  # what follows moves
                data[position:position] = bytes(2) if chance.random() < 0.5 else b"12"
        path.write_bytes(data)
        before = scanner._example
        assert described(scanner.scan, path) == described(lambda one: scan(one, context), path)
        quick += before is not None and scanner._example is before
    assert quick > 300


def test_slices_of_a_series_are_read_the_quick_way(tmp_path, context, monkeypatch):
    calls = []
    monkeypatch.setattr(slices, "read_instance", lambda *given: calls.append(1) or read_instance(*given))
    scanner = SliceScanner(context)
    files = ct_chest(12, 32, 32).write_dicom(tmp_path)
    found = [scanner.scan(path) for path in files]
    assert len(calls) == 2
    assert [one.places for one in found] == [scan(path, context).places for path in files]


def test_an_element_of_no_known_kind_harms_no_slice(tmp_path, context):
    """It used to, in the second file of a series."""
    files = ct_chest(4, 32, 32).write_dicom(tmp_path)
    for file in files:
        data = bytearray(file.read_bytes())
        data[data.index(b"\x08\x00\x50\x00SH") + 5] = 0xAB  # Accession Number, which is empty
        file.write_bytes(data)
    scanner = SliceScanner(context)
    assert [described(scanner.scan, one) for one in files] == [
        described(lambda path: scan(path, context), one) for one in files
    ]
    assert not isinstance(described(scanner.scan, files[1]), str)


def test_elements_of_a_slice_tell_nothing_else(tmp_path, context, monkeypatch):
    """No fact but the place and the identity of a slice is taken from an element that may differ."""
    asked = set()
    get, plain = values.get, pydicom.Dataset.get_item

    def watched(dataset, keyword):
        asked.add(int(values._tag(keyword)))
        return get(dataset, keyword)

    def watched_item(dataset, tag, **options):
        asked.add(int(pydicom.tag.Tag(tag)))
        return plain(dataset, tag, **options)

    monkeypatch.setattr(values, "get", watched)
    monkeypatch.setattr(pydicom.Dataset, "get_item", watched_item)
    for place in ("image_plane", "_frame_place"):
        monkeypatch.setattr(instances, place, lambda *_: instances.Place())
    for path in sorted(Path(pydicom.data.__file__).parent.rglob("*.dcm")):
        try:
            with instances.header_opened(path, context.limits) as (raw, status):
                _, header = read_instance(raw, status, path, context)
                form = instances.pixel_format(header, context.limits)
                describe(header, form, None)
        except ImariumError:
            continue
    assert len(asked) > 30
    assert {tag for tag in asked if of_a_slice(tag)} == {0x00080018}  # SOP Instance UID
    assert 0x00200032 in OF_A_SLICE


def restored(restore, *arguments):
    try:
        return replace(restore(*arguments))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@pytest.fixture
def kept(tmp_path, read, pydicom_files):
    """What is kept of six slices, and of every file that pydicom ships: (how it is known, header) of each."""

    def instances_of(*paths):
        sources = [found for found in read(*paths) if not isinstance(found, Refusal)]
        return [
            (item, source.attachments[item.attachment])
            for source in sources
            for item in read_index(source.attachments).instances
        ]

    return instances_of(*ct_chest(6, 32, 32).write_dicom(tmp_path / "phantom")), instances_of(*pydicom_files)


def test_any_sequence_of_stored_instances(kept, monkeypatch):
    alike, others = kept
    chance = random.Random(11)
    attachments, items = {}, []
    for number in range(1500):
        item, header = chance.choice(alike if chance.random() < 0.9 else others)
        data = bytearray(header)
        for _ in range(chance.choice([0, 0, 0, 1, 2])):
            position = chance.randrange(132, len(data) - 1)
            if chance.random() < 0.5:
                data[position] = chance.randrange(256)
            else:
                data[position:position] = bytes(2) if chance.random() < 0.5 else b"12"
        if chance.random() < 0.05:
            item = replace(item, form={**item.form, "bits_stored": 11})
        attachments[str(number)] = bytes(data)
        items.append(replace(item, attachment=str(number)))
    expected = [restored(lambda one: restore_instance(one, attachments)[0], item) for item in items]
    slow = []
    monkeypatch.setattr(slices, "_MOST_IN_VAIN", 1 << 30)
    monkeypatch.setattr(slices, "restore_instance", lambda *given: slow.append(1) or restore_instance(*given))
    stored = StoredSlices(attachments)
    for item, wanted in zip(items, expected, strict=True):
        found = restored(stored.restore, item)
        assert found == wanted
        if not isinstance(found, str):
            found.series_uid = "changed"  # shows in no other
    assert len(slow) < 1200


def test_stored_slices_of_a_series_are_restored_the_quick_way(kept, monkeypatch):
    alike, others = kept
    slow, examples = [], []
    example = slices._example
    monkeypatch.setattr(slices, "restore_instance", lambda *given: slow.append(1) or restore_instance(*given))
    monkeypatch.setattr(slices, "_example", lambda *given: examples.append(1) or example(*given))
    for pairs, most_slow, most_examples in ((alike, 1, 1), (others, len(others), 20)):
        slow.clear()
        examples.clear()
        stored = StoredSlices({str(number): header for number, (_, header) in enumerate(pairs)})
        for number, (item, _) in enumerate(pairs):
            stored.restore(replace(item, attachment=str(number)))
        assert len(slow) <= most_slow
        assert len(examples) <= most_examples
