"""Batch norm over the batches of all processes: the numbers of one process with the whole batch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from process_groups import together
from torch.nn import functional as F

from sdcaffe import collectives
from sdcaffe.layers.batch_norm import normalize_batch

CASES = list(itertools.product((True, False), (True, False)))  # with weight and bias; channels_last


def numbers():
    """A bottom, its top's gradient, weight and bias."""
    generator = torch.Generator().manual_seed(5)
    bottom = 3 + 2 * torch.randn(8, 6, 5, 7, generator=generator)
    top = torch.randn(8, 6, 5, 7, generator=generator)
    return bottom, top, *(1 + torch.rand(2, 6, generator=generator))


def shared(bottom, *parameters):
    with collectives.sharing_statistics_of_all():
        return normalize_batch(bottom, *(parameters or (None, None)), 1e-5)


def normalised(affine, channels_last):
    """This process's part: top, mean, variance, and the gradients of bottom, weight and bias."""
    rank, world = collectives.rank_and_world()
    bottom, grad, *parameters = numbers()
    bottom, grad = (t.chunk(world)[rank] for t in (bottom, grad))
    if channels_last:
        bottom = bottom.contiguous(memory_format=torch.channels_last)
    inputs = [t.requires_grad_() for t in (bottom, *(parameters if affine else ()))]
    outputs = shared(*inputs)
    outputs[0].backward(grad)
    return [t.detach().numpy() for t in (*outputs, *(i.grad for i in inputs))]


def of_every_case():
    return [normalised(*case) for case in CASES]


@pytest.mark.parametrize("world", [2, 4])
def test_top_statistics_and_gradients_are_those_of_the_whole_batch(world):
    """Against torch's batch norm of the whole batch in float64."""
    answers = together(world, of_every_case)
    for case, (affine, _) in enumerate(CASES):
        parts = [answer[case] for answer in answers]
        bottom, grad, *parameters = (t.double() for t in numbers())
        inputs = [t.requires_grad_() for t in (bottom, *(parameters if affine else ()))]
        top = F.batch_norm(bottom, None, None, *(inputs[1:] or (None, None)), training=True, eps=1e-5)
        top.backward(grad)
        for index, want in ((0, top), (3, bottom.grad)):
            whole = np.concatenate([part[index] for part in parts])
            np.testing.assert_allclose(whole, want.detach().numpy(), rtol=1e-5, atol=2e-6)
        values = bottom.detach().transpose(0, 1).flatten(1)
        for part in parts:
            np.testing.assert_allclose(part[1], values.mean(1).numpy(), rtol=1e-6)
            np.testing.assert_allclose(part[2], values.var(1).numpy(), rtol=1e-6)
        for index, parameter in enumerate(inputs[1:], 4):  # a process's own; they are averaged as any gradient
            np.testing.assert_allclose(sum(part[index] for part in parts), parameter.grad.numpy(), rtol=1e-5, atol=1e-5)


def far_from_zero():
    return 1000 + torch.randn(16, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def of_corners():
    """The statistics of values far from zero; then top, mean and variance of one value a process."""
    rank, world = collectives.rank_and_world()
    _, mean, variance = shared(far_from_zero().chunk(world)[rank])
    return [mean.numpy(), variance.numpy(), *(t.item() for t in shared(torch.tensor([[3.0 + 200 * rank]])))]


def test_corners():
    first, second = together(2, of_corners)
    values = far_from_zero().double()
    np.testing.assert_allclose(first[0], values.mean((0, 2, 3)).numpy(), rtol=1e-6)
    np.testing.assert_allclose(first[1], values.var((0, 2, 3)).numpy(), rtol=1e-5)  # 1, beside squares of 10^6
    assert first[2:] == pytest.approx([-1, 103, 20000])  # of 3 and 203: biased variance 10^4, unbiased twice that
    assert second[2:] == pytest.approx([1, 103, 20000])
