"""Imports pydicom without its GPL plugin.

pydicom imports every decoding plugin it finds as soon as it is imported itself, and pylibjpeg brings
pylibjpeg-libjpeg (GPL-3.0) with it. Imarium decodes compressed pixel data in a separate process, so its
own process needs no plugin: they are hidden from pydicom while it is first imported. A program that
imported pydicom before Imarium keeps what it has.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings

DECODER_VARIABLE = "IMARIUM_DECODER_PROCESS"
"""Set to "1" in the environment of the decoder process, where plugins are wanted."""

HIDDEN = ("pylibjpeg", "libjpeg", "openjpeg", "jpeg_ls", "gdcm")


def import_pydicom() -> None:
    """Import pydicom with the plugins hidden, and keep it from quoting values (names) in logs."""
    if "pydicom" not in sys.modules and os.environ.get(DECODER_VARIABLE) != "1":
        hidden = [name for name in HIDDEN if name not in sys.modules]
        for name in hidden:
            sys.modules[name] = None  # type: ignore[assignment]
        try:
            importlib.import_module("pydicom")
        finally:
            for name in hidden:
                sys.modules.pop(name, None)
    config = importlib.import_module("pydicom.config")
    config.settings.reading_validation_mode = config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"pydicom(\..*)?")


import_pydicom()
