"""What LSTM and RNN share: bottoms, tops and the state between passes. Registers no layer."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sdcaffe import proto
from sdcaffe.layers.base import Layer, OnnxBuilder, Shape, Tops, show_shape


class Recurrent(Layer):
    """A recurrence over t steps of n streams.

    Bottoms: x (t, n, ...), continuation flags (t, n), which are 0 where a sequence begins; then perhaps a
    static input (n, ...), seen by every step. Top: (t, n, num_output). The state carries over to the next
    pass, without gradient. With `expose_hidden` it is bottoms and tops instead, each (1, n, num_output),
    and likewise no gradient goes through them, as in Caffe. `debug_info` changes nothing.

    A subclass gives `states`, `gates` (rows of the input weights for each output) and the two methods below.
    """

    param: proto.RecurrentParameter
    states: ClassVar[int] = 1
    gates: ClassVar[int] = 1
    index_bottoms = (1,)

    batch_axis = 1

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        x, cont = bottom_shapes[:2]
        outputs = self.param.num_output
        if outputs <= 0:
            raise self.error(f"num_output (={outputs}) must be positive", "num_output")
        if len(x) < 3:
            raise self.error(f"bottom 0 must have at least 3 axes (steps, streams, ...), not {show_shape(x)}")
        if cont != x[:2]:
            raise self.error(f"bottom 1 must have shape {show_shape(x[:2])} as bottom 0, not {show_shape(cont)}")
        n = x[1]
        state = (1, n, outputs)
        exposed = self.states if self.param.expose_hidden else 0
        self._check_counts(len(bottom_shapes), exposed)
        self.static = len(bottom_shapes) == 3 + exposed
        if self.static and (len(bottom_shapes[2]) < 2 or bottom_shapes[2][0] != n):
            raise self.error(
                f"bottom 2 must have one row for each of the {n} streams, not {show_shape(bottom_shapes[2])}"
            )
        for shape in bottom_shapes[len(bottom_shapes) - exposed :]:
            if shape != state:
                raise self.error(f"a hidden state must have shape {show_shape(state)}, not {show_shape(shape)}")
        static = math.prod(bottom_shapes[2][1:]) if self.static else None
        self.make_blobs(math.prod(x[2:]), static, outputs)
        if not exposed:
            self._clear(state)
        return [(*x[:2], outputs)] + [state] * exposed

    def _check_counts(self, bottoms: int, exposed: int) -> None:
        if not 2 + exposed <= bottoms <= 3 + exposed:
            raise self.error(f"needs {2 + exposed} or {3 + exposed} bottoms, not {bottoms}")
        if len(self.layer_param.top) != 1 + exposed:
            raise self.error(f"needs {1 + exposed} tops, not {len(self.layer_param.top)}")

    def make_blobs(self, inputs: int, static: int | None, outputs: int) -> None:
        """Make the parameter blobs; this one makes those of the input and, after them, of the static input."""
        rows, param = self.gates * outputs, self.param
        self.blob(0, (rows, inputs), param.weight_filler)
        self.blob(1, (rows,), param.bias_filler)
        if static is not None:
            self.blob(2, (rows, static), param.weight_filler)

    def unroll(self, x: Tensor, cont: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Outputs (t, n, d) and the last state from inputs (t, n, gates * d), flags (t, n, 1), state (n, d)."""
        raise NotImplementedError

    def _clear(self, shape: Shape) -> None:
        for i in range(self.states):
            old = getattr(self, f"state_{i}", None)
            if old is None or old.shape != shape:
                self.register_buffer(f"state_{i}", torch.zeros(shape, device=self.blobs[0].device))

    def forward(self, x: Tensor, cont: Tensor, *rest: Tensor) -> Tensor | tuple[Tensor, ...]:
        inputs = functional.linear(x.flatten(2), self.blobs[0], self.blobs[1])
        if self.static:
            inputs = inputs + functional.linear(rest[0].flatten(1), self.blobs[2])
        cont = cont.detach().unsqueeze(-1).to(inputs.dtype)
        if self.param.expose_hidden:
            before = [state.detach()[0] for state in rest[-self.states :]]
            top, after = self.unroll(inputs, cont, before)
            return (top, *(state.detach().unsqueeze(0) for state in after))
        self._clear((1, x.shape[1], self.param.num_output))
        kept = [getattr(self, f"state_{i}") for i in range(self.states)]
        # A copy: backward needs the state that this pass began with, and the buffer moves on below.
        top, after = self.unroll(inputs, cont, [state.to(inputs.dtype, copy=True)[0] for state in kept])
        with torch.no_grad():
            for buffer, state in zip(kept, after, strict=True):
                buffer.copy_(state.unsqueeze(0))
        return top

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tops:
        """Unrolled over the steps. A sequence begins with a state of 0 where the layer does not expose it."""
        x, cont, *rest = bottoms
        blobs = list(builder.blobs)
        inputs = functional.linear(x.flatten(2), blobs[0], blobs[1])
        if self.static:
            inputs = inputs + functional.linear(rest[0].flatten(1), blobs[2])
        cont, own = cont.unsqueeze(-1), blobs[3 if self.static else 2 :]
        if self.param.expose_hidden:
            top, after = self.unroll_traced(inputs, cont, [state[0] for state in rest[-self.states :]], own)
            return (top, *(state.unsqueeze(0) for state in after))
        zeros = x.new_zeros(x.shape[1], self.param.num_output)
        return self.unroll_traced(inputs, cont, [zeros] * self.states, own)[0]

    def unroll_traced(
        self, x: Tensor, cont: Tensor, state: list[Tensor], blobs: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """`unroll` as an exporter traces it, by the blobs that the subclass made."""
        raise NotImplementedError

    def multiply_adds(self, bottoms: list[Shape], tops: list[Shape]) -> int:
        steps, streams = bottoms[0][:2]
        weights = [blob.numel() for blob in self.blobs if blob.dim() == 2]
        static = weights.pop(1) if self.static else 0  # once a sequence, not once a step
        return streams * (steps * sum(weights) + static)

    def example(self, index: int, shapes: list[Shape], random: np.random.Generator) -> np.ndarray | None:
        return random.integers(0, 2, shapes[1]) if index == 1 else None

    def forget(self) -> None:
        for name, buffer in self.named_buffers():
            if name.startswith("state_"):
                buffer.zero_()

    @classmethod
    def mixes_items(cls, layer_param: proto.LayerParameter) -> bool:
        return True
