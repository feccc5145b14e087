"""Imarium, an open medical image database: one lossless copy, any resolution, any format.

import imarium

db = imarium.connect("http://127.0.0.1:8000")
volume = db.series(uid).volume(level=2)
"""

from imarium.client import Client, RemoteSeries, aio, connect, open
from imarium.errors import ImariumError
from imarium.model import Selection, Series, Volume
from imarium.version import VERSION

__version__ = VERSION

__all__ = [
    "Client",
    "ImariumError",
    "RemoteSeries",
    "Selection",
    "Series",
    "Volume",
    "__version__",
    "aio",
    "connect",
    "open",
]
