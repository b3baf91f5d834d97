"""The layers of a net in the test phase as stages that can be traced, affine ones folded. Traces nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sdcaffe.layers.base import Affine, Layer, Tops
from sdcaffe.layers.writing import Attribute
from sdcaffe.net.assembly import Assembled


class Stage(nn.Module):
    """One layer as it is traced, an OnnxBuilder: the slots it reads and writes, and its numbers.

    `views` are blobs, by index, that another layer owns under another shape.
    """

    layer: Layer  # not a submodule: what it holds is exported only where it is used

    def __init__(
        self, name: str, layer: Layer, bottoms: list[int], tops: list[int], views: Mapping[int, Tensor]
    ) -> None:
        super().__init__()
        self.name = name
        self.__dict__["layer"] = layer
        self.bottoms, self.tops, self.shares = bottoms, tops, bool(views)
        blobs = layer.onnx_blobs() if not views else [blob.detach() for blob in layer.blobs]
        for i, owner in views.items():
            blobs[i] = owner.detach().reshape(blobs[i].shape)
        self._keep("blob", blobs)
        self._buffers_of_layer = [name for name, _ in layer.named_buffers()]
        self._keep("own", [buffer for _, buffer in layer.named_buffers()])
        self._exact: list[Tensor] | None = None  # weight and bias, or factor and bias, in float64

    def _keep(self, stem: str, values: Iterable[Tensor]) -> None:
        for i, value in enumerate(values):
            self.register_buffer(f"{stem}_{i}", value)

    def _kept(self, stem: str) -> list[Tensor]:
        return [buffer for name, buffer in self.named_buffers(remove_duplicate=False) if name.startswith(f"{stem}_")]

    def forward(self, *bottoms: Tensor) -> Tops:
        return self.layer.to_onnx(self, *bottoms)

    def take(self, affine: Affine) -> None:
        """Take in what a layer behind this one does to its channels, in float64."""
        layer = self.layer
        if layer.linear:
            weight, *bias = self._exact or [blob.detach().double() for blob in layer.blobs]
            moved = affine.moved(bias[0] if bias else None)
            self._exact = [
                layer.times(weight, affine.factor),
                torch.zeros_like(affine.factor) if moved is None else moved,
            ]
            self._keep("blob", [value.float() for value in self._exact])
            return
        if self._exact is not None:
            affine = Affine(self._exact[0], bias=self._exact[1]).then(affine)
        moved = affine.moved(None)
        self._exact = [affine.factor, torch.zeros_like(affine.factor) if moved is None else moved]
        self._keep("scale", [value.float() for value in self._exact])

    @property
    def changed(self) -> bool:
        """Whether it took in what a layer behind it does."""
        return self._exact is not None

    # ---- what a layer's to_onnx is given ----

    @property
    def blobs(self) -> list[Tensor]:
        return self._kept("blob")

    @property
    def scale(self) -> tuple[Tensor | None, Tensor | None]:
        factor, bias = self._kept("scale") or (None, None)
        return factor, bias

    def traced(self, *bottoms: Tensor) -> Tops:
        layer, blobs = self.layer, self.blobs
        if layer.linear:
            tops = tuple(layer.compute(bottom, blobs[0], blobs[1] if len(blobs) > 1 else None) for bottom in bottoms)
            return tops[0] if len(tops) == 1 else tops
        values = {f"layer.blobs.{i}": blob for i, blob in enumerate(blobs)}
        values.update(
            (f"layer.{name}", own) for name, own in zip(self._buffers_of_layer, self._kept("own"), strict=True)
        )
        if layer.normalizes:
            return functional_call(_Call(layer, "normalize"), values, (*bottoms, *self.scale))
        return functional_call(_Call(layer, "forward"), values, bottoms)

    def operator(
        self,
        name: str,
        inputs: Sequence[Tensor],
        shape: Sequence[int],
        *,
        dtype: torch.dtype | None = None,
        **attributes: Attribute,
    ) -> Tensor:
        dtype = dtype or inputs[0].dtype
        top: Tensor = torch.onnx.ops.symbolic(name, tuple(inputs), attributes, dtype=dtype, shape=tuple(shape))
        return top


class Stages:
    """The stages of the layers at `places`, all that compute by default, with `outputs`, the slots that are asked for.

    What a Split copies is read where it comes from. With `fold` affine layers become part of the one before them, and
    `folded` names them; without `into_norms` a Scale stays behind a norm.
    """

    def __init__(
        self,
        made: Assembled,
        outputs: Iterable[int],
        *,
        places: Collection[int] | None = None,
        fold: bool = True,
        into_norms: bool = True,
    ) -> None:
        self.stages: list[Stage] = []
        self.outputs, self.folded = list(outputs), list[str]()
        for place, (step, layer) in enumerate(zip(made.graph.steps, made.layers, strict=True)):
            if not layer.given and (places is None or place in places):
                self.stages.append(Stage(step.key, layer, step.bottoms, step.tops, made.views.get(place, {})))
        self._skip_splits()
        if fold:
            self._fold(shared={id(blob) for blob in _shared(made)}, into_norms=into_norms)

    def _skip_splits(self) -> None:
        """Read what a Split copies where it comes from."""
        source: dict[int, int] = {}
        kept = []
        for stage in self.stages:
            stage.bottoms = [source.get(slot, slot) for slot in stage.bottoms]
            if stage.layer.copies:
                source.update((top, stage.bottoms[0]) for top in stage.tops)
            else:
                kept.append(stage)
        self.stages = kept
        self.outputs = [source.get(slot, slot) for slot in self.outputs]

    def _fold(self, shared: set[int], into_norms: bool) -> None:
        """Make a norm and a Scale behind a linear layer part of its weights, and a Scale behind a norm part of that."""
        readers: dict[int, int] = {}
        for slot in [slot for stage in self.stages for slot in stage.bottoms] + self.outputs:
            readers[slot] = readers.get(slot, 0) + 1
        maker: dict[int, Stage] = {}
        kept = []
        for stage in self.stages:
            affine = _affine(stage.layer) if len(stage.bottoms) == 1 else None
            before = maker.get(stage.bottoms[0]) if affine is not None else None
            if affine is not None and before is not None and readers[stage.bottoms[0]] == 1:
                before.take(affine)
                before.tops = stage.tops
                maker[stage.tops[0]] = before
                self.folded.append(stage.name)
                continue
            kept.append(stage)
            own = not stage.shares and all(id(blob) not in shared for blob in stage.layer.blobs)
            if len(stage.tops) == 1 and own and (stage.layer.linear or (into_norms and _takes(stage.layer))):
                maker[stage.tops[0]] = stage
        self.stages = kept


def _shared(made: Assembled) -> list[Tensor]:
    """Parameters that more than one layer uses."""
    seen: dict[int, Tensor] = {}
    shared: list[Tensor] = [owner for views in made.views.values() for owner in views.values()]
    for layer in made.layers:
        shared.extend(blob for blob in layer.blobs if id(blob) in seen)
        seen.update((id(blob), blob) for blob in layer.blobs)
    return shared


def _takes(layer: Layer) -> bool:
    """Whether what a layer behind it does to the channels can go into its own numbers."""
    return layer.linear or (layer.normalizes and layer.affine(list(layer.blobs)) is not None)


def _affine(layer: Layer) -> Affine | None:
    """What a layer does to the channels, in float64."""
    return layer.affine([blob.detach().double() for blob in layer.blobs])


class _Call(nn.Module):
    """One of a layer's own functions, as a module whose parameters can be put in."""

    def __init__(self, layer: Layer, function: str) -> None:
        super().__init__()
        self.layer, self.function = layer, function

    def forward(self, *arguments: Any) -> Any:
        return getattr(self.layer, self.function)(*arguments)
