"""Decoding on a GPU, where there is one; and what says so where there is none."""

import itertools

import numpy as np
import pytest
import torch

from imarium.codec import htj2k
from imarium.codec.reduced import reduced
from imarium.errors import InvalidRequestError
from imarium.torch import StreamingDataset
from imarium.torch.decoding import Decoder
from imarium.torch.gpu import suits


@pytest.fixture
def _gpu():
    if not torch.cuda.is_available():
        pytest.skip("NO GPU HERE: decoding with nvImageCodec is not tested")
    pytest.importorskip(
        "nvidia.nvimgcodec", reason="nvImageCodec is not installed: its decoding is not tested"
    )


@pytest.mark.usefixtures("_gpu")
@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_gpu_gives_the_same_pixels(slices, level):
    on_gpu, on_cpu = (
        list(StreamingDataset(slices.url, "ct", kind="slice", level=level, decoder=decoder))
        for decoder in ("gpu", "cpu")
    )
    for one, other in zip(on_gpu, on_cpu, strict=True):
        assert torch.equal(one, other)


@pytest.mark.usefixtures("_gpu")
def test_frames_that_a_gpu_cannot_decode_come_from_the_processor(live, nifti, pictures):
    list(live.archive.ingest.run([nifti], collection="float"))
    (volume,) = StreamingDataset(live.url, "float", kind="volume", decoder="gpu")
    np.testing.assert_array_equal(volume, next(iter(StreamingDataset(live.url, "float", kind="volume"))))


def test_without_a_gpu_it_is_an_error_to_ask_for_one(slices):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    dataset = StreamingDataset(slices.url, "ct", kind="slice", decoder="gpu")
    with pytest.raises(InvalidRequestError, match=r"GPU"):
        next(iter(dataset))
    assert len(list(StreamingDataset(slices.url, "ct", kind="slice", decoder="auto"))) == 12


@pytest.mark.parametrize(("collection", "expected"), [("ct", True), ("float", False)])
def test_which_frames_are_for_a_gpu(slices, live, nifti, collection, expected):
    list(live.archive.ingest.run([nifti], collection="float"))
    dataset = StreamingDataset(live.url, collection, kind="slice")
    walk = dataset._order.walk(0, dataset._share)
    samples = list(itertools.chain(*dataset._fetcher.windows(walk)))
    assert {suits(sample.frames[0]) for sample in samples} == {expected}


def test_what_a_gpu_made_is_what_comes(slices):
    """The way of its pixels, by hand: from the same integers, not clipped yet."""
    dataset = StreamingDataset(slices.url, "ct", kind="slice", level=1, shuffle=False)
    expected = list(dataset)
    made = []
    for sample in itertools.chain(*dataset._fetcher.windows(dataset._order.walk(0, dataset._share))):
        (frame,) = sample.frames
        frame.decoded = htj2k.decode(reduced(b"".join(frame.parts()), 1), 0)
        out = torch.empty(1, 1, 48, 48)
        Decoder(dataset._items, dataset._form).fill(sample, out, 0, out.numpy()[0])
        made.append(out[0])
    assert torch.equal(torch.stack(made), torch.stack(expected))
