"""LSTMUnit: one time step of an LSTM, from gate inputs to cell and hidden state. The loop is in recurrent.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdcaffe.layers.base import Layer, OnnxBuilder, Shape, register, show_shape


class _Unit(torch.autograd.Function):
    """Here f is the forget gate times `cont`, and Caffe's backward has f (1 - f).

    That is not autograd's where cont is neither 0 nor 1.
    """

    @staticmethod
    def forward(ctx: Any, cell: Tensor, gates: Tensor, cont: Tensor) -> tuple[Tensor, Tensor]:
        size = cell.shape[-1]
        i, f, o = gates[..., : 3 * size].sigmoid().chunk(3, -1)
        f = f * cont
        g = gates[..., 3 * size :].tanh()
        top = f * cell + i * g
        squashed = top.tanh()
        ctx.save_for_backward(cell, i, f, o, g, squashed)
        return top, o * squashed

    @staticmethod
    def backward(ctx: Any, cell_grad: Tensor, hidden_grad: Tensor) -> tuple[Tensor | None, ...]:
        cell, i, f, o, g, squashed = ctx.saved_tensors
        inner = cell_grad + hidden_grad * o * (1 - squashed * squashed)
        gates = [
            inner * g * i * (1 - i),
            inner * cell * f * (1 - f),
            hidden_grad * squashed * o * (1 - o),
            inner * i * (1 - g * g),
        ]
        return inner * f, torch.cat(gates, -1), None


def lstm_unit(cell: Tensor, gates: Tensor, cont: Tensor) -> tuple[Tensor, Tensor]:
    """The next cell and hidden state: c' = cont s(f) c + s(i) tanh(g), h' = s(o) tanh(c').

    The cell is (..., d), the gate inputs i, f, o, g are (..., 4 d), cont is (..., 1) and gets no gradient.
    """
    return _Unit.apply(cell, gates, cont.detach())


def traced_unit(cell: Tensor, gates: Tensor, cont: Tensor) -> tuple[Tensor, Tensor]:
    """`lstm_unit` without a gradient of its own, which an exporter cannot trace."""
    size = cell.shape[-1]
    i, f, o = gates[..., : 3 * size].sigmoid().chunk(3, -1)
    cell = f * cont * cell + i * gates[..., 3 * size :].tanh()
    return cell, o * cell.tanh()


@register("LSTMUnit")
class LSTMUnit(Layer):
    """Bottoms: cell (1, n, d), gate inputs (1, n, 4 d), continuation flags (1, n). Tops: cell, hidden (1, n, d)."""

    bottoms = 3
    tops = 2
    index_bottoms = (2,)

    batch_axis = 1

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        cell, gates, cont = bottom_shapes
        if len(cell) != 3 or cell[0] != 1:
            raise self.error(f"the cell must have shape 1, n, d, not {show_shape(cell)}")
        _, n, d = cell
        if gates != (1, n, 4 * d) or cont != (1, n):
            raise self.error(
                f"a cell of shape {show_shape(cell)} needs gate inputs {show_shape((1, n, 4 * d))} and flags "
                f"{show_shape((1, n))}, not {show_shape(gates)} and {show_shape(cont)}"
            )
        return [cell, cell]

    def forward(self, cell: Tensor, gates: Tensor, cont: Tensor) -> tuple[Tensor, ...]:
        return lstm_unit(cell, gates, cont.unsqueeze(-1))

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> tuple[Tensor, ...]:
        cell, gates, cont = bottoms
        return traced_unit(cell, gates, cont.unsqueeze(-1))

    def example(self, index: int, shapes: list[Shape], random: np.random.Generator) -> np.ndarray | None:
        return random.integers(0, 2, shapes[2]) if index == 2 else None
