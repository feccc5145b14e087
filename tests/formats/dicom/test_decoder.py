"""The decoder process is bounded in time and memory, may crash, and is started again."""

import os
import signal
import sys
import time
from dataclasses import replace

import numpy as np
import psutil
import pydicom
import pytest
from pydicom.encaps import generate_frames

from imarium.errors import CorruptFileError, LimitExceededError, UnsupportedFileError
from imarium.formats.base import ReadContext, Refusal
from imarium.formats.dicom import DicomReader
from imarium.formats.dicom.decoder_client import DecoderPool, DecoderProcess, pool_for, syntax_name
from imarium.formats.dicom.instance import scan
from imarium.settings import Limits

from pathlib import Path  # isort: skip

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"


@pytest.fixture
def pool():
    pool = DecoderPool(Limits())
    yield pool
    pool.close()


def job(name, context):
    path = FOLDER / name
    form = scan(path, context).form
    data = pydicom.dcmread(path).PixelData
    return next(generate_frames(data, number_of_frames=form.frames)), form


def test_one_process_is_used_again(pool, context):
    codestream, form = job("MR_small_jp2klossless.dcm", context)
    first, photometric = pool.decode(codestream, form)
    (process,) = pool._idle
    pid = process.pid
    second, _ = pool.decode(codestream, form)
    assert photometric == "MONOCHROME2"
    assert np.array_equal(first, second)
    assert [item.pid for item in pool._idle] == [pid]
    pool.close()
    assert not psutil.pid_exists(pid)


def test_crash_between_frames_goes_unnoticed(pool, context):
    codestream, form = job("MR_small_jp2klossless.dcm", context)
    pool.decode(codestream, form)
    os.kill(pool._idle[0].pid, signal.SIGKILL)
    time.sleep(0.1)
    frame, _ = pool.decode(codestream, form)
    assert frame.shape == (64, 64)


def test_crash_while_decoding():
    script = "import os, signal, sys; sys.stdin.buffer.read(4); os.kill(os.getpid(), signal.SIGSEGV)"
    process = DecoderProcess(Limits(), (sys.executable, "-c", script))
    with pytest.raises(CorruptFileError, match="crashed \\(signal 11\\)"):
        process.decode(b"x" * 3_000_000, {})
    assert not process.alive


def test_time_is_bounded(monkeypatch):
    monkeypatch.setattr("imarium.formats.dicom.decoder_client._START_SECONDS", 0.0)
    for script in (
        "import time; time.sleep(60)",
        "import sys, time; sys.stdin.buffer.read(); time.sleep(60)",
    ):
        process = DecoderProcess(replace(Limits(), decoder_seconds=0.3), (sys.executable, "-c", script))
        start = time.monotonic()
        with pytest.raises(LimitExceededError, match=r"longer than 0\.3 seconds"):
            process.decode(b"x" * 3_000_000, {})
        assert time.monotonic() - start < 5
        assert not process.alive


def test_memory_is_bounded(context):
    """A frame of 16,384 x 16,384 does not fit into what the process may use."""
    limits = replace(Limits(), decoder_memory_bytes=1 << 30)
    pool = DecoderPool(limits)
    codestream, form = job("MR_small_RLE.dcm", context)
    try:
        huge = replace(form, rows=30000, columns=30000)
        with pytest.raises((LimitExceededError, CorruptFileError)):
            pool.decode(codestream, huge)
        assert pool.decode(codestream, form)[0].shape == (64, 64)
    finally:
        pool.close()


def test_frame_of_another_size_is_refused(pool, context):
    codestream, form = job("MR_small_jp2klossless.dcm", context)
    with pytest.raises(CorruptFileError):
        pool.decode(codestream, replace(form, rows=63))


def test_unknown_compression(pool, context):
    codestream, form = job("MR_small_RLE.dcm", context)
    with pytest.raises(UnsupportedFileError) as caught:
        pool.decode(codestream, replace(form, syntax="1.2.840.10008.1.2.4.102"))
    assert str(caught.value) == (
        "the compressed pixel data cannot be decoded (MPEG-4 AVC/H.264 High Profile / Level 4.1); "
        "no decoder for it is installed"
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("MR_small_jp2klossless.dcm", "JPEG 2000"),
        ("MR_small_RLE.dcm", "RLE Lossless"),
        ("JPEG-lossy.dcm", "JPEG Extended"),
        ("SC_rgb_jpeg_gdcm.dcm", "JPEG Lossless, Non-Hierarchical, First-Order Prediction"),
    ],
)
def test_decoders_are_not_quoted(pool, context, name, kind):
    codestream, form = job(name, context)
    with pytest.raises(CorruptFileError) as caught:
        pool.decode(codestream[:10] + b"Jane^Doe" * 5, form)
    assert str(caught.value) == (
        f"the compressed pixel data cannot be decoded ({kind}); the file is damaged or of an unknown variant"
    )


@pytest.mark.parametrize("syntax", ["", "Jane^Doe", "1.2.3", "1.2.840.10008.5.1.4.1.1.2"])
def test_only_names_of_the_standard_are_said(syntax):
    assert syntax_name(syntax) == "an unknown transfer syntax"


def test_undecodable_slice_is_refused_alone(tmp_path, context):
    good = FOLDER / "MR_small_jp2klossless.dcm"
    dataset = pydicom.dcmread(good)
    dataset.SOPInstanceUID = "1.2.3"
    data = bytearray(dataset.PixelData)
    data[60:] = bytes(len(data) - 60)
    dataset.PixelData = bytes(data)
    bad = tmp_path / "bad"
    dataset.save_as(bad)
    results = list(DicomReader().read([bad, good], context))
    assert [type(item) is Refusal for item in results] == [True, False]
    assert results[0].path == bad
    assert results[1].series.frames == 1


def test_without_the_gpl_decoder(monkeypatch, tmp_path, pydicom_files, read):
    """Lossless JPEG is the same, lossy JPEG within rounding, if pylibjpeg-libjpeg is not installed."""
    (tmp_path / "hide").mkdir()
    (tmp_path / "hide" / "sitecustomize.py").write_text(
        "import sys\nfor name in ('libjpeg', 'pylibjpeg', 'PIL'):\n    sys.modules[name] = None\n"
    )
    names = (
        "SC_rgb_jpeg_gdcm.dcm",
        "JPEG-lossy.dcm",
        "JPGExtended.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "examples_ybr_color.dcm",
    )
    paths = [FOLDER / name for name in names]
    expected = [list(read(path)[0].read_frames()) for path in paths]
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hide"))
    limits = replace(Limits(), decoder_seconds=119.0)
    context = ReadContext(limits, tmp_path)
    try:
        for path, frames in zip(paths, expected, strict=True):
            (result,) = DicomReader().read([path], context)
            assert not isinstance(result, Refusal), f"{path.name}: {result.error}"
            for one, other in zip(result.read_frames(), frames, strict=True):
                difference = np.abs(one.astype(int) - other)
                assert difference.max() <= (0 if path.name == "SC_rgb_jpeg_gdcm.dcm" else 3), path.name
    finally:
        pool_for(limits).close()
