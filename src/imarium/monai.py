"""Reading into MONAI: `LoadImage(reader=ImariumReader("http://127.0.0.1:8000"))`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray

from imarium.client import Client, connect
from imarium.client import open as open_place
from imarium.errors import InvalidRequestError
from imarium.model import Volume
from imarium.model.geometry import spacing_of

try:
    from monai.data.image_reader import ImageReader
    from monai.utils.enums import MetaKeys, SpaceKeys
except ImportError as error:
    raise ImportError("imarium.monai needs MONAI: pip install monai") from error

_ADDRESS = re.compile(r"imarium(?P<secure>\+https)?:/{1,2}(?P<host>[^/?#]+)/(?P<uid>[^/?#]+)(?P<query>\?.*)?")
"""A path of the standard library makes one slash of two."""
_NAME = re.compile(r"(?P<uid>[0-9.]+)(?P<query>\?.*)?")


class ImariumReader(ImageReader):
    """Reads series by UID, or by "imarium://SERVER/UID?level=2" (imarium+https:// over TLS), from a server or
    a store, at any level or size.

    Arrays have NIfTI's axes, (columns, rows, slices[, time][, colours]), float32 values in the series' own
    unit (HU for CT), and an affine to RAS+ mm; pictures, which lie nowhere, have the identity.
    """

    def __init__(
        self,
        source: str | Path | Client | None = None,
        *,
        level: int | None = None,
        size: int | str | tuple[int, int] | None = None,
        **options: Any,
    ) -> None:
        """`source` is a client, the address of a server, or what `imarium.open` opens, for names that name no
        server; `options` are those of `imarium.connect` or `imarium.open`. `level` or `size` are for names
        that say neither."""
        super().__init__()
        self._source, self._options = source, options
        self._level, self._size = level, size
        self._clients: dict[str | None, Client] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Other processes make connections of their own."""
        return self.__dict__ | {"_clients": {}}

    def verify_suffix(self, filename: Any) -> bool:
        """Whether these are names of series."""
        return all(_ADDRESS.fullmatch(name) or _NAME.fullmatch(name) for name in _texts(filename))

    def read(self, data: Any, **_: Any) -> list[Volume]:
        """The volumes of one or several names. Raises InvalidRequestError, NotFoundError, LevelError and what
        reading raises."""
        return [self._read(name) for name in _texts(data)]

    def _read(self, name: str) -> Volume:
        match = _ADDRESS.fullmatch(name) or _NAME.fullmatch(name)
        if match is None:
            raise InvalidRequestError("a series is named by its UID, or as imarium://SERVER/UID?level=LEVEL")
        found = match.groupdict()
        asked = _asked(found["query"] or "")
        if not asked:
            asked = {"level": self._level, "size": self._size}
        host = found.get("host")
        address = None if host is None else f"{'https' if found['secure'] else 'http'}://{host}"
        return self._client(address).series(found["uid"]).volume(**asked)

    def _client(self, address: str | None) -> Client:
        if isinstance(self._source, Client) and address is None:
            return self._source
        if address not in self._clients:
            place = address or self._source
            if place is None:
                raise InvalidRequestError(
                    "which server? Name it: imarium://SERVER/UID, or ImariumReader(SERVER)"
                )
            online = str(place).startswith(("http://", "https://"))
            self._clients[address] = (
                connect(str(place), **self._options) if online else open_place(str(place), **self._options)
            )
        return self._clients[address]

    def get_data(self, img: Volume | Sequence[Volume]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """The array and its metadata. Several of one shape are channels of one array, with the metadata of
        the first. Raises InvalidRequestError for several of different shapes."""
        volumes = [img] if isinstance(img, Volume) else list(img)
        arrays = [_array(volume) for volume in volumes]
        facts = _facts(volumes[0], arrays[0])
        if len(arrays) == 1:
            return arrays[0], facts
        if len({array.shape for array in arrays}) > 1:
            raise InvalidRequestError(
                "series of different shapes are no channels of one image; resample them"
            )
        return np.stack(arrays), facts | {MetaKeys.ORIGINAL_CHANNEL_DIM: 0}


def _asked(query: str) -> dict[str, Any]:
    pairs = dict(parse_qsl(query.removeprefix("?"), keep_blank_values=True))
    if pairs.keys() - {"level", "size"} or len(pairs) > 1:
        raise InvalidRequestError("the name of a series takes ?level=LEVEL or ?size=SIZE")
    if "level" in pairs:
        if not (pairs["level"].isascii() and pairs["level"].isdigit()):
            raise InvalidRequestError("a level is a number; 0 is the full resolution")
        return {"level": int(pairs["level"][:3])}
    return dict(pairs)


def _texts(names: Any) -> list[str]:
    return [str(names)] if isinstance(names, str | Path) else [str(name) for name in names]


def _array(volume: Volume) -> NDArray[np.float32]:
    """(columns, rows, slices, further axes, colours)."""
    assert volume.series is not None
    values = volume.rescaled()
    if volume.series.samples == 1:
        return values.T
    return np.moveaxis(values, -1, 0).T


def _facts(volume: Volume, array: NDArray[np.float32]) -> dict[str, Any]:
    series = volume.series
    assert series is not None
    affine = np.eye(4) if volume.affine is None else volume.affine
    facts: dict[str, Any] = {
        MetaKeys.AFFINE: affine,
        MetaKeys.ORIGINAL_AFFINE: affine.copy(),
        MetaKeys.SPATIAL_SHAPE: np.array(array.shape[:3]),
        MetaKeys.SPACE: SpaceKeys.RAS,
        MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan") if array.ndim == 3 else -1,
        "series": series.uid,
        "modality": series.modality or "",
        "body_part": series.body_part or "",
        "rescale_unit": series.rescale_unit or "",
    }
    if series.affine is not None:
        facts["spacing"] = np.array(spacing_of(series.affine)[::-1])
    return facts
