"""Data sets against a real server and a real store: pixels, labels, workers, ranks, going on, damage."""

import functools
import itertools
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import torch
import torch.distributed
from torch.utils.data import DataLoader

import imarium
from imarium.codec import resample
from imarium.errors import IntegrityError, InvalidRequestError, LevelError, NotFoundError
from imarium.formats import rendering
from imarium.manifest import Manifest
from imarium.testing import proxied
from imarium.testing.proxies import Fault
from imarium.torch import StreamingDataset, order


def names(samples):
    """(series, frame) of samples or batches with info."""
    found = []
    for *_, info in samples:
        series, frames = info["series"], info["frame"]
        if isinstance(series, str):
            found.append((series, int(frames)))
        else:
            found += zip(series, map(int, frames), strict=True)
    return found


def uids(live, collection=None):
    with imarium.connect(live.url) as db:
        return [item["uid"] for item in db.list_series(collection)]


def volumes(live):
    """Rescaled values of every series, full resolution first."""
    return {
        uid: [live.archive.streaming.volume(uid, level).rescaled() for level in range(2)]
        for uid in uids(live)
    }


# --- what comes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 1])
def test_slices_of_a_level_are_those_of_the_server(slices, level):
    dataset = StreamingDataset(slices.url, "ct", kind="slice", level=level, info=True)
    expected = volumes(slices)
    assert len(dataset) == 12
    seen = set()
    for image, info in dataset:
        assert image.dtype == torch.float32
        np.testing.assert_array_equal(image[0], expected[info["series"]][level][info["frame"]])
        seen.add(info["frame"])
    assert seen == set(range(12))


def test_a_volume_has_channels_slices_rows_columns(slices):
    (volume,) = StreamingDataset(slices.url, "ct", kind="volume", level=1)
    ((_, expected),) = volumes(slices).values()
    np.testing.assert_array_equal(volume[0], expected)
    (resized,) = StreamingDataset(slices.url, "ct", kind="volume", size=(6, 40, 44))
    assert resized.shape == (1, 6, 40, 44)
    assert abs(float(resized.mean()) - float(expected.mean())) < 10
    (cropped,) = StreamingDataset(slices.url, "ct", kind="volume", size=32)
    assert cropped.shape == (1, 12, 32, 32)


def test_a_series_with_a_time_axis_has_several_volumes(live, tmp_path):
    values = np.random.default_rng(0).integers(0, 900, (3, 5, 32, 36)).astype(np.int16)
    np.save(tmp_path / "four.npy", values)
    list(live.archive.ingest.run([tmp_path / "four.npy"], collection="c"))
    dataset = StreamingDataset(live.url, "c", kind="volume", dtype=torch.int16, shuffle=False)
    (uid,) = uids(live)
    dimensions = live.archive.streaming.volume(uid).series.dimensions
    assert len(dataset) == int(np.prod(dimensions[:-1]))
    np.testing.assert_array_equal(np.concatenate([v[0] for v in dataset]).reshape(values.shape), values)


def test_sizes_are_resampled_from_the_level_that_is_large_enough(slices):
    expected = volumes(slices)
    for size, rows, level in ((96, 96, 0), (60, 60, 0), (48, 48, 1), (40, 40, 1)):
        dataset = StreamingDataset(slices.url, "ct", kind="slice", size=size, info=True)
        assert set(dataset._items.level.tolist()) == {level}
        for image, info in itertools.islice(dataset, 3):
            made = resample(expected[info["series"]][level][info["frame"]], rows, rows)
            np.testing.assert_allclose(image[0], made, atol=0.01)
    (image,) = itertools.islice(StreamingDataset(slices.url, "ct", kind="slice", size=(40, 52)), 1)
    assert image.shape == (1, 40, 52)


def test_the_shorter_side_and_the_middle_square(pictures):
    full = {uid: pictures.archive.streaming.volume(uid, 0) for uid in uids(pictures, "pictures")}
    dataset = StreamingDataset(pictures.url, "pictures", size=30, info=True)
    for image, info in itertools.islice(dataset, 5):
        made = resample(np.asarray(full[info["series"]])[0].astype(np.float32), 36, 30)
        np.testing.assert_allclose(image[0], made[3:33], atol=0.01)


