"""Frames to parts and back, exactly: chooses a lane for each frame by looking at it, and verifies."""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from imarium.codec import floats, htj2k, labels, lattice, polyphase, source
from imarium.errors import IntegrityError
from imarium.model import Series, SourceCodestream, level_shape
from imarium.model.series import Frame

SMALLEST_SIDE = 16
MOST_DECOMPOSITIONS = 5
PARAMS_BYTES = 16
_LEAST_WHOLE_PIXELS, _WHOLE_SHARE = 1 << 10, 0.9
"""What no lane holds well (label maps that are noise, or samples apart) is kept as JPEG XL if it is worth it:
frames of so many values, and smaller by a tenth."""
_LEAST_PIXELS, _MARGIN = 64, 1.01
"""What is larger than its source by more than a hundredth is kept as whatever is smallest; specks are not."""
_SMALL_SOURCE, _SMALL_FRAME = 1 << 15, 1 << 18
"""A PNG of so few bytes and values is made JPEG XL if that is smaller: what a series takes in the index of
its pack would be more than the 2 % by which a source may grow."""
_MOST_PATCH_VALUES, _PATCH_SHARE = 32, 0.9
"""What makes a picture one of patches: at most so many values, and so many pixels inside patches."""
DIGEST_BYTES = 32


class Tier(StrEnum):
    """What a collection is stored for."""

    FAST = "fast"
    """Read often, at any resolution."""
    ARCHIVE = "archive"
    """Rarely read: as small as can be, at the price of time and of low resolutions that need every byte."""


class Lane(IntEnum):
    """How a frame is stored; docs/design/pack-format.md defines each."""

    HTJ2K = 1
    POLYPHASE = 2
    FLOAT = 3
    AFFINE = 4
    RANKED = 5
    COMPLEX = 6
    LABELS = 7
    SOURCE = 8


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """A frame as stored. Part p completes resolution p, smallest first."""

    lane: Lane
    params: bytes
    digest: bytes
    parts: tuple[bytes, ...]


def decompositions_for(rows: int, columns: int) -> int:
    """Halvings worth storing: at most five, and none that leaves a side under 16 pixels."""
    count = 0
    while count < MOST_DECOMPOSITIONS and min(level_shape(rows, columns, count + 1)) >= SMALLEST_SIDE:
        count += 1
    return count


def pixel_digest(frame: Frame) -> bytes:
    """BLAKE3 of the values in C order, little-endian."""
    little = np.ascontiguousarray(frame, dtype=frame.dtype.newbyteorder("<"))
    return blake3(little.reshape(-1).view(np.uint8).data).digest()


def choose_lane(series: Series, decompositions: int) -> Lane:
    """The lane that frames of a series are meant for; a frame may turn out to need another."""
    dtype = np.dtype(series.dtype)
    if series.label_map or dtype.kind == "b":
        return Lane.LABELS
    if series.samples == 1 and dtype.kind in "fc":
        return Lane.FLOAT if dtype.kind == "f" else Lane.COMPLEX
    if dtype.kind not in "iu" or decompositions == 0 or series.samples == 2:
        return Lane.POLYPHASE
    return Lane.HTJ2K


_REASONS: Mapping[int, str] = {
    Lane.HTJ2K: "integers, for any resolution",
    Lane.POLYPHASE: "values of which no wavelet makes a low resolution: exact samples of every level",
    Lane.FLOAT: "floating point: an integer preview and the exact values",
    Lane.AFFINE: "floating point that is integers times a slope",
    Lane.RANKED: "floating point of few different values",
    Lane.COMPLEX: "complex numbers: real and imaginary parts as two pictures",
    Lane.LABELS: "labels, which a wavelet would mix",
    Lane.SOURCE: "a codestream of another codec, which is smaller",
}


def known_lane(number: int) -> Lane:
    """A lane by the number that packs have for it; raises IntegrityError for one of a later version."""
    try:
        return Lane(number)
    except ValueError as error:
        raise IntegrityError(
            f"lane {number} is unknown to this version of Imarium; upgrade to read it"
        ) from error


def lane_reason(lane: int) -> str:
    """What a lane is for."""
    return _REASONS.get(lane, "unknown to this version of Imarium")


