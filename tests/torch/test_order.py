"""Epochs: every sample once, the same again, whoever shares the work."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imarium.errors import InvalidRequestError
from imarium.torch.order import Order, Share


def order_of(series, packs=None, **changes):
    """Series of so many samples each, so many of them in a pack."""
    rows = np.concatenate([[0], np.cumsum(series)])
    cuts = np.concatenate([[0], np.cumsum(packs or [len(series)])])
    facts = {
        "seed": 3,
        "shuffle": True,
        "window": 8,
        "window_bytes": 1000,
        "weights": np.full(len(series), 10.0),
    }
    return Order(packs=rows[cuts], rows=rows, **facts | changes)


@st.composite
def orders(draw):
    packs = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    series = draw(st.lists(st.integers(1, 9), min_size=sum(packs), max_size=sum(packs)))
    return order_of(
        series,
        packs,
        seed=draw(st.integers(0, 2**32)),
        shuffle=draw(st.booleans()),
        window=draw(st.integers(1, 12)),
        window_bytes=draw(st.integers(1, 200)),
        weights=np.array(draw(st.lists(st.floats(0, 60), min_size=len(series), max_size=len(series)))),
        split=draw(st.sampled_from(["pad", "drop", "exact"])),
        batch=draw(st.none() | st.integers(1, 7)),
    )


def walked(order, epoch, share, **skips):
    windows = list(order.walk(epoch, share, **skips))
    assert all(len(window) for window in windows)
    return np.concatenate([np.zeros(0, np.int64), *windows]).tolist()


@settings(max_examples=200, deadline=None)
@given(orders(), st.integers(0, 5), st.integers(1, 5), st.integers(1, 5))
def test_workers_and_ranks_share_every_sample(order, epoch, ranks, workers):
    by_rank = [
        [walked(order, epoch, Share(rank, ranks, worker, workers)) for worker in range(workers)]
        for rank in range(ranks)
    ]
    given_ = [list(chain(*parts)) for parts in by_rank]
    everything = sorted(chain(*given_))
    assert [len(samples) for samples in given_] == [order.length(Share(rank, ranks)) for rank in range(ranks)]
    if order.split == "exact":
        assert everything == list(range(order.samples))
        return
    assert len({len(samples) for samples in given_}) == 1
    if order.split == "drop":
        assert len(set(everything)) == len(everything) > order.samples - ranks
    else:
        assert set(everything) == set(range(order.samples))
        assert len(everything) < order.samples + ranks


@settings(max_examples=100, deadline=None)
@given(orders(), st.integers(0, 3), st.integers(1, 3), st.integers(1, 4), st.data())
def test_going_on_gives_exactly_the_rest(order, epoch, ranks, workers, data):
    share = Share(ranks - 1, ranks, workers - 1, workers)
    whole = walked(order, epoch, share)
    given_ = data.draw(st.integers(0, len(whole)))
    assert walked(order, epoch, share, skip=given_) == whole[given_:]


@settings(max_examples=100, deadline=None)
@given(orders(), st.integers(1, 5), st.integers(1, 7), st.integers(0, 5))
def test_with_batches_the_epoch_is_the_same_for_any_number_of_workers(order, workers, batch, used_batches):
    order = Order(**_fields(order) | {"batch": batch})
    alone = walked(order, 1, Share())
    used = min(used_batches * batch, len(alone))
    queues = [walked(order, 1, Share(0, 1, worker, workers), used=used) for worker in range(workers)]
    together, turn = [], 0
    while any(queues):  # as a DataLoader takes batches of its workers
        queue = queues[turn % workers]
        together += queue[:batch]
        del queue[:batch]
        turn += 1
    assert together == alone[used:]


@settings(max_examples=50, deadline=None)
@given(orders())
def test_windows_are_bounded_and_packs_come_one_after_another(order):
    packs = []
    for window in Order(**_fields(order) | {"batch": None}).walk(0, Share()):
        assert len(window) <= order.window
        weights = order.weights[np.searchsorted(order.rows, window, side="right") - 1]
        assert len(window) == 1 or weights.sum() <= order.window_bytes * (1 + 1e-9) + 1e-9
        packs.append(set(_packs(order, window)))
    for pack in range(len(order.packs) - 1):
        windows = [number for number, found in enumerate(packs) if pack in found]
        assert windows == list(range(windows[0], windows[-1] + 1))


def _fields(order):
    return {name: getattr(order, name) for name in order.__dataclass_fields__}


def _packs(order, window):
    return (np.searchsorted(order.packs, window, side="right") - 1).tolist()


def test_epochs_and_seeds_differ_and_repeat():
    order = order_of([1] * 100, [10] * 10)
    first = walked(order, 0, Share())
    assert walked(order, 0, Share()) == first
    assert walked(order, 1, Share()) != first
    assert walked(order_of([1] * 100, [10] * 10, seed=4), 0, Share()) != first
    assert walked(order_of([1] * 100, [10] * 10, shuffle=False), 5, Share()) == list(range(100))


def test_samples_of_several_packs_are_mixed():
    order = order_of([1] * 100, [10] * 10, window=30)
    packs = [set(_packs(order, window)) for window in order.walk(0, Share())]
    assert [len(found) for found in packs] == [3, 3, 3, 1]


def test_an_order_of_millions_takes_no_time_to_start():
    order = order_of([500] * 4000, [1] * 4000, window=1024)
    window = next(order.walk(0, Share(1, 8)))
    assert len(window) == 100  # of 1000 bytes


@pytest.mark.parametrize("share", [(1, 1), (-1, 2), (0, 0)])
def test_ranks_that_do_not_exist(share):
    with pytest.raises(InvalidRequestError, match="rank"):
        Share(*share)