def test_stored_values_keep_their_type(slices, pictures):
    dataset = StreamingDataset(slices.url, "ct", kind="slice", level=1, dtype=torch.int32, info=True)
    for image, info in dataset:
        stored = slices.archive.streaming.volume(info["series"], 1)[info["frame"]]
        assert image.dtype == torch.int32
        np.testing.assert_array_equal(image[0], stored)
    (image,) = itertools.islice(StreamingDataset(pictures.url, "pictures", size=20, dtype=torch.uint8), 1)
    assert (image.dtype, image.shape) == (torch.uint8, (1, 20, 20))


def test_windows_are_those_of_the_screen(slices):
    dataset = StreamingDataset(slices.url, "ct", kind="slice", window=(40, 400), info=True)
    for image, info in itertools.islice(dataset, 3):
        volume = slices.archive.streaming.volume(info["series"])
        shown = rendering.render_8bit(np.asarray(volume)[info["frame"]], volume.series, (40, 400))
        np.testing.assert_allclose(image[0] * 255, shown, atol=0.51)
    default = StreamingDataset(slices.url, "ct", kind="slice", window="default", info=True)
    for image, info in itertools.islice(default, 3):
        volume = slices.archive.streaming.volume(info["series"])
        shown = rendering.render_8bit(np.asarray(volume)[info["frame"]], volume.series)
        np.testing.assert_allclose(image[0] * 255, shown, atol=0.51)


