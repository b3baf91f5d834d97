"""RNN with tanh units over a whole sequence; what it shares with LSTM is in recurrent.py."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sdcaffe.layers.base import register
from sdcaffe.layers.recurrent import Recurrent


@register("RNN", field="recurrent_param")
class RNN(Recurrent):
    """h_t = tanh(W_h h_(t-1) + W_x x_t + b_h), top o_t = tanh(W_o h_t + b_o); see Recurrent for bottoms and tops.

    Blobs: W_x (d, inputs), b_h (d), static weights (d, static inputs) where there is a static input,
    W_h (d, d), W_o (d, d), b_o (d).
    """

    bottoms = (2, 4)
    tops = (1, 2)

    torch_names = (
        ("weight_ih", "bias", "weight_hh", "weight_ho", "bias_o"),
        ("weight_ih", "bias", "weight_static", "weight_hh", "weight_ho", "bias_o"),
    )

    def make_blobs(self, inputs: int, static: int | None, outputs: int) -> None:
        super().make_blobs(inputs, static, outputs)
        first = 3 if self.static else 2
        self.blob(first, (outputs, outputs), self.param.weight_filler)
        self.blob(first + 1, (outputs, outputs), self.param.weight_filler)
        self.blob(first + 2, (outputs,), self.param.bias_filler)

    def unroll(self, x: Tensor, cont: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        (hidden,) = state
        recurrent, out, bias = list(self.blobs)[-3:]
        steps = []
        for step, going in zip(x.unbind(), cont.unbind(), strict=True):
            hidden = torch.addmm(step, hidden * going, recurrent.t()).tanh()
            steps.append(hidden)
        return functional.linear(torch.stack(steps), out, bias).tanh(), [hidden]

    def unroll_traced(
        self, x: Tensor, cont: Tensor, state: list[Tensor], blobs: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        (hidden,) = state
        recurrent, out, bias = blobs
        steps = []
        for step, going in zip(x.unbind(), cont.unbind(), strict=True):
            hidden = (step + (hidden * going) @ recurrent.t()).tanh()
            steps.append(hidden)
        return functional.linear(torch.stack(steps), out, bias).tanh(), [hidden]
