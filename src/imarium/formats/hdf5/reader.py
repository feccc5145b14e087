"""Reads HDF5 files by way of the process that reads them: what they hold, then one frame at a time."""

from __future__ import annotations

import atexit
import functools
import json
import math
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from imarium.errors import CorruptFileError, ImariumError, LimitExceededError, UnsupportedFileError
from imarium.formats._shared import opened, parts_of, study_uid_of, uid_of_digest, uid_of_part
from imarium.formats.base import OneFile, ReadContext, Refusal
from imarium.formats.dicom.decoder_client import DecoderProcess
from imarium.model import Series, SourceFile, SourceSeries
from imarium.model.series import Frame
from imarium.settings import Limits

ATTRIBUTES = "hdf5/attributes"
"""Attachment: JSON of the attributes of the file and of the dataset, the names of its values if it is an
enumeration, and small datasets of the file."""
HEADER = "hdf5/ismrmrd_header"
"""Attachment: the XML of fastMRI and ISMRMRD files."""

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_PLACES = (0, 512, 1024, 2048)
"""Where the signature may be: at 0, or after a user block (HDF5 File Format Specification, II.A)."""
_SERIES = 64
_EXPANSION = 4096
"""Most times that values may be larger than their file, for files of which that is a gigabyte or more."""
_RECONSTRUCTIONS = ("/kspace", "/reconstruction_rss", "/reconstruction_esc")


class Hdf5Process(DecoderProcess):
    """One process that reads HDF5 files; used by one thread at a time."""

    module = "imarium.formats.hdf5.process"
    task = "reading from the HDF5 file"
    matter = "the HDF5 file"

    def work(self, options: dict[str, Any]) -> bytearray:
        """The payload of an answer. Raises CorruptFileError and LimitExceededError."""
        head, payload = self.ask(b"", options)
        if head.get("error") == "memory":
            raise LimitExceededError("the HDF5 file needs more memory than its reader may use")
        if "error" in head:
            raise CorruptFileError("the HDF5 file cannot be read; it is damaged, or changed meanwhile")
        return payload


class Hdf5Reader(OneFile):
    """Reads HDF5: `kspace` and reconstructions of fastMRI, and other numeric datasets of 2 to 6 dimensions.

    The last two dimensions are rows and columns, or rows, columns and colours where the file says so (HDF5
    Image Specification). No link is followed but those to objects of the file itself.
    """

    name = "hdf5"
    batch = False
    several = True

    def recognises(self, path: Path, head: bytes) -> bool:  # noqa: ARG002 - content alone decides
        """Whether HDF5's signature is at the start, or after a user block of up to 2 KiB."""
        return any(head[place : place + 8] == _SIGNATURE for place in _PLACES)

    def read(self, paths: Iterable[Path], context: ReadContext) -> Iterator[SourceSeries | Refusal]:
        """One series for each dataset that is an image, at most 64 a file; what is left out is named in the
        notes of the first. Else one refusal a file: CorruptFileError, LimitExceededError,
        UnsupportedFileError (nothing in it can be kept) or RefusedFileError (cannot be opened)."""
        for path in paths:
            try:
                found = _read(path, context)
            except ImariumError as error:
                yield Refusal(path, error)
            else:
                yield from found