def test_pictures_without_a_window_use_the_range_of_their_bits(pictures):
    for image, info in itertools.islice(
        StreamingDataset(pictures.url, "pictures", window="default", info=True), 3
    ):
        stored = pictures.archive.streaming.volume(info["series"])
        np.testing.assert_allclose(image[0], np.asarray(stored)[0] / 255, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_point(slices, dtype):
    wide = list(StreamingDataset(slices.url, "ct", kind="slice", size=40, window=(0, 1000)))
    narrow = list(StreamingDataset(slices.url, "ct", kind="slice", size=40, window=(0, 1000), dtype=dtype))
    for one, other in zip(wide, narrow, strict=True):
        assert other.dtype == dtype
        torch.testing.assert_close(one, other.to(torch.float32), atol=5e-3, rtol=0)


def test_grey_and_colours_together(live, tmp_path, pictures):
    colours = np.random.default_rng(0).integers(0, 256, (48, 40, 3)).astype(np.uint8)
    (tmp_path / "rgb.png").write_bytes(imagecodecs.png_encode(colours))
    list(live.archive.ingest.run([tmp_path / "rgb.png"], collection="pictures"))
    with pytest.raises(InvalidRequestError, match="channels=1 or channels=3"):
        StreamingDataset(live.url, "pictures", size=(48, 40))
    grey = torch.stack(list(StreamingDataset(live.url, "pictures", size=(48, 40), channels=1, shuffle=False)))
    rgb = torch.stack(list(StreamingDataset(live.url, "pictures", size=(48, 40), channels=3, shuffle=False)))
    assert (grey.shape, rgb.shape) == ((41, 1, 48, 40), (41, 3, 48, 40))
    (number,) = {n for n in range(41) if not torch.equal(rgb[n, 0], rgb[n, 1])}
    np.testing.assert_array_equal(rgb[number].permute(1, 2, 0), colours)
    np.testing.assert_allclose(grey[number, 0], colours @ np.array([0.299, 0.587, 0.114]), rtol=1e-5)


def test_labels_become_numbers_or_whatever_is_asked_for(pictures):
    dataset = StreamingDataset(pictures.url, "pictures", label="class")
    assert dataset.classes == ("a", "b")
    assert sorted(label for _, label in dataset) == [0] * 30 + [1] * 10
    ages = StreamingDataset(pictures.url, "pictures", label=lambda row: float(row.labels["age"]))
    assert sorted(label for _, label in ages) == [10.0] * 10 + [30.0] * 30
    only = StreamingDataset(pictures.url, "pictures label.class=b", label="class")
    assert (len(only), only.classes) == (10, ("b",))
    with pytest.raises(InvalidRequestError, match="40 of 40 series have no label 'none'"):
        StreamingDataset(pictures.url, "pictures", label="none")


def test_a_transform_sees_every_image(pictures):
    dataset = StreamingDataset(
        pictures.url, "pictures", transform=lambda image: image.flip(-1), shuffle=False
    )
    plain = StreamingDataset(pictures.url, "pictures", shuffle=False)
    for one, other in zip(dataset, plain, strict=True):
        assert torch.equal(one.flip(-1), other)
    (batch,) = dataset.batches(40)
    assert torch.equal(batch.flip(-1), torch.stack(list(plain)))


def test_pictures_of_several_shapes_come_as_lists(live, tmp_path, write_pictures):
    write_pictures(tmp_path / "wide", 3, rows=32, columns=50)
    write_pictures(tmp_path / "tall", 3, rows=50, columns=32)
    list(live.archive.ingest.run([tmp_path / "wide", tmp_path / "tall"], collection="c"))
    dataset = StreamingDataset(live.url, "c")
    (batch,) = dataset.batches(6)
    assert sorted(tuple(image.shape) for image in batch) == [(1, 32, 50)] * 3 + [(1, 50, 32)] * 3
    assert {image.shape for image in StreamingDataset(live.url, "c", size=24)} == {(1, 24, 24)}
    for batches in DataLoader(dataset.batches(6), batch_size=None, num_workers=1):
        assert all(torch.equal(one, other) for one, other in zip(batch, batches, strict=True))


# --- batches, workers, ranks ------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_hold_the_samples_in_order(pictures, threads):
    make = functools.partial(StreamingDataset, pictures.url, "pictures", label="class", info=True, seed=2)
    samples = list(make(batch_size=16, threads=threads))
    batches = list(make(threads=threads).batches(16))
    assert [len(images) for images, _, _ in batches] == [16, 16, 8]
    assert names(batches) == names(samples)
    assert torch.equal(torch.cat([images for images, _, _ in batches]), torch.stack([s[0] for s in samples]))
    assert torch.cat([labels for _, labels, _ in batches]).tolist() == [label for _, label, _ in samples]
    assert len(make().batches(16)) == 3
    assert [len(images) for images, _, _ in make().batches(16, drop_last=True)] == [16, 16]


def test_a_batch_that_is_held_does_not_change(pictures):
    loader = StreamingDataset(pictures.url, "pictures", shuffle=False, threads=2).batches(5)
    held = [(batch, batch.clone()) for batch in loader]
    kept = loader.__iter__()
    for _ in range(2):
        for batch in loader:
            del batch
    for batch, copied in held:
        assert torch.equal(batch, copied)
    del kept


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_give_every_sample_once_and_the_same_pixels(pictures, context):
    dataset = StreamingDataset(pictures.url, "pictures", info=True, label="class")
    alone = {name: image for image, name in zip([s[0] for s in dataset], names(dataset), strict=True)}
    plain = DataLoader(dataset, batch_size=7, num_workers=2, multiprocessing_context=context)
    whole = DataLoader(dataset.batches(7), batch_size=None, num_workers=2, multiprocessing_context=context)
    for loader in (plain, whole):
        held = list(loader)  # all batches at once: none was written over
        assert sorted(names(held)) == sorted(alone)
        for images, _, info in held:
            for image, name in zip(
                images, zip(info["series"], map(int, info["frame"]), strict=True), strict=True
            ):
                assert torch.equal(image, alone[name])


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_batches_are_the_same_for_any_number_of_workers(pictures, workers):
    dataset = StreamingDataset(pictures.url, "pictures", info=True, seed=5)
    expected = names(dataset.batches(6))
    assert names(DataLoader(dataset.batches(6), batch_size=None, num_workers=workers)) == expected
    single = StreamingDataset(pictures.url, "pictures", info=True, seed=5, batch_size=6)
    assert names(DataLoader(single, batch_size=6, num_workers=workers)) == expected


def test_memory_of_workers_is_lent_again_and_never_while_held(pictures):
    dataset = StreamingDataset(pictures.url, "pictures", shuffle=False)
    loader = DataLoader(dataset.batches(2), batch_size=None, num_workers=1, persistent_workers=True)
    held = [(batch, batch.clone()) for batch in loader]
    addresses = set()
    for _ in range(4):
        for batch in loader:
            addresses.add(batch.data_ptr())
            del batch
    assert len(addresses) < 20
    assert all(torch.equal(batch, copied) for batch, copied in held)
    for _ in range(40):  # epochs that are broken off
        next(iter(loader))
    assert torch.equal(torch.cat(list(loader)), torch.cat([copied for _, copied in held]))


def test_epochs_differ_and_workers_that_persist_hear_of_them(pictures):
    dataset = StreamingDataset(pictures.url, "pictures", info=True)
    loader = DataLoader(dataset.batches(8), batch_size=None, num_workers=2, persistent_workers=True)
    first, again = names(loader), names(loader)
    loader.dataset.set_epoch(1)
    other = names(loader)
    assert first == again != other
    assert sorted(first) == sorted(other)
    dataset.set_epoch(1)
    assert names(dataset.batches(8)) == other


def test_ranks_divide_an_epoch(pictures):
    make = functools.partial(StreamingDataset, pictures.url, "pictures", info=True, ranks=3)
    padded = [names(make(rank=rank)) for rank in range(3)]
    assert [len(found) for found in padded] == [14] * 3
    assert len(set(itertools.chain(*padded))) == 40
    dropped = [names(make(rank=rank, split="drop")) for rank in range(3)]
    assert [len(found) for found in dropped] == [13] * 3
    exact = [
        names(DataLoader(make(rank=rank, split="exact"), batch_size=4, num_workers=2)) for rank in range(3)
    ]
    assert sorted(itertools.chain(*exact)) == sorted(set(itertools.chain(*padded)))


def _rank(rank, url, rendezvous, queue):
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    dataset = StreamingDataset(url, "pictures", info=True, cache=False)
    found = names(DataLoader(dataset.batches(5), batch_size=None, num_workers=1))
    counts = torch.tensor([len(found)])
    torch.distributed.all_reduce(counts)
    queue.put((rank, int(counts), found))
    torch.distributed.destroy_process_group()


def test_two_real_ranks(pictures, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2])  # where the other processes find this module
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    address = f"file://{tmp_path}/rendezvous"
    processes = [context.Process(target=_rank, args=(n, pictures.url, address, queue)) for n in range(2)]
    for process in processes:
        process.start()
    answers = sorted(queue.get(timeout=120) for _ in processes)
    for process in processes:
        process.join(30)
    assert [total for _, total, _ in answers] == [40, 40]
    assert len(set(answers[0][2] + answers[1][2])) == 40


