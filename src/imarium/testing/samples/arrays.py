"""NumPy and HDF5 files."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from imarium.testing.frames import smooth_frames
from imarium.testing.samples._shared import picture, written


def _npy(values: NDArray[Any], version: int = 1) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, values, version=(version, 0))
    return out.getvalue()


def _headed(shape: tuple[int, ...], data: bytes, order: bool = False) -> bytes:
    """An array of int16 with a header that says what is not true."""
    text = f"{{'descr': '<i2', 'fortran_order': {order}, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode() + data


def _zipped(arrays: dict[str, bytes], method: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in arrays.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content, method)
    return out.getvalue()


def npy_small(folder: Path) -> Iterator[Path]:
    """Every kind of number, both orders of bytes and axes, and zips of one array or several."""
    values = smooth_frames(3, 20, 24)
    yield written(folder / "plain.npy", _npy(values))
    yield written(folder / "big-endian.npy", _npy((values / 7).astype(">f4"), 2))
    yield written(folder / "fortran.npy", _npy(np.asfortranarray(values), 3))
    yield written(folder / "truth.npy", _npy(values[0] > 0))
    yield written(folder / "complex.npy", _npy((values[:2] * (1 + 2j)).astype(np.complex64)))
    yield written(folder / "colour.npy", _npy(np.stack([picture(20, 24, 3)] * 2)))
    several = {"image": _npy(values), "mask": _npy(np.asfortranarray(values > 0)), "slice": _npy(values[0])}
    yield written(folder / "packed.npz", _zipped(several, zipfile.ZIP_DEFLATED))
    yield written(folder / "stored.npz", _zipped({"image": _npy(values)}, zipfile.ZIP_STORED))


def npy_large(folder: Path) -> Path:
    """In Fortran order, so that all of it has to be turned first; that takes 16 MB however large it is."""
    values = np.tile(smooth_frames(4, 512, 512), (20, 1, 1))
    return written(folder / "large.npy", _npy(np.asfortranarray(values)))


def npy_liars(folder: Path) -> Iterator[Path]:
    """Shapes beyond the data, plain and in zips, and members that claim to be larger than they are."""
    data = smooth_frames(2, 20, 24).tobytes()
    sizes = {"sides": (1 << 40, 1 << 20, 1 << 20), "large": (20, 16000, 16000), "one-more": (3, 20, 24)}
    for name, shape in sizes.items():
        yield written(folder / f"{name}.npy", _headed(shape, data))
        yield written(folder / f"{name}-fortran.npy", _headed(shape, data, order=True))
        packed = _zipped({"image": _headed(shape, data)}, zipfile.ZIP_DEFLATED)
        yield written(folder / f"{name}.npz", packed)
    # Sizes in the local header and in the directory agree, and are not true.
    claimed, content = 128 + 16000 * 16000 * 2, _headed((16000, 16000), data)
    packed = _zipped({"image": content}, zipfile.ZIP_DEFLATED)
    (member,) = zipfile.ZipFile(io.BytesIO(packed)).infolist()
    size = struct.pack("<I", member.compress_size)
    true, lie = (size + struct.pack("<I", whole) for whole in (len(content), claimed))
    assert packed.count(true) == 2
    yield written(folder / "member.npz", packed.replace(true, lie))


def _hdf5(
    fill: dict[str, NDArray[Any]], libver: str = "earliest", userblock: int = 0, **options: Any
) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w", libver=libver, userblock_size=userblock) as file:
        for name, values in fill.items():
            file.create_dataset(name, data=values, track_times=False, **options)
    return out.getvalue()


def hdf5_small(folder: Path) -> Iterator[Path]:
    """Contiguous and chunked, of every kind of number, old and new structures, one dataset or several."""
    values = smooth_frames(3, 20, 24)
    yield written(folder / "plain.h5", _hdf5({"image": values}))
    yield written(folder / "latest.h5", _hdf5({"a/group/image": values}, "latest", fletcher32=True))
    packed = _hdf5({"image": values}, chunks=(2, 20, 12), compression="gzip", shuffle=True)
    yield written(folder / "packed.h5", packed)
    fast = _hdf5({"image": values.astype(">f4")}, "latest", 512, chunks=(1, 20, 24), compression="lzf")
    yield written(folder / "big-endian.h5", fast)
    several = {
        "kspace": (values[:, None] * (1 + 2j)).astype(np.complex64),
        "mask": np.ones(24, np.float32),
        "reconstruction_rss": values.astype(np.float32),
        "truth": values > 0,
    }
    yield written(folder / "several.h5", _hdf5(several))
    out = io.BytesIO(_hdf5({"picture": picture(20, 24, 3)}))
    with h5py.File(out, "r+") as file:
        said = {"CLASS": "IMAGE", "IMAGE_SUBCLASS": "IMAGE_TRUECOLOR", "INTERLACE_MODE": "INTERLACE_PIXEL"}
        file["picture"].attrs.update({name: np.bytes_(value) for name, value in said.items()})
    yield written(folder / "colour.h5", out.getvalue())


def hdf5_large(folder: Path) -> Path:
    """Two frames a chunk."""
    values = np.tile(smooth_frames(4, 512, 512), (8, 1, 1))
    options: dict[str, Any] = {"chunks": (2, 512, 256), "compression": "gzip", "compression_opts": 1}
    return written(folder / "large.h5", _hdf5({"image": values}, **options))


def hdf5_liars(folder: Path) -> Iterator[Path]:
    """Shapes beyond what is stored, and chunks beyond what may be in memory."""
    values = smooth_frames(2, 20, 24)
    dimensions = struct.pack("<3Q", *values.shape)
    sizes = {"sides": (1 << 40, 1 << 20, 1 << 20), "large": (20, 16000, 16000), "one-more": (3, 20, 24)}
    for name, shape in sizes.items():
        content = _hdf5({"image": values}).replace(dimensions, struct.pack("<3Q", *shape))
        yield written(folder / f"{name}.h5", content)
    for name, shape, chunks in (
        ("empty", (1 << 30, 4096, 4096), (1, 64, 64)),
        ("chunks", (4, 4096, 4096), (4, 4096, 4096)),
    ):
        out = io.BytesIO()
        with h5py.File(out, "w") as file:
            made = file.create_dataset("image", shape, "f8", chunks=chunks, compression="gzip")
            if name == "chunks":
                made.id.write_direct_chunk((0, 0, 0), b"x\x9c not deflate")
        yield written(folder / f"{name}.h5", out.getvalue())