def lanes_text(lanes: Sequence[int]) -> str:
    """Which lanes the frames of a series took, and why."""
    counts = Counter(lanes)
    said = []
    for lane, count in counts.most_common():
        share = "" if len(counts) == 1 else f"{count} frames "
        said.append(f"{share}{Lane(lane).name.lower()}: {lane_reason(lane)}")
    return "; ".join(said)


def encode_frame(
    frame: Frame,
    series: Series,
    decompositions: int,
    codestream: SourceCodestream | None = None,
    tier: Tier = Tier.FAST,
    budget: float | None = None,
) -> EncodedFrame:
    """Encode one frame, decode it again and compare.

    A frame that the lane of its series cannot hold exactly goes to the polyphase lane. `codestream`, from
    which the frame was decoded, is kept instead if it is smaller; something smaller is made, slowly, where
    the frame would take more than `budget` bytes. Raises IntegrityError if no lane returns the same values.
    """
    digest = pixel_digest(frame)
    if tier is Tier.ARCHIVE and not series.label_map and (made := source.archive(frame)) is not None:
        return _whole(*made, digest, decompositions)
    encoded = _encode_pixels(frame, series, decompositions, digest)
    size = sum(map(len, encoded.parts))
    if codestream is not None and size > len(codestream.data):
        kept = _kept(frame, codestream, series)
        if kept is not None:
            return _whole(*kept, digest, decompositions)
        budget = len(codestream.data) if budget is None else budget
    unfit = encoded.lane is Lane.POLYPHASE or (
        encoded.lane is Lane.LABELS and labels.is_apart(encoded.params)
    )
    made, limit = None, float(size)
    if budget is not None and size > _MARGIN * budget and frame.size >= _LEAST_PIXELS:
        made = source.smallest(frame, budget)
    elif unfit and frame.size >= _LEAST_WHOLE_PIXELS:
        made, limit = source.archive(frame), _WHOLE_SHARE * size
    return _whole(*made, digest, decompositions) if made and len(made[1]) < limit else encoded


def _kept(frame: Frame, codestream: SourceCodestream, series: Series) -> tuple[bytes, bytes] | None:
    """(params, codestream) of the source, or of JPEG XL for a small PNG; None if it is not the frame."""
    params = source.keep(frame, codestream, series.bits_stored) if frame.dtype.kind in "iu" else None
    if params is None:
        return None
    small = len(codestream.data) <= _SMALL_SOURCE and frame.size <= _SMALL_FRAME
    if small and codestream.codec == "png" and series.frames == 1:
        made = source.archive(frame)
        if made is not None and len(made[1]) < len(codestream.data):
            return made
    return params, codestream.data


def _whole(params: bytes, data: bytes, digest: bytes, decompositions: int) -> EncodedFrame:
    """A frame as one codestream of another codec."""
    return EncodedFrame(Lane.SOURCE, params, digest, source.spread(data, decompositions))


def _encode_pixels(frame: Frame, series: Series, decompositions: int, digest: bytes) -> EncodedFrame:
    for encode in _ROADS[choose_lane(series, decompositions)]:
        found = encode(frame, series, decompositions)
        if found is None:
            continue
        lane, params, parts = found
        if lane is not Lane.HTJ2K:  # which compared already
            decoded = decode_frame(lane, params, parts, series, decompositions, level=0)
            # The digest is of bits, so that NaN and -0 count.
            if decoded.dtype != frame.dtype or pixel_digest(decoded) != digest:
                continue
        return EncodedFrame(lane, params, digest, parts)
    raise IntegrityError("a frame does not decode to the values it was made from")


_Encoded = tuple[Lane, bytes, tuple[bytes, ...]]
"""Lane, params and parts."""


def _encode_htj2k(frame: Frame, series: Series, decompositions: int) -> _Encoded | None:
    """None if the values are too far apart for int32, or do not come back."""
    low, high = int(frame.min()), int(frame.max())
    if not -(1 << 63) <= low <= high < 1 << 63:
        return None
    base = _base(low, high)
    if high - base >= 1 << 31:
        return None
    values = (frame - frame.dtype.type(base)).astype(np.int32) if base else frame
    rgb = series.photometric == "RGB"
    parts = htj2k.encode(values, decompositions, low=low - base, high=high - base, color_transform=rgb)
    return None if parts is None else (Lane.HTJ2K, struct.pack("<qq", low, high), parts)