# --- going on ---------------------------------------------------------------------------------------


def test_a_state_goes_on_with_exactly_the_rest(pictures):
    make = functools.partial(StreamingDataset, pictures.url, "pictures", info=True, buffer=9)
    dataset = make()
    dataset.set_epoch(3)
    whole = names(dataset)
    for given in (0, 1, 16, 17, 39, 40):
        started = iter(dataset)
        begun = names(itertools.islice(started, given))
        state = dataset.state_dict()
        other = make()
        other.load_state_dict(state)
        assert begun + names(other) == whole
        assert other.state_dict()["given"] == 40
        assert names(other) == whole  # the next time it begins at the start


def test_batches_go_on_too(pictures):
    dataset = StreamingDataset(pictures.url, "pictures", info=True)
    loader = dataset.batches(6)
    whole = names(loader)
    begun = names(itertools.islice(iter(loader), 3))
    other = StreamingDataset(pictures.url, "pictures", info=True).batches(6)
    other.load_state_dict(loader.state_dict())
    assert begun + names(other) == whole


@pytest.mark.parametrize("workers", [0, 2, 3])
def test_a_plain_loader_goes_on_from_what_was_used(pictures, workers):
    dataset = StreamingDataset(pictures.url, "pictures", info=True).batches(6)
    whole = names(dataset)
    loader = DataLoader(dataset, batch_size=None, num_workers=2)
    begun = names(itertools.islice(iter(loader), 2))
    other = StreamingDataset(pictures.url, "pictures", info=True).batches(6)
    other.load_state_dict(dataset.state_dict(used=12))
    assert begun + names(DataLoader(other, batch_size=None, num_workers=workers)) == whole


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("whole", [True, False])
def test_the_loader_that_keeps_states_goes_on(pictures, workers, whole):
    stateful = pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata is not installed")

    def made():
        dataset = StreamingDataset(pictures.url, "pictures", info=True)
        source, size = (dataset.batches(6), None) if whole else (dataset, 6)
        return stateful.StatefulDataLoader(source, batch_size=size, num_workers=workers)

    expected = names(made())
    loader = made()
    begun = names(itertools.islice(iter(loader), 3))
    other = made()
    other.load_state_dict(loader.state_dict())
    assert begun + names(other) == expected


