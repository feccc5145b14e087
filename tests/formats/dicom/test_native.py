"""Which series go out without a stop, their bytes in the order in which their frames come."""

import pytest

from imarium.formats.dicom.attachments import FrameIndex, StoredInstance
from imarium.formats.dicom.grouping import FrameReference
from imarium.formats.dicom.native import in_order
from imarium.formats.outgoing import Pipe


def _index(instances, frames):
    """`instances`: (frames of the file, frames of the pack) each; `frames`: (instance, number) each."""
    stored = (StoredInstance("1", "a", held, "", {"frames": own}) for own, held in instances)
    return FrameIndex(tuple(stored), tuple(FrameReference(*frame) for frame in frames))


@pytest.mark.parametrize(
    ("instances", "frames", "order"),
    [
        ([(1, 1), (1, 1)], [(0, 0), (1, 0)], [0, 1]),
        ([(1, 1), (1, 1)], [(1, 0), (0, 0)], [1, 0]),
        ([(3, 3)], [(0, 0), (0, 1), (0, 2)], [0]),
        ([(1, 3)], [(0, 0), (0, 1), (0, 2)], [0]),  # a mosaic
        ([(3, 3)], [(0, 2), (0, 1), (0, 0)], []),
        ([(2, 2), (2, 2)], [(0, 0), (1, 0), (0, 1), (1, 1)], []),
        ([(3, 2)], [(0, 0), (0, 1)], []),  # a frame of the file that is not there
        ([(2, 2), (1, 1)], [(0, 0), (0, 1)], []),
    ],
)
def test_in_order(instances, frames, order):
    assert in_order(_index(instances, frames)) == order


def test_a_pipe_never_goes_back():
    pipe = Pipe()
    assert pipe.write(b"abc") == 3
    assert list(pipe.drain()) == [b"abc"]
    assert (pipe.tell(), list(pipe.drain())) == (3, [])
    with pytest.raises(ValueError, match="bytes 3 come next"):
        pipe.seek(0)
