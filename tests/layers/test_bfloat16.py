"""Convolutions in bfloat16 on processors without units for it, against torch's convolutions in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sdcaffe.layers import bfloat16
from sdcaffe.layers.bfloat16 import WidenedConvolution

torch_functions = {
    (1, False): F.conv1d,
    (2, False): F.conv2d,
    (3, False): F.conv3d,
    (1, True): F.conv_transpose1d,
    (2, True): F.conv_transpose2d,
    (3, True): F.conv_transpose3d,
}


@pytest.mark.parametrize(("axes", "transposed"), torch_functions)
@pytest.mark.parametrize("biased", [True, False])
def test_it_rounds_factors_and_what_it_gives(axes, transposed, biased):
    torch.manual_seed(axes)
    stride, pad, dilation, groups = (2, 1, 1)[:axes], (1, 0, 1)[:axes], (1, 1, 2)[:axes], 2
    bottom = torch.randn(3, 4, *[7] * axes, requires_grad=True)
    weight = torch.randn(*((4, 3) if transposed else (6, 2)), *[3] * axes, requires_grad=True)
    bias = torch.randn(6, requires_grad=True) if biased else None
    given = [tensor for tensor in (bottom, weight, bias) if tensor is not None]

    top = WidenedConvolution.apply(bottom, weight, bias, stride, pad, dilation, transposed, groups)
    exact = [tensor.detach().bfloat16().double().requires_grad_() for tensor in given]
    rest = (stride, pad, 0, groups, dilation) if transposed else (stride, pad, dilation, groups)
    expected = torch_functions[axes, transposed](*exact[:2], exact[2] if biased else None, *rest)
    by_top = torch.randn(top.shape).bfloat16()

    assert top.dtype == torch.bfloat16
    rounded_once(top, expected)
    grads = torch.autograd.grad(top, given, by_top)
    for seen, wanted in zip(grads, torch.autograd.grad(expected, exact, by_top.double()), strict=True):
        assert seen.dtype == torch.float32
        rounded_once(seen, wanted)


def rounded_once(seen: Tensor, exact: Tensor) -> None:
    """As near as bfloat16's 8 bits allow, but for what float32 sums lose near 0."""
    torch.testing.assert_close(seen.double(), exact, rtol=2**-8, atol=1e-5)


def test_it_stands_in_only_under_autocast_and_without_units(monkeypatch):
    image = torch.zeros(1)
    monkeypatch.setattr(bfloat16, "_has_units", lambda: False)
    assert not bfloat16.is_widened(image)
    with torch.autocast("cpu", torch.bfloat16):
        assert bfloat16.is_widened(image)
        assert not bfloat16.is_widened(image.to("meta"))
        monkeypatch.setattr(bfloat16, "_has_units", lambda: True)
        assert not bfloat16.is_widened(image)
