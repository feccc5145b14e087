"""The program that decodes compressed frames, in a process of its own: `python -m` this module.

Codestreams are untrusted input to C decoders, so this process has bounded memory, may crash and may be
killed; one of the decoders is GPL-3.0 and is only ever loaded here, by pydicom. Requests come on standard
input and answers go to standard output, each as: 4 bytes length of a JSON head (big endian), the head,
and as many bytes as the head's "bytes" says.

    request   {"bytes": n, "options": {pydicom decoding options}} + one frame's codestream
              {"bytes": n, "options": {"codec": a key of _CODECS}} + a codestream that says all by itself
    answer    {"bytes": n, "dtype", "shape", "photometric"} + the stored values, C order, native
              {"bytes": 0, "error": "corrupt" | "unsupported" | "memory"}

What the decoders say of a codestream stays here: it may quote the file.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

_JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
Work = Callable[[bytes, dict[str, Any]], tuple[NDArray[Any], str]]
"""Makes an array, and a word on it, of a request's content and options."""

_CODECS: dict[str, Callable[[bytes], NDArray[Any]]] = {
    "jpeg2k": imagecodecs.jpeg2k_decode,
    "htj2k": imagecodecs.htj2k_decode,
    "webp": imagecodecs.webp_decode,
    "webp-alpha": lambda data: imagecodecs.webp_decode(data, hasalpha=True),
    "lerc": imagecodecs.lerc_decode,
}
_JPEG_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")


def read_message(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """The next message, or None at the end of the stream."""
    size = stream.read(4)
    if len(size) < 4:
        return None
    head = json.loads(stream.read(struct.unpack(">I", size)[0]))
    return head, stream.read(head["bytes"])


def write_message(stream: BinaryIO, head: dict[str, Any], payload: bytes | memoryview) -> None:
    """Write a message and flush."""
    text = json.dumps(head).encode()
    stream.write(struct.pack(">I", len(text)) + text)
    stream.write(payload)
    stream.flush()


def decode(codestream: bytes, options: dict[str, Any]) -> tuple[NDArray[Any], str]:
    """One frame's stored values and their photometric interpretation, as pydicom gives them raw.

    JPEG of 8 and 12 bits is decoded by libjpeg-turbo wherever it can: decoders may differ by 1 (ISO/IEC
    10918-2), and what a file's pixels are must not hang on which plugins are installed, nor differ from what
    a codestream gives that is kept. Of codestreams outside DICOM the photometric interpretation is not known
    and empty.
    """
    if "codec" in options:
        return _CODECS[options["codec"]](codestream), ""
    syntax = UID(options["transfer_syntax_uid"])
    if syntax in _JPEG and options["bits_stored"] <= 12:
        with contextlib.suppress(Exception):
            return _without_plugins(codestream, syntax, options)
    rest = {key: value for key, value in options.items() if key != "transfer_syntax_uid"}
    decoder = get_decoder(syntax)
    if decoder.is_available:
        try:
            array, properties = decoder.as_array(
                encapsulate([codestream], has_bot=False), index=0, raw=True, **rest
            )
            return array, str(properties["photometric_interpretation"])
        except Exception:
            if syntax not in _JPEG + _JPEG_LOSSLESS:
                raise
            with contextlib.suppress(Exception):
                return _without_plugins(codestream, syntax, options)
            raise
    return _without_plugins(codestream, syntax, options)


def _without_plugins(codestream: bytes, syntax: UID, options: dict[str, Any]) -> tuple[NDArray[Any], str]:
    """JPEG without pydicom's plugins."""
    photometric = str(options["photometric_interpretation"])
    if syntax in _JPEG:
        # Decoded as it is coded: no colour conversion, since the stored values are wanted.
        same = None if options["samples_per_pixel"] == 1 else "YCBCR" if "YBR" in photometric else "RGB"
        array = imagecodecs.jpeg8_decode(codestream, colorspace=same, outcolorspace=same)
    elif syntax in _JPEG_LOSSLESS:
        array = imagecodecs.ljpeg_decode(codestream)
    else:
        raise NotImplementedError
    rows, columns, samples = options["rows"], options["columns"], options["samples_per_pixel"]
    shape = (rows, columns) if samples == 1 else (rows, columns, samples)
    bits = options["bits_allocated"]
    dtype = np.dtype(f"{'i' if options['pixel_representation'] else 'u'}{max(1, bits // 8)}")
    array = np.ascontiguousarray(array).reshape(shape)
    array = array.view(dtype) if array.dtype.itemsize == dtype.itemsize else array.astype(dtype)
    shift = bits - options["bits_stored"]
    array = np.right_shift(np.left_shift(array, shift), shift)
    return array, photometric


def answer(head: dict[str, Any], codestream: bytes, work: Work = decode) -> tuple[dict[str, Any], memoryview]:
    """Head and payload of the answer to a request."""
    try:
        array, photometric = work(codestream, head["options"])
        array = np.ascontiguousarray(array)
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        payload = array.reshape(-1).view(np.uint8).data
        facts = {"dtype": array.dtype.name, "shape": array.shape, "photometric": photometric}
        return {"bytes": payload.nbytes, **facts}, payload
    except MemoryError:
        return {"bytes": 0, "error": "memory"}, memoryview(b"")
    except NotImplementedError:
        return {"bytes": 0, "error": "unsupported"}, memoryview(b"")
    except Exception as error:
        kind = "memory" if "memory" in str(error).lower() else "corrupt"
        return {"bytes": 0, "error": kind}, memoryview(b"")


def limit_memory(size: int) -> None:
    """Bound the address space of this process, and write no core files (POSIX only)."""
    try:
        import resource  # noqa: PLC0415 - not on every platform
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard != resource.RLIM_INFINITY:
        size = min(size, hard)
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def main(work: Work = decode) -> None:
    """Answer requests with what `work` makes of them until standard input ends."""
    requests = sys.stdin.buffer
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # libraries that print must not disturb the protocol
        limit_memory(int(sys.argv[1]))
        while (message := read_message(requests)) is not None:
            write_message(answers, *answer(*message, work))


if __name__ == "__main__":
    main()
