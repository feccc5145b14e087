"""What every codec lane promises."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from numpy.typing import NDArray

from imarium.codec import Lane, Tier, decode_frame, decompositions_for, encode_frame, pixel_digest
from imarium.model import level_shape
from imarium.testing.frames import DTYPES, frames_of, series_of

_EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


class LaneConformance:
    """Subclass with the types and facts that lead to a lane."""

    dtypes: tuple[str, ...] = DTYPES
    facts: dict[str, Any] = {}  # noqa: RUF012 - a constant of the subclass
    lanes: tuple[Lane, ...] = tuple(Lane)
    """Lanes that may come out for these."""
    tier: Tier = Tier.FAST
    budget: float | None = None
    """Bytes that a frame may take before something smaller is tried."""

    def test_any_values_come_back_exactly(self) -> None:
        """Bit for bit, for any shape, type and values, NaN and infinities included."""

        @_EXAMPLES
        @given(frame=frames_of(self.dtypes))
        def check(frame: NDArray[Any]) -> None:
            series = series_of(frame, **self.facts)
            depth = decompositions_for(series.rows, series.columns)
            encoded = encode_frame(frame, series, depth, tier=self.tier, budget=self.budget)
            assert encoded.lane in self.lanes
            assert len(encoded.parts) == depth + 1
            decoded = decode_frame(encoded.lane, encoded.params, encoded.parts, series, depth, 0)
            assert decoded.dtype == frame.dtype
            assert pixel_digest(decoded) == pixel_digest(frame) == encoded.digest

        check()

    def test_every_level_has_its_shape_and_stays_in_range(self) -> None:
        """Levels decode from a prefix of the parts, in the type of the frame, within its values."""

        @_EXAMPLES
        @given(frame=frames_of(self.dtypes))
        def check(frame: NDArray[Any]) -> None:
            series = series_of(frame, **self.facts)
            depth = decompositions_for(series.rows, series.columns)
            encoded = encode_frame(frame, series, depth, tier=self.tier, budget=self.budget)
            for level in range(depth + 1):
                parts = encoded.parts[: depth + 1 - level]
                decoded = decode_frame(encoded.lane, encoded.params, parts, series, depth, level)
                assert decoded.shape[:2] == level_shape(series.rows, series.columns, level)
                assert decoded.dtype == frame.dtype
                if frame.dtype.kind in "iub":
                    assert frame.min() <= decoded.min()
                    assert decoded.max() <= frame.max()

        check()

    def test_decodes_into_a_given_array(self) -> None:
        """`out` takes the values."""
        frame = np.arange(64 * 48).reshape(64, 48).astype(self.dtypes[0])
        series = series_of(frame, **self.facts)
        depth = decompositions_for(64, 48)
        encoded = encode_frame(frame, series, depth, tier=self.tier, budget=self.budget)
        out = np.empty_like(frame)
        decode_frame(encoded.lane, encoded.params, encoded.parts, series, depth, 0, out)
        np.testing.assert_array_equal(out, frame)
