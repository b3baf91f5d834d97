"""A deployed Net as the torch module that is traced: its stages in order. Exports nothing."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from sdcaffe.converters.onnx_pixels import Preprocess
from sdcaffe.net import Net
from sdcaffe.net.stages import Stages


class ExportModule(nn.Module):
    """Takes the inputs of the net in order, gives `outputs` in order.

    With `preprocess` the first input is bytes (n, h, w, c), RGB. Without `into_norms` a Scale stays behind a norm.
    `folded` names the layers that became part of the one before them. Stage i is the submodule `layer_i`; the
    preprocessing is the one after the last.
    """

    def __init__(
        self,
        net: Net,
        outputs: Iterable[str],
        *,
        fold: bool = True,
        into_norms: bool = True,
        preprocess: Preprocess | None = None,
    ) -> None:
        super().__init__()
        slots = [net.graph.latest[name] for name in outputs]
        made = Stages(net.assembled, slots, fold=fold, into_norms=into_norms)
        self.stages, self.outputs, self.folded = made.stages, made.outputs, made.folded
        for i, stage in enumerate(self.stages):
            self.add_module(f"layer_{i}", stage)
        self.inputs = [net.assembled.inputs[name] for name in net.inputs]
        self.preprocess = preprocess
        if preprocess is not None:
            self.add_module(f"layer_{len(self.stages)}", _Preprocessing(preprocess))
        self.eval().requires_grad_(False)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        values = dict(zip(self.inputs, inputs, strict=True))
        if self.preprocess is not None:
            values[self.inputs[0]] = self.get_submodule(f"layer_{len(self.stages)}")(inputs[0])
        for i, stage in enumerate(self.stages):
            tops = self.get_submodule(f"layer_{i}")(*(values[slot] for slot in stage.bottoms))
            values.update(zip(stage.tops, (tops,) if isinstance(tops, Tensor) else tops, strict=True))
        given, results = set(self.inputs), []
        for slot in self.outputs:  # an output that is an input, or another output, is a copy of it
            results.append(values[slot].clone() if slot in given else values[slot])
            given.add(slot)
        return tuple(results)

    def names(self) -> list[str]:
        """The layer that each submodule `layer_i` is."""
        return [stage.name for stage in self.stages] + ["preprocess"] * (self.preprocess is not None)


class _Preprocessing(nn.Module):
    """RGB bytes (n, h, w, c) to what the net takes."""

    def __init__(self, preprocess: Preprocess) -> None:
        super().__init__()
        self.reverse = preprocess.order == "bgr"
        self.register_buffer("mean", torch.from_numpy(preprocess.mean))
        self.register_buffer("scale", torch.from_numpy(preprocess.scale))

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.permute(0, 3, 1, 2).float()
        pixels = pixels.flip(1) if self.reverse else pixels
        return (pixels - self.get_buffer("mean")) * self.get_buffer("scale")
