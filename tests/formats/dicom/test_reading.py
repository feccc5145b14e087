"""Every real file reads exactly as pydicom reads it, or is refused as pydicom refuses it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from imarium.codec.color import ybr_full_to_rgb
from imarium.errors import ImariumError
from imarium.formats.base import Refusal
from imarium.formats.dicom import DicomReader
from imarium.formats.dicom.grouping import MOSAIC_NOTE

JPEG_12_BIT = {"JPEG-lossy.dcm", "MR1_JPLY", "NM1_JPLY"}
"""JPEG Extended with 12 bits, which pylibjpeg refuses and the decoder process reads another way."""
OFF_BY_ONE = {"JPGExtended.dcm"}
"""Lossy and of 12 bits: pylibjpeg and libjpeg-turbo round in their own ways (ISO/IEC 10918-2)."""
SHARED_SETS = (
    "mammo-and-oddities",
    "nema-wg04-codecs",
    "seg-sm-highdicom",
    "seg-sr-dcmqi",
    "rt",
    "us-multiframe",
    "deid-phi",
    "lidc-dicom-seg",
    "mr-12bit/In",
    "mr-enhanced/Philips",
)


def compare(path: Path, results: list, oracle) -> str:
    """Assert that what was read is what the oracle has; returns read, refused or extra."""
    assert len(results) == 1, path
    result = results[0]
    if isinstance(result, Refusal):
        assert isinstance(oracle, str), f"{path.name} refused, but pydicom reads it: {result.error}"
        assert isinstance(result.error, ImariumError)
        assert str(result.error).endswith((".", ")")) or len(str(result.error)) > 20
        return "refused"
    series = result.series
    frames = list(result.read_frames())
    assert len(frames) == series.frames
    assert all(frame.shape == series.frame_shape and frame.dtype == series.dtype for frame in frames)
    assert all(frame.flags.c_contiguous and frame.dtype.isnative for frame in frames)
    if isinstance(oracle, str):
        assert path.name in JPEG_12_BIT, f"{path.name} read, but pydicom fails: {oracle}"
        return "extra"
    if MOSAIC_NOTE in series.notes:
        return "read"  # see test_references.py
    raw, default = (array if array.ndim > len(series.frame_shape) else array[None] for array in oracle)
    numbers = [number for _, number in json.loads(result.attachments["dicom/frames.json"])["frames"]]
    assert len(frames) == len(raw)
    for number, frame in zip(numbers, frames, strict=True):
        if path.name in OFF_BY_ONE:
            assert np.abs(np.subtract(frame, raw[number], dtype=np.int64)).max() == 1
            continue
        assert np.array_equal(frame, raw[number]), path
        assert frame.dtype == raw.dtype.newbyteorder("="), path
        shown = ybr_full_to_rgb(frame) if series.photometric.startswith("YBR_FULL") else frame
        assert np.array_equal(shown, default[number]), path
    return "read"


def test_every_file_that_pydicom_ships(pydicom_files, plain, read):
    reader = DicomReader()
    recognised = []
    oracle = plain(pydicom_files)
    for path in pydicom_files:
        with path.open("rb") as stream:
            if reader.recognises(path, stream.read(4096)):
                recognised.append(path)
            else:
                assert isinstance(oracle[path], str), f"{path.name} is not recognised, but pydicom reads it"
    outcomes = [compare(path, read(path), oracle[path]) for path in recognised]
    assert outcomes.count("read") >= 60
    assert outcomes.count("extra") == 1


def test_shared_files(shared_data, plain, read):
    reader = DicomReader()
    paths = []
    for folder in SHARED_SETS:
        for path in sorted((shared_data / folder).rglob("*")):
            if path.is_file() and path.suffix not in (".txt", ".json", ".png", ".jpg"):
                with path.open("rb") as stream:
                    if reader.recognises(path, stream.read(4096)):
                        paths.append(path)
    oracle = plain(paths)
    outcomes = [compare(path, read(path), oracle[path]) for path in paths]
    assert outcomes.count("read") >= 45
    assert outcomes.count("extra") == 2


@pytest.mark.parametrize("name", ["CT1", "MR1", "NM1"])
def test_lossless_encodings_of_one_image_agree(shared_data, read, name):
    folder = shared_data / "nema-wg04-codecs"
    (reference,) = read(folder / "REF" / f"{name}_UNC")
    expected = list(reference.read_frames())
    for code in ("JPLL", "JLSL", "J2KR", "RLE"):
        (found,) = read(folder / code / f"{name}_{code}")
        assert all(np.array_equal(a, b) for a, b in zip(found.read_frames(), expected, strict=True))


def test_12_bit_jpeg_is_near_its_original(shared_data, read):
    folder = shared_data / "nema-wg04-codecs"
    for name, tolerance in (("MR1", 16), ("NM1", 4)):
        (reference,), (lossy,) = read(folder / "REF" / f"{name}_UNC"), read(folder / "JPLY" / f"{name}_JPLY")
        difference = np.subtract(next(lossy.read_frames()), next(reference.read_frames()), dtype=np.int64)
        assert np.std(difference) < tolerance
        assert lossy.series.notes == ("JPEG Extended: lossy before it came here.",)


def test_gpl_code_stays_out_of_the_process(pydicom_files, tmp_path):
    files = [str(path) for path in pydicom_files if "jpeg" in path.name.lower()]
    script = f"""
import sys
from pathlib import Path
from imarium.formats.base import ReadContext, Refusal
from imarium.formats.dicom import DicomReader, DicomWriter
from imarium.model import Rendition
from imarium.settings import Limits
count = 0
context = ReadContext(Limits(), Path({str(tmp_path)!r}))
for found in DicomReader().read([Path(name) for name in {files!r}], context):
    if not isinstance(found, Refusal):
        rendition = Rendition(found.series, found.series, found.read_frames(), found.attachments)
        DicomWriter().write(rendition, Path({str(tmp_path)!r}) / f"{{count}}.dcm")
        count += 1
loaded = [name for name in sys.modules if name.split(".")[0] in ("libjpeg", "pylibjpeg", "_libjpeg")]
assert not loaded, loaded
assert count >= 10, count
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_large_file_needs_little_memory(tmp_path):
    """A sparse file of 1 GiB: 2,048 frames of 512 x 512, 16 bits."""
    script = f"""
import resource, sys
from pathlib import Path
import numpy as np
from imarium.formats.base import ReadContext
from imarium.formats.dicom import DicomReader
from imarium.settings import Limits
from imarium.testing.dicom_files import make_dataset, write_file
folder = Path({str(tmp_path)!r})
dataset = make_dataset(np.zeros((1, 512, 512), np.uint16), NumberOfFrames=2048)
path = write_file(folder / "large.dcm", dataset)
length = (2048 * 512 * 512 * 2).to_bytes(4, "little")
data = path.read_bytes()
at = data.rindex(b"\\xe0\\x7f\\x10\\x00OW") + 8
path.write_bytes(data[:at] + length + data[at + 4:])
with path.open("r+b") as stream:
    stream.truncate(at + 4 + 2048 * 512 * 512 * 2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
(found,) = DicomReader().read([path], ReadContext(Limits(), folder))
assert found.series.frames == 2048
assert sum(int(frame.max()) for frame in found.read_frames()) == 0
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert grown < 48 * 1024, f"{{grown}} KiB"
"""
    subprocess.run([sys.executable, "-c", script], check=True)