def _base(low: int, high: int) -> int:
    """What is subtracted before coding: nothing where int32 holds the values as they are."""
    return 0 if low >= -(1 << 31) and high < 1 << 31 else low


def _encode_like_labels(frame: Frame, series: Series, decompositions: int) -> _Encoded | None:
    """Masks and label maps whose source does not say so: few values, or colours, in patches."""
    return _encode_labels(frame, series, decompositions) if _in_patches(frame) else None


def _in_patches(frame: Frame) -> bool:
    """Few different values, and most pixels like both the one before and the one above. A row from the middle
    tells of most pictures that they are nothing of the kind."""
    middle = len(frame) // 2
    row = labels.as_one(frame[middle : middle + 1])
    if row is None or len(set(row[0, :: max(1, row.size // 64)].tolist())) > _MOST_PATCH_VALUES:
        return False
    if np.unique(row).size > _MOST_PATCH_VALUES:
        return False
    bits = labels.as_one(frame)
    if bits is None:
        return False
    same = (bits[1:, 1:] == bits[:-1, 1:]) & (bits[1:, 1:] == bits[1:, :-1])
    if np.count_nonzero(same) < _PATCH_SHARE * same.size:
        return False
    return np.unique(bits).size <= _MOST_PATCH_VALUES


def _encode_labels(frame: Frame, _series: Series, decompositions: int) -> _Encoded | None:
    found = labels.encode(frame, decompositions)
    if found is None:
        return None
    params, parts = found
    return Lane.LABELS, params.ljust(PARAMS_BYTES, b"\0"), parts


def _encode_affine(frame: Frame, _series: Series, decompositions: int) -> _Encoded | None:
    found = lattice.find_affine(frame) if decompositions else None
    if found is None:
        return None
    steps, slope, intercept = found
    return _with_table(Lane.AFFINE, steps, lattice.pack_affine(slope, intercept), decompositions)


def _encode_ranked(frame: Frame, _series: Series, decompositions: int) -> _Encoded | None:
    found = lattice.find_ranks(frame) if decompositions else None
    if found is None:
        return None
    ranks, table = found
    return _with_table(Lane.RANKED, ranks, lattice.pack_table(table), decompositions)


def _with_table(lane: Lane, values: Frame, table: bytes, decompositions: int) -> _Encoded | None:
    low, high = int(values.min()), int(values.max())
    parts = htj2k.encode(values, decompositions, low=low, high=high, color_transform=False)
    return None if parts is None else (lane, struct.pack("<qq", low, high), (table + parts[0], *parts[1:]))


def _encode_float(frame: Frame, _series: Series, decompositions: int) -> _Encoded | None:
    parts, scaling = floats.encode(frame, decompositions)
    return Lane.FLOAT, struct.pack("<dd", *scaling), parts


def _encode_complex(frame: Frame, series: Series, decompositions: int) -> _Encoded | None:
    plane = _plane_of(series)
    both = [
        encode_frame(np.ascontiguousarray(values), plane, decompositions)
        for values in (frame.real, frame.imag)
    ]
    header = b"".join(struct.pack("<B", one.lane) + one.params for one in both)
    parts = [
        struct.pack("<I", len(real)) + real + imaginary
        for real, imaginary in zip(both[0].parts, both[1].parts, strict=True)
    ]
    return Lane.COMPLEX, bytes(PARAMS_BYTES), (header + parts[0], *parts[1:])


def _plane_of(series: Series) -> Series:
    """The facts of the real or the imaginary part."""
    return replace(series, dtype={"complex64": "float32", "complex128": "float64"}[series.dtype])


def _encode_polyphase(frame: Frame, _series: Series, decompositions: int) -> _Encoded | None:
    return Lane.POLYPHASE, bytes(PARAMS_BYTES), polyphase.encode(frame, decompositions)


_ROADS: Mapping[Lane, tuple[Callable[[Frame, Series, int], _Encoded | None], ...]] = {
    Lane.HTJ2K: (_encode_like_labels, _encode_htj2k, _encode_polyphase),
    Lane.FLOAT: (_encode_like_labels, _encode_affine, _encode_ranked, _encode_float),
    Lane.COMPLEX: (_encode_complex, _encode_polyphase),
    Lane.LABELS: (_encode_labels, _encode_polyphase),
    Lane.POLYPHASE: (_encode_like_labels, _encode_polyphase),
}
"""What is tried, in this order, for frames that are meant for a lane."""


def decode_frame(
    lane: int,
    params: bytes,
    parts: Sequence[bytes],
    series: Series,
    decompositions: int,
    level: int,
    out: NDArray[Any] | None = None,
) -> Frame:
    """Decode a level of a frame from its parts 0 to `decompositions - level`.

    `series` holds the facts at full resolution. `out` (C-contiguous, the level's shape, the series' dtype)
    takes the values without a copy where the lane allows it. Raises IntegrityError if the parts are damaged.
    """
    lane = known_lane(lane)
    dtype = np.dtype(series.dtype)
    rows, columns = level_shape(series.rows, series.columns, level)
    shape = (rows, columns, *series.frame_shape[2:])
    if lane == Lane.HTJ2K:
        frame = _decode_htj2k(params, parts, dtype, level, shape, out)
    elif lane == Lane.FLOAT and level == 0:
        frame = floats.decode_exact(parts[-1], shape, dtype)
    elif lane == Lane.FLOAT:
        frame = floats.decode_preview(b"".join(parts), level, dtype, *struct.unpack("<dd", params))
    elif lane == Lane.POLYPHASE:
        frame = polyphase.decode(parts, decompositions, series.frame_shape, dtype)
    elif lane == Lane.LABELS:
        frame = labels.decode(params, parts, decompositions, series.frame_shape, dtype)
    elif lane == Lane.AFFINE:
        scaling = lattice.unpack_affine(parts[0])
        steps = _decode_part_of(params, parts, lattice.AFFINE_BYTES, level)
        frame = lattice.apply_affine(steps, *scaling, dtype)
    elif lane == Lane.RANKED:
        table, start = lattice.unpack_table(parts[0], dtype)
        frame = table[np.clip(_decode_part_of(params, parts, start, level), 0, table.size - 1)]
    elif lane == Lane.SOURCE:
        whole = source.decode(params, parts[0], series.frame_shape, dtype)
        frame = source.at_level(whole, level, nearest=series.label_map)
    else:
        frame = _decode_complex(parts, series, decompositions, level)
    if frame.shape != shape:
        raise IntegrityError(f"a stored frame decodes to {frame.shape} where {shape} was expected")
    if out is None or frame is out:
        return frame
    out[...] = frame
    return out


def _decode_htj2k(
    params: bytes,
    parts: Sequence[bytes],
    dtype: np.dtype[Any],
    level: int,
    shape: tuple[int, ...],
    out: NDArray[Any] | None,
) -> Frame:
    low, high = struct.unpack("<qq", params)
    base = _base(low, high)
    coded = htj2k.coded_dtype(low - base, high - base)
    target = out if out is not None and not base and out.dtype == coded and out.shape == shape else None
    decoded = decode_integers(parts, low - base, high - base, level, target)
    if base:
        wide = decoded.astype(dtype)
        wide += dtype.type(base)
        return wide
    if out is None or target is out or decoded.shape != shape:
        return decoded.astype(dtype, copy=False)
    np.copyto(out, decoded, casting="unsafe")
    return out


def decode_integers(
    parts: Sequence[bytes],
    low: int,
    high: int,
    level: int,
    out: NDArray[Any] | None = None,
    into: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Decode a level of a frame of values from `low` to `high`, in the signed type in which they are coded;
    `out`, if given, is C-contiguous, of that type and of the level's shape. The values go to `into` instead,
    of any type and any strides, if it is given and of the level's shape.

    This is all that a frame of the htj2k lane takes whose values fit into 32 bits. Raises IntegrityError.
    """
    decoded = htj2k.decode(b"".join([*parts, htj2k.EOC] if level else parts), level, out)
    if level:
        # A wavelet's low levels go beyond the values that it was given. maximum and minimum are much slower,
        # and so are bounds that NumPy has to find a type for.
        kind = decoded.dtype.type
        try:
            np.clip(decoded, kind(low), kind(high), out=decoded)
        except OverflowError as error:
            raise IntegrityError("a stored codestream holds another type than its bounds say") from error
    if into is None or into.shape != decoded.shape:
        return decoded
    np.copyto(into, decoded, casting="unsafe")
    return into


def _decode_part_of(params: bytes, parts: Sequence[bytes], start: int, level: int) -> NDArray[Any]:
    """Integers of a codestream that begins at `start` of the first part."""
    low, high = struct.unpack("<qq", params)
    return decode_integers([parts[0][start:], *parts[1:]], low, high, level)


def _decode_complex(parts: Sequence[bytes], series: Series, decompositions: int, level: int) -> Frame:
    plane = _plane_of(series)
    each = 1 + PARAMS_BYTES
    header, rest = parts[0][: 2 * each], [parts[0][2 * each :], *parts[1:]]
    if len(header) < 2 * each or any(len(part) < 4 for part in rest):
        raise IntegrityError("a stored complex frame is cut off")
    sizes = [4 + int(struct.unpack_from("<I", part)[0]) for part in rest]
    planes = (
        [part[4:size] for part, size in zip(rest, sizes, strict=True)],
        [part[size:] for part, size in zip(rest, sizes, strict=True)],
    )
    rows, columns = level_shape(series.rows, series.columns, level)
    frame = np.empty((rows, columns), series.dtype)
    for number, (target, pieces) in enumerate(zip((frame.real, frame.imag), planes, strict=True)):
        facts = header[number * each :][:each]
        target[...] = decode_frame(facts[0], facts[1:], pieces, plane, decompositions, level)
    return frame


def stays_encoded(stored: Series, series: Series) -> bool:
    """Whether frames that were encoded as `stored` says decode to the same, at every level, as `series` says.

    Besides, both must have the same number of decompositions.
    """
    facts = [(one.frame_shape, one.dtype, one.photometric, one.label_map) for one in (stored, series)]
    return facts[0] == facts[1]


def encode_frames(
    frames: Iterable[Frame | EncodedFrame],
    series: Series,
    decompositions: int,
    threads: int,
    *,
    codestream: Callable[[int], SourceCodestream | None] | None = None,
    tier: Tier = Tier.FAST,
    budget: Callable[[int], float | None] | None = None,
) -> Iterator[EncodedFrame]:
    """Encode and verify frames in order on several threads; holds at most two frames a thread.

    Frames that are encoded already pass through as they are: the caller answers for them (`stays_encoded`).
    `codestream` gives the compressed frame of the source, by number, where there is one; it is asked from
    the threads, as is `budget`: the bytes that a frame may take before something smaller is tried, however
    slow, which are those of its source. Raises IntegrityError if a frame's shape or type is not the series',
    or their number differs.
    """
    count = 0
    dtype, shape = np.dtype(series.dtype), series.frame_shape

    def encode(frame: Frame, number: int) -> EncodedFrame:
        kept = None if codestream is None else codestream(number)
        most = None if budget is None else budget(number)
        return encode_frame(frame, series, decompositions, kept, tier, most)

    with ThreadPoolExecutor(threads, thread_name_prefix="encode") as pool:
        pending: deque[Future[EncodedFrame]] = deque()
        try:
            for frame in frames:
                if isinstance(frame, EncodedFrame):
                    pending.append(_done(frame))
                elif frame.shape != shape or frame.dtype != dtype:
                    raise IntegrityError(
                        f"frame {count} is {frame.dtype.name} {frame.shape}, the series {dtype.name} {shape}"
                    )
                else:
                    pending.append(pool.submit(encode, frame, count))
                count += 1
                if len(pending) >= 2 * threads:
                    yield pending.popleft().result()
            if count != series.frames:
                raise IntegrityError(f"{count} frames were read where {series.frames} were announced")
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _done(frame: EncodedFrame) -> Future[EncodedFrame]:
    """What a task would have given that had nothing to do."""
    future: Future[EncodedFrame] = Future()
    future.set_result(frame)
    return future
