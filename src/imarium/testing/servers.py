"""A real server in a thread, for tests and examples."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from imarium.archive import Archive
from imarium.faces.http import listening


@contextmanager
def running(archive: Archive, port: int = 0) -> Iterator[str]:
    """The HTTP face over an archive on a port of this machine, 0: a free one; yields its address."""
    with listening(archive, "127.0.0.1", port) as bound:
        thread = threading.Thread(target=bound.run, daemon=True)
        thread.start()
        yield bound.url
        bound.stop()
        thread.join(10)