def test_a_state_of_another_order_is_refused(pictures, slices):
    make = functools.partial(StreamingDataset, pictures.url, "pictures")
    state = make(seed=1).state_dict()
    with pytest.raises(InvalidRequestError, match="seed differ"):
        make(seed=2).load_state_dict(state)
    with pytest.raises(InvalidRequestError, match="manifest, samples"):
        StreamingDataset(slices.url, "ct", kind="slice", seed=1).load_state_dict(state)
    with pytest.raises(InvalidRequestError, match="rank"):
        make(seed=1, rank=0, ranks=1).load_state_dict(make(seed=1, rank=1, ranks=2).state_dict())
    with pytest.raises(InvalidRequestError, match="no state"):
        make().load_state_dict({})
    with pytest.raises(InvalidRequestError, match="damaged"):
        make(seed=1).load_state_dict(state | {"given": -1})
    other = make(seed=1)
    other.load_state_dict(state | {"given": 3, "worker": 1, "workers": 2})
    with pytest.raises(InvalidRequestError, match="worker 1 of 2"):
        next(iter(other))
    with pytest.raises(InvalidRequestError, match="batch_size"):
        make().state_dict(used=5)


# --- where it comes from, and what goes wrong -------------------------------------------------------


def test_a_store_and_a_manifest_need_no_server(pictures, tmp_path):
    with imarium.connect(pictures.url) as db:
        db.manifest("pictures").write(tmp_path / "m.parquet")
        by_client = list(StreamingDataset(db, "pictures", label="class"))
    home = pictures.archive.settings.home
    by_file = list(StreamingDataset(tmp_path / "m.parquet", store=home, label="class"))
    by_store = list(StreamingDataset(home, manifest=tmp_path / "m.parquet", label="class"))
    assert [label for _, label in by_client] == [label for _, label in by_file]
    for one, other, third in zip(by_client, by_file, by_store, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[0], third[0])


def test_few_requests_and_only_the_bytes_of_the_level(slices):
    with proxied(slices.url) as proxy:
        dataset = StreamingDataset(proxy.url, "ct", kind="slice", level=1, cache=False)
        proxy.asked.clear()
        for _ in dataset:
            pass
        (row,) = dataset.manifest.rows()
        assert len(proxy.for_packs) == 1
        assert sum(stop - start for start, stop in proxy.for_packs[0].ranges) == row.levels[1].bytes


def test_a_damaged_part_is_fetched_again_and_no_wrong_pixel_comes(slices):
    expected = list(StreamingDataset(slices.url, "ct", kind="slice", level=1, cache=False, shuffle=False))
    with proxied(slices.url) as proxy:
        dataset = StreamingDataset(proxy.url, "ct", kind="slice", level=1, shuffle=False)
        proxy.faults(Fault(flip=700))
        for one, other in zip(dataset, expected, strict=True):
            assert torch.equal(one, other)
        for one, other in zip(dataset, expected, strict=True):  # the cache has the right bytes now
            assert torch.equal(one, other)


def test_a_damaged_index_is_fetched_again(slices):
    with proxied(slices.url) as proxy:
        proxy.faults(Fault(flip=60))
        assert len(list(StreamingDataset(proxy.url, "ct", kind="slice"))) == 12


@pytest.mark.parametrize("workers", [0, 2])
def test_damage_in_the_store_is_an_error(slices, tmp_path, workers):
    with imarium.connect(slices.url) as db:
        manifest = db.manifest("ct")
    shutil.copytree(slices.archive.settings.home, tmp_path / "copy")
    (pack,) = (tmp_path / "copy").rglob("*.imp")
    (row,) = manifest.rows()
    content = bytearray(pack.read_bytes())
    content[row.levels[1].spans[0][0] + 40] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    dataset = StreamingDataset(tmp_path / "copy", manifest=manifest, kind="slice", level=1)
    with pytest.raises(IntegrityError, match="does not match its checksum"):
        list(DataLoader(dataset, num_workers=workers))


