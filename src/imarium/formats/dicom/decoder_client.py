"""Asks decoder processes for frames; ends those that take too long or too much."""

from __future__ import annotations

import atexit
import json
import os
import selectors
import struct
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
from pydicom.uid import UID

from imarium.errors import CorruptFileError, ImariumError, LimitExceededError, UnsupportedFileError
from imarium.formats.dicom.guard import DECODER_VARIABLE
from imarium.formats.dicom.pixels import PixelFormat
from imarium.model.series import Frame
from imarium.settings import Limits

_MODULE = "imarium.formats.dicom.decoder_process"
_CHUNK = 1 << 20
_START_SECONDS = 60.0
"""Time for a process to start and import its decoders, on top of the time for the frame."""
_IDLE_KEPT = 4
_CODECS = {
    "jpeg2k": "JPEG 2000",
    "htj2k": "High-Throughput JPEG 2000",
    "webp": "WebP",
    "webp-alpha": "WebP",
    "lerc": "LERC",
}


class DecoderProcess:
    """One decoder process; used by one thread at a time."""

    module = _MODULE
    task = "decoding a frame"
    """What it does, in messages, and what with."""
    matter = "the compressed pixel data"

    def __init__(self, limits: Limits, command: tuple[str, ...] | None = None) -> None:
        self._limits = limits
        program = command or (sys.executable, "-m", self.module, str(limits.decoder_memory_bytes))
        environment = dict(os.environ)
        environment.update({DECODER_VARIABLE: "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"})
        self._process = subprocess.Popen(
            program,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            bufsize=0,
        )
        self._fresh = True
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to = self._process.stdin.fileno()
        self._from = self._process.stdout.fileno()
        os.set_blocking(self._to, False)
        os.set_blocking(self._from, False)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def decode(self, codestream: bytes, options: dict[str, Any]) -> tuple[Frame, str]:
        """One frame and its photometric interpretation. After an error of the process it is ended."""
        head, payload = self.ask(codestream, options)
        if "error" in head:
            codec = _CODECS.get(options.get("codec", ""))
            raise _error(
                str(head["error"]), codec or syntax_name(str(options.get("transfer_syntax_uid", "")))
            )
        array = np.frombuffer(payload, np.dtype(head["dtype"])).reshape(head["shape"])
        return array, str(head["photometric"])

    def ask(self, content: bytes, options: dict[str, Any]) -> tuple[dict[str, Any], bytearray]:
        """Head and payload of the answer to one request; the head may tell of an error.

        Raises LimitExceededError if it takes too long and CorruptFileError if the process ends on it.
        """
        text = json.dumps({"bytes": len(content), "options": options}).encode()
        request = struct.pack(">I", len(text)) + text + content
        allowed = self._limits.decoder_seconds + (_START_SECONDS if self._fresh else 0.0)
        deadline = time.monotonic() + allowed
        try:
            head_size = struct.unpack(">I", self._exchange(request, 4, deadline))[0]
            head: dict[str, Any] = json.loads(self._exchange(b"", head_size, deadline))
            payload = self._exchange(b"", int(head["bytes"]), deadline)
        except TimeoutError as error:
            self.close()
            raise LimitExceededError(
                f"{self.task} took longer than {self._limits.decoder_seconds:g} seconds"
            ) from error
        except EOFError as error:
            status = self._ended()
            raise CorruptFileError(f"the decoder {status} on {self.matter}") from error
        except BaseException:
            self.close()
            raise
        self._fresh = False
        return head, payload

    def _exchange(self, request: bytes, wanted: int, deadline: float) -> bytearray:
        """Send `request` while receiving `wanted` bytes."""
        answer = bytearray(wanted)
        view, received = memoryview(answer), 0
        rest = memoryview(request)
        with selectors.DefaultSelector() as selector:
            selector.register(self._from, selectors.EVENT_READ)
            if rest:
                selector.register(self._to, selectors.EVENT_WRITE)
            while received < wanted or rest:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                for key, _ in selector.select(left):
                    if key.fd == self._to:
                        try:
                            rest = rest[os.write(self._to, rest[:_CHUNK]) :]
                        except BrokenPipeError as error:
                            raise EOFError from error
                        if not rest:
                            selector.unregister(self._to)
                    else:
                        count = os.readv(self._from, [view[received : received + _CHUNK]])
                        if count == 0:
                            raise EOFError
                        received += count
        return answer

    def _ended(self) -> str:
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            code = 0
        self.close()
        return f"crashed (signal {-code})" if code < 0 else "ended unexpectedly"

    def close(self) -> None:
        """End the process and wait for it."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


def _error(kind: str, name: str) -> ImariumError:
    if kind == "memory":
        return LimitExceededError("decoding a frame needs more memory than the decoder may use")
    failed = f"the compressed pixel data cannot be decoded ({name})"
    if kind == "unsupported":
        return UnsupportedFileError(f"{failed}; no decoder for it is installed")
    return CorruptFileError(f"{failed}; the file is damaged or of an unknown variant")


def syntax_name(syntax: str) -> str:
    """The short name of a transfer syntax in the standard's table (PS3.6 A); never the text of a file."""
    uid = UID(syntax)
    if uid.type != "Transfer Syntax":
        return "an unknown transfer syntax"
    return uid.name.split("(")[0].strip().removesuffix(" Image Compression")


