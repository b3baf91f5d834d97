"""Memory that is used again: never while a tensor or a view is on it, always afterwards."""

from __future__ import annotations

import gc

import torch

from sdcaffe.data.memory import Recycler


def test_memory_comes_back_when_its_last_tensor_is_gone():
    recycler = Recycler()
    first = recycler.empty((2, 3), torch.float32)
    place = first.data_ptr()
    part = first.permute(1, 0)[1:]
    del first
    assert recycler.empty((2, 3), torch.float32).data_ptr() != place
    del part
    gc.collect()
    places = {recycler.empty((2, 3), torch.float32).data_ptr() for _ in range(5)}
    assert place in places
    assert len(places) <= 2


def test_what_a_graph_of_autograd_holds_is_not_written_over():
    recycler = Recycler()
    weight = torch.ones(4, requires_grad=True)
    held = recycler.empty((4,), torch.float32).fill_(3)
    loss = (weight * held).sum()
    del held
    recycler.empty((4,), torch.float32).fill_(7)
    loss.backward()
    assert weight.grad.tolist() == [3, 3, 3, 3]


def test_memory_of_another_size_is_let_go():
    recycler = Recycler()
    for size in (8, 16, 4):
        for _ in range(3):
            tensor = recycler.empty((size,), torch.uint8)
            assert tensor.shape == (size,)
            del tensor
    assert [len(memory) for memory in recycler._free] == [4]
