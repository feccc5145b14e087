"""A real server in a thread, for tests and examples."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from imarium.archive import Archive
from imarium.faces.http import listening


@contextmanager
def running(archive: Archive) -> Iterator[str]:
    """The HTTP face over an archive on a free port of this machine; yields its address."""
    with listening(archive, "127.0.0.1", 0) as bound:
        thread = threading.Thread(target=bound.run, daemon=True)
        thread.start()
        yield bound.url
        bound.stop()
        thread.join(10)