def _read(path: Path, context: ReadContext) -> list[SourceSeries]:
    limits = context.limits
    with opened(path, limits) as (_, facts):
        pass
    allowed = {
        "frame_pixels": limits.frame_pixels,
        "frame_bytes": limits.frame_bytes,
        "frames": limits.frames,
        "bytes": min(limits.file_bytes, max(_EXPANSION * facts.st_size, 1 << 30)),
        "images": _SERIES,
    }
    with _process(limits) as process:
        asked = _request(path, facts, "describe") | {"limits": allowed}
        described: dict[str, Any] = json.loads(process.work(asked))
    images: list[dict[str, Any]] = described["images"]
    if not images:
        # Without the names of the datasets, which may be anybody's.
        reasons = "; ".join(list(described["reasons"])[:4])
        raise UnsupportedFileError(
            "the HDF5 file holds no numbers of two to six dimensions that can be kept"
            + (f": of what there is, {reasons}" if reasons else "")
        )
    file = SourceFile(path, facts.st_size, context.digest_of(path))
    files = parts_of(file, len(images))
    study = study_uid_of(uid_of_digest(bytes.fromhex(file.digest)))
    patient = described["attributes"].get("patient_id")
    result = []
    for number, image in enumerate(images):
        kept = {
            "dataset": image["dataset"],
            "attributes": {"/": described["attributes"], image["dataset"]: image["attributes"]},
            "names": image["names"],
            "values": described["values"],
        }
        attachments = {ATTRIBUTES: json.dumps(kept, ensure_ascii=False).encode("utf-8", "replace")}
        if described["header"]:
            attachments[HEADER] = described["header"].encode("utf-8", "replace")
        notes = described["notes"] if number == 0 else []
        series = _series(image, uid_of_part(file.digest, number), study, notes, bool(described["header"]))
        result.append(
            SourceSeries(
                series=series,
                files=(files[number],),
                read_frames=functools.partial(_frames, path, facts, image, series, limits),
                attachments=attachments,
                patient_id=patient if isinstance(patient, str) and patient else None,
            )
        )
    return result


def _series(image: dict[str, Any], uid: str, study: str, notes: list[str], scanner: bool) -> Series:
    rows, columns, *colours = image["frame"]
    dtype = np.dtype(image["dtype"])
    return Series(
        uid=uid,
        study_uid=study,
        format="hdf5",
        frames=math.prod(image["shape"]),
        rows=rows,
        columns=columns,
        dtype=dtype.name,
        samples=3 if colours else 1,
        photometric="RGB" if colours else "MONOCHROME2",
        dimensions=tuple(image["shape"]),
        modality="MR" if scanner and image["dataset"] in _RECONSTRUCTIONS else None,
        description=image["shown"],
        label_map=image["flags"] or bool(image["names"]),
        bits_stored=(1 if image["flags"] else 8 * dtype.itemsize) if dtype.kind in "iu" else None,
        notes=tuple(notes),
    )


def _frames(
    path: Path, facts: os.stat_result, image: dict[str, Any], series: Series, limits: Limits
) -> Iterator[Frame]:
    dtype = np.dtype(series.dtype)
    asked = _request(path, facts, "frame") | {"dataset": image["dataset"], "cache": image["cache"]}
    with _process(limits) as process:
        for index in product(*(range(length) for length in image["shape"])):
            payload = process.work(asked | {"index": index})
            if len(payload) != math.prod(series.frame_shape) * dtype.itemsize:
                raise CorruptFileError("a frame of the HDF5 file has another size than its dataset says")
            yield np.frombuffer(payload, dtype).reshape(series.frame_shape)


def _request(path: Path, facts: os.stat_result, operation: str) -> dict[str, Any]:
    identity = [facts.st_ino, facts.st_dev, facts.st_size, facts.st_mtime_ns]
    return {"operation": operation, "path": str(path.absolute()), "identity": identity}


_idle: list[tuple[Limits, int, Hdf5Process]] = []
"""At most one process waits for the next file."""
_lock = threading.Lock()


@atexit.register
def close_idle() -> None:
    """End the process that waits, if there is one."""
    with _lock:
        waiting = _idle[:]
        _idle.clear()
    for _, owner, process in waiting:
        if owner == os.getpid():
            process.close()


@contextmanager
def _process(limits: Limits) -> Iterator[Hdf5Process]:
    """A process for one task; afterwards it waits for the next, if it still runs and no other does."""
    with _lock:
        waiting = _idle.pop() if _idle else None
    process = None
    if waiting is not None and waiting[1] == os.getpid():
        if waiting[0] == limits and waiting[2].alive:
            process = waiting[2]
        else:
            waiting[2].close()
    if process is None:
        process = Hdf5Process(limits)
    try:
        yield process
    finally:
        # Whatever became of the task: the file is let go of, by the end of the process if need be.
        with suppress(ImariumError):
            if process.alive:
                process.work({"operation": "close"})
        with _lock:
            keep = process.alive and not _idle
            if keep:
                _idle.append((limits, os.getpid(), process))
        if not keep:
            process.close()
