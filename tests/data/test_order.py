"""Which items make a batch: Caffe's wrap-around, shuffled epochs, skipping, and sharing among processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdcaffe import proto
from sdcaffe.data.order import DRAWS, FILES, ORDER, Order, default_seed, permutation, random_draws, shard


def by_seed(count):
    return lambda seed, epoch: permutation(seed, epoch, count)


def test_items_come_in_order_and_begin_again_inside_a_batch():
    order = Order(5, 3)
    assert [order.indices(k).tolist() for k in range(4)] == [[0, 1, 2], [3, 4, 0], [1, 2, 3], [4, 0, 1]]


def test_a_batch_may_be_larger_than_the_set():
    assert Order(2, 5).indices(1).tolist() == [1, 0, 1, 0, 1]


def test_a_batch_that_takes_the_last_item_restarts_the_set():
    order = Order(6, 3)
    assert [order.restarts(k) for k in range(4)] == [False, True, False, True]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 17), st.integers(0, 2**64 - 1))
def test_every_shuffled_epoch_holds_every_item_once(count, batch, seed):
    order = Order(count, batch, seed=seed, shuffle=by_seed(count))
    batches = -(-3 * count // batch)
    items = np.concatenate([order.indices(k) for k in range(batches)])[: 3 * count].reshape(3, count)
    assert (np.sort(items, axis=1) == np.arange(count)).all()


def test_epochs_and_seeds_have_orders_of_their_own_that_do_not_depend_on_the_batch():
    def epochs(seed, batch):
        order = Order(60, batch, seed=seed, shuffle=by_seed(60))
        return [tuple(row) for row in np.concatenate([order.indices(k) for k in range(120 // batch)]).reshape(2, 60)]

    assert epochs(7, 4) == epochs(7, 30)
    assert len({*epochs(7, 4), *epochs(8, 4)}) == 4


def test_an_epochs_order_is_made_once():
    made = []

    def shuffle(seed, epoch):
        made.append(epoch)
        return permutation(seed, epoch, 6)

    order = Order(6, 4, shuffle=shuffle)
    for k in range(6):
        order.indices(k)
    assert made == [0, 1, 2, 3]


def test_permutations_are_uniform():
    """Each of 4 items stands in each of 4 places in about a quarter of 4,000 epochs (5 deviations: 137)."""
    orders = np.stack([permutation(1, epoch, 4) for epoch in range(4000)])
    counts = np.stack([(orders == item).sum(0) for item in range(4)])
    assert np.abs(counts - 1000).max() < 137


def test_draws_depend_on_seed_stream_index_and_rank():
    draws = {
        tuple(random_draws(seed, stream, index, 4, rank).tolist())
        for seed in (0, 1)
        for stream in (ORDER, DRAWS, FILES)
        for index in (0, 1)
        for rank in (0, 1)
    }
    assert len(draws) == 24
    assert tuple(random_draws(1, DRAWS, 1, 4, 1).tolist()) in draws


def test_random_skip_is_below_its_bound_and_drops_the_first_items_once():
    skips = {Order(10, 2, seed=seed, rand_skip=4).skip for seed in range(100)}
    assert skips == {0, 1, 2, 3}
    order = Order(10, 4, seed=3, rand_skip=4)
    assert order.indices(0).tolist() == [order.skip + i for i in range(4)]
    assert order.indices(2).tolist() == [(order.skip + 8 + i) % 10 for i in range(4)]


def test_processes_share_the_items_between_them():
    """As in Caffe, whose solver of rank r takes the items whose number modulo the solvers is r."""
    shares = [Order(8, 2, rank=rank, world=2) for rank in (0, 1)]
    assert [shares[0].indices(k).tolist() for k in range(2)] == [[0, 2], [4, 6]]
    assert [shares[1].indices(k).tolist() for k in range(2)] == [[1, 3], [5, 7]]
    assert shares[0].restarts(1)
    assert not shares[0].restarts(0)


def test_one_process_reads_everything():
    assert shard(proto.TRAIN) == (0, 1)


def test_ranks_are_those_of_torch_distributed_in_training_only(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 2)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    assert shard(proto.TRAIN) == (2, 3)
    assert shard(proto.TEST) == (0, 1)


def test_the_default_seed_follows_torch_and_the_layer():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        first = default_seed("data")
        assert default_seed("data") == first
        assert default_seed("other") != first
        torch.manual_seed(5)
        assert default_seed("data") != first


def test_a_permutation_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        permutation(0, 0, 3)[0] = 1