class DecoderPool:
    """Decoder processes for any number of threads; each is started when first needed and used again."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._idle: list[DecoderProcess] = []
        self._lock = threading.Lock()
        self._owner = os.getpid()

    def decode(self, codestream: bytes, form: PixelFormat) -> tuple[Frame, str]:
        """Decode one frame: array of (rows, columns[, samples]) and its photometric interpretation."""
        shape = (form.rows, form.columns) if form.samples == 1 else (form.rows, form.columns, form.samples)
        return self._ask(codestream, _options(form), shape, form.dtype)

    def decode_codestream(
        self, codestream: bytes, codec: str, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> Frame:
        """Decode a codestream by itself.

        `codec` is jpeg2k (Part 1) or htj2k (Part 15 of ISO/IEC 15444), webp, webp-alpha (with a fourth sample
        in any case) or lerc.

        Raises CorruptFileError if it is damaged or not of that shape and type, LimitExceededError if it
        takes too much time or memory.
        """
        array, _ = self._ask(codestream, {"codec": codec}, shape, dtype)
        return array

    def _ask(
        self, codestream: bytes, options: dict[str, Any], shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> tuple[Frame, str]:
        process = self._take()
        try:
            array, photometric = process.decode(codestream, options)
        finally:
            self._give(process)
        if array.shape != shape or array.dtype != dtype:
            raise CorruptFileError(
                f"the compressed pixel data decode to {array.shape} {array.dtype}, not {shape} {dtype}"
            )
        return array, photometric

    def close(self) -> None:
        """End all idle processes."""
        with self._lock:
            idle, self._idle = self._idle, []
        if os.getpid() == self._owner:
            for process in idle:
                process.close()

    def _take(self) -> DecoderProcess:
        with self._lock:
            if os.getpid() != self._owner:  # after a fork the parent's processes are not ours
                self._idle, self._owner = [], os.getpid()
            while self._idle:
                process = self._idle.pop()
                if process.alive:
                    return process
                process.close()
        return DecoderProcess(self._limits)

    def _give(self, process: DecoderProcess) -> None:
        with self._lock:
            if process.alive and len(self._idle) < _IDLE_KEPT:
                self._idle.append(process)
                return
        process.close()


def _options(form: PixelFormat) -> dict[str, Any]:
    options: dict[str, Any] = {
        "transfer_syntax_uid": form.syntax,
        "rows": form.rows,
        "columns": form.columns,
        "samples_per_pixel": form.samples,
        "photometric_interpretation": form.photometric,
        "bits_allocated": form.bits_allocated,
        "bits_stored": form.bits_stored,
        "pixel_representation": int(form.signed),
        "pixel_keyword": form.keyword,
        "number_of_frames": 1,
    }
    if form.samples > 1:
        options["planar_configuration"] = form.planar
    return options


_pools: dict[Limits, DecoderPool] = {}
_pools_lock = threading.Lock()


def pool_for(limits: Limits) -> DecoderPool:
    """The pool of this process for the given limits."""
    with _pools_lock:
        return _pools.setdefault(limits, DecoderPool(limits))


@atexit.register
def close_pools() -> None:
    """End all decoder processes."""
    with _pools_lock:
        pools = list(_pools.values())
        _pools.clear()
    for pool in pools:
        pool.close()
