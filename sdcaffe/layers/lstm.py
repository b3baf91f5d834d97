"""LSTM over a whole sequence; one step of it is in lstm_unit.py, what it shares with RNN in recurrent.py."""

from __future__ import annotations

import torch
from torch import Tensor

from sdcaffe.layers import source_parts
from sdcaffe.layers.base import Shape, Source, SourceBuilder, call, register
from sdcaffe.layers.lstm_unit import lstm_unit, traced_unit
from sdcaffe.layers.recurrent import Recurrent


@register("LSTM", field="recurrent_param")
class LSTM(Recurrent):
    """Hidden states of an LSTM with gates in the order i, f, o, g; see Recurrent for bottoms and tops.

    Blobs: input weights (4 d, inputs), bias (4 d), static weights (4 d, static inputs) where there is a
    static input, recurrent weights (4 d, d). The exposed states are hidden, then cell.
    """

    bottoms = (2, 5)
    tops = (1, 3)
    states = 2
    gates = 4

    torch_names = (("weight_ih", "bias", "weight_hh"), ("weight_ih", "bias", "weight_static", "weight_hh"))

    def make_blobs(self, inputs: int, static: int | None, outputs: int) -> None:
        super().make_blobs(inputs, static, outputs)
        self.blob(3 if self.static else 2, (4 * outputs, outputs), self.param.weight_filler)

    def unroll(self, x: Tensor, cont: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        hidden, cell = state
        weight = self.blobs[3 if self.static else 2].t()
        steps = []
        for gates, going in zip(x.unbind(), cont.unbind(), strict=True):
            gates = torch.addmm(gates, hidden * going, weight)
            cell, hidden = lstm_unit(cell, gates, going)
            steps.append(hidden)
        return torch.stack(steps), [hidden, cell]

    def unroll_traced(
        self, x: Tensor, cont: Tensor, state: list[Tensor], blobs: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        hidden, cell = state
        weight = blobs[0].t()
        steps = []
        for gates, going in zip(x.unbind(), cont.unbind(), strict=True):
            cell, hidden = traced_unit(cell, gates + (hidden * going) @ weight, going)
            steps.append(hidden)
        return torch.stack(steps), [hidden, cell]

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        if self.static or self.param.expose_hidden:
            raise self.unwritten("an LSTM with a static input or exposed states")
        sizes = str(self.blobs[0].shape[1]), str(self.param.num_output)
        return Source("{self}({0}, {1})", call(builder.part(source_parts.LSTM), *sizes))
