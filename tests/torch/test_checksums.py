"""Checksums of joined pieces, against the checksum of the joined bytes."""

import google_crc32c
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from imarium.torch.checksums import joined


@given(st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=3000)), min_size=1, max_size=20))
def test_joined_pieces(pairs):
    first, second = (
        np.array([google_crc32c.value(pair[side]) for pair in pairs], np.uint32) for side in (0, 1)
    )
    expected = [google_crc32c.value(one + other) for one, other in pairs]
    found = joined(first, second, np.array([len(other) for _, other in pairs]))
    assert found.tolist() == expected


def test_long_pieces():
    one, other = bytes(range(256)) * 40, bytes(5_000_000) + b"end"
    words = [np.array([google_crc32c.value(piece)], np.uint32) for piece in (one, other)]
    found = joined(*words, np.array([len(other)]))
    assert found.tolist() == [google_crc32c.value(one + other)]
