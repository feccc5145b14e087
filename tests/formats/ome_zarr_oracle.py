"""Prints what the packages ome-zarr and ome-zarr-models make of OME-Zarr folders: a JSON object a line.

Run as a process of its own, in an environment that has them; see `scripts/setup.sh`.
"""

import hashlib
import json
import sys

from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from ome_zarr_models import open_ome_zarr

for path in sys.argv[1:]:
    location = parse_url(path, mode="r")
    (node,) = Reader(location)()
    model = open_ome_zarr(path)  # raises for whatever the specification does not allow
    told = {
        "version": location.fmt.version,
        "model": f"{type(model).__module__}.{type(model).__name__}",
        "levels": [
            {
                "shape": level.shape,
                "dtype": level.dtype.name,
                "sha256": hashlib.sha256(level.compute().tobytes()).hexdigest(),
            }
            for level in node.data
        ],
        **{
            key: node.metadata.get(key)
            for key in ("axes", "coordinateTransformations", "channel_names", "visible", "contrast_limits")
        },
        "colours": [end for _, end in node.metadata.get("colormap", [])],
    }
    print(json.dumps(told))
