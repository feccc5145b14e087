"""A level as a codestream of its own: the same pixels, by two decoders that know nothing of one another."""

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imarium.codec import decompositions_for, htj2k
from imarium.codec.reduced import reduced
from imarium.errors import IntegrityError


@settings(max_examples=40, deadline=None)
@given(
    st.integers(32, 140),
    st.integers(32, 140),
    st.sampled_from([(-1000, 3000), (0, 255), (-30000, 30000)]),
    st.integers(0, 2**32 - 1),
)
def test_every_level_decodes_to_the_same_integers(rows, columns, bounds, seed):
    frame = np.random.default_rng(seed).integers(*bounds, (rows, columns), endpoint=True)
    depth = decompositions_for(rows, columns)
    parts = htj2k.encode(frame, depth, low=bounds[0], high=bounds[1], color_transform=False)
    assert parts is not None
    for level in range(depth + 1):
        prefix = b"".join(parts[: depth + 1 - level])
        expected = htj2k.decode(prefix, level)
        own = reduced(prefix, level)
        np.testing.assert_array_equal(htj2k.decode(own, 0), expected)
        if bounds[1] < 10_000:  # OpenJPEG decodes no more than 26 bits
            np.testing.assert_array_equal(imagecodecs.jpeg2k_decode(own), expected)


def test_colours():
    frame = np.random.default_rng(0).integers(0, 256, (70, 61, 3)).astype(np.int16)
    parts = htj2k.encode(frame, 2, low=0, high=255, color_transform=True)
    prefix = b"".join(parts[:2])
    np.testing.assert_array_equal(htj2k.decode(reduced(prefix, 1), 0), htj2k.decode(prefix, 1))


def test_others_are_refused():
    frame = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    lossy = bytes(imagecodecs.jpeg2k_encode(frame, level=30, codecformat="j2k", resolutions=3))
    with pytest.raises(IntegrityError, match="not reversible"):
        reduced(lossy, 1)
    whole = b"".join(htj2k.encode(frame.astype(np.int16), 2, low=0, high=255, color_transform=False))
    with pytest.raises(IntegrityError, match="fewer resolutions"):
        reduced(whole, 3)
    for length in range(2, 120):
        with pytest.raises(IntegrityError):
            reduced(whole[:length], 3)
