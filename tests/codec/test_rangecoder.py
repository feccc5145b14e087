"""The range coder against itself, for any decisions."""

from hypothesis import given, settings
from hypothesis import strategies as st

from imarium.codec.rangecoder import HALF, Decoder, Encoder

DECISIONS = st.tuples(st.just("bit"), st.integers(0, 2), st.booleans().map(int))
NUMBERS = st.integers(1, 16).flatmap(
    lambda count: st.tuples(st.just("bits"), st.just(count), st.integers(0, (1 << count) - 1))
)


def coded(operations):
    encoder, probabilities = Encoder(), [HALF] * 3
    for kind, first, second in operations:
        said = encoder.bit(probabilities, first, second) if kind == "bit" else encoder.bits(first, second)
        assert said == second
    return encoder.finish()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(DECISIONS, DECISIONS, NUMBERS), max_size=400))
def test_decisions_come_back(operations):
    decoder, probabilities = Decoder(coded(operations)), [HALF] * 3
    for kind, first, second in operations:
        assert (decoder.bit(probabilities, first) if kind == "bit" else decoder.bits(first)) == second


def test_likely_decisions_cost_little():
    assert len(coded([("bit", 0, 0)] * 5000)) < 20
    assert 620 < len(coded([("bits", 1, number % 2) for number in range(5000)])) < 630


def test_nothing_takes_no_bytes():
    assert coded([]) == b""