def test_a_selection_that_changes_is_a_snapshot_still(pictures, tmp_path, write_pictures):
    dataset = StreamingDataset(pictures.url, "pictures", info=True)
    started = iter(dataset)
    begun = names(itertools.islice(started, 5))
    write_pictures(tmp_path / "late", 5, seed=99)
    list(pictures.archive.ingest.run([tmp_path / "late"], collection="pictures"))
    rest = names(started)
    assert len(set(begun + rest)) == 40
    assert len(StreamingDataset(pictures.url, "pictures")) == 45
    with pytest.raises(InvalidRequestError, match="manifest, samples differ"):
        StreamingDataset(pictures.url, "pictures").load_state_dict(dataset.state_dict())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pack_that_is_gone_is_a_clear_error(pictures, workers):
    served = StreamingDataset(pictures.url, "pictures", cache=False)
    stored = StreamingDataset(pictures.archive.settings.home, manifest=served.manifest)
    for pack in pictures.archive.settings.objects.rglob("*.imp"):
        pack.unlink()
    with pytest.raises(IntegrityError, match="missing in the store"):
        list(DataLoader(served, num_workers=workers))
    with pytest.raises(NotFoundError, match="make a new manifest"):
        list(DataLoader(stored, num_workers=workers))


def test_a_pack_that_holds_something_else_is_noticed(pictures, slices):
    with imarium.connect(pictures.url) as db:
        one, other = db.manifest("pictures"), db.manifest("ct")
    column = other.table.schema.get_field_index("series")
    table = other.table.set_column(column, other.table.schema.field(column), [["1.2.3"]])
    with pytest.raises(IntegrityError, match="another series"):
        StreamingDataset(pictures.url, manifest=Manifest(table), kind="slice")
    assert len(one) == 40


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"level": 4}, LevelError, "no level 4"),
        ({"level": -1}, LevelError, "no level"),
        ({"size": 97}, LevelError, "upsample=True"),
        ({"size": (10, 97)}, LevelError, "upsample=True"),
        ({"size": 40, "level": 1}, InvalidRequestError, "not for both"),
        ({"size": 0}, InvalidRequestError, "a size is"),
        ({"size": (3, 40, 40)}, InvalidRequestError, "a size is"),
        ({"kind": "image"}, InvalidRequestError, 'kind="slice"'),
        ({"kind": "pixel"}, InvalidRequestError, "kinds of samples"),
        ({"window": (10, 0)}, InvalidRequestError, "width above 0"),
        ({"window": (0, float("nan"))}, InvalidRequestError, "width above 0"),
        ({"dtype": torch.uint8}, InvalidRequestError, "store uint16"),
        ({"dtype": torch.int16, "window": (0, 1)}, InvalidRequestError, "no window"),
        ({"channels": 2}, InvalidRequestError, "channels are"),
        ({"buffer": 0}, InvalidRequestError, "at least 1"),
        ({"split": "even"}, InvalidRequestError, "split is"),
        ({"rank": 1}, InvalidRequestError, "rank= and ranks="),
        ({"decoder": "tpu"}, InvalidRequestError, "decoder"),
    ],
)
def test_what_cannot_be_asked_for(slices, changes, error, match):
    with pytest.raises(error, match=match):
        StreamingDataset(slices.url, "ct", **{"kind": "slice"} | changes)


def test_nothing_selected(slices):
    with pytest.raises(InvalidRequestError, match="no series"):
        StreamingDataset(slices.url, "ct modality=MR")
    with pytest.raises(NotFoundError):
        StreamingDataset(slices.url, "nowhere")


def test_more_than_the_full_resolution_when_asked(slices):
    (image,) = itertools.islice(StreamingDataset(slices.url, "ct", kind="slice", size=128, upsample=True), 1)
    assert image.shape == (1, 128, 128)


def test_distributed_must_come_first(slices, tmp_path):
    dataset = StreamingDataset(slices.url, "ct", kind="slice")
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/alone", rank=0, world_size=1)
    try:
        assert len(list(dataset)) == 12  # one rank is one rank
    finally:
        torch.distributed.destroy_process_group()
    assert order.Share() == dataset._share


def test_the_package_does_not_load_torch():
    command = "import sys, imarium; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", command], check=True, env=os.environ)
