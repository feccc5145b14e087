"""The first use of the codec by several threads at once, each time in a new process.

OpenJPH fills its tables on first use, in some versions without a lock; about one process in thirty then
coded or decoded a frame wrongly.
"""

import subprocess
import sys

CODE = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from imarium.codec import encode_frame, Lane
from imarium.testing import series_of, smooth_frames

faults = []
sys.unraisablehook = faults.append
frames = smooth_frames(8, 128, 128)
together = threading.Barrier(4)

def encode(frame):
    together.wait()
    return encode_frame(frame, series_of(frame), 3).lane

with ThreadPoolExecutor(4) as pool:
    lanes = set(pool.map(encode, frames))
sys.exit(bool(faults) or lanes != {Lane.HTJ2K})
"""


def test_threads_that_begin_together():
    for _ in range(12):
        assert subprocess.run([sys.executable, "-c", CODE], check=False).returncode == 0
