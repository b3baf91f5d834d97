"""Makes the layers of a graph: arity, shapes, loss weights, shared parameters. Runs nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sdcaffe import proto
from sdcaffe.errors import GraphError, LayerError
from sdcaffe.graph import ANONYMOUS, Graph, Step
from sdcaffe.layers.base import Count, Layer, Shape, blamed_on, check_size, class_of, show_shape
from sdcaffe.log import glog
from sdcaffe.net.initial_weights import InitialWeights

_MULTIPLIERS = ("lr_mult", "decay_mult")


class Learnable:
    """One parameter that a solver updates. Layers that share it by name share this object.

    `explicit`: those of lr_mult and decay_mult that a prototxt has given, by the name of the layer.
    """

    def __init__(self, tensor: nn.Parameter, lr_mult: float, decay_mult: float, layer: str, index: int) -> None:
        self.tensor = tensor
        self.lr_mult = lr_mult
        self.decay_mult = decay_mult
        self.layer = layer
        self.index = index
        self.explicit: dict[str, str] = {}

    def note(self, spec: Any, layer: str) -> None:
        """Remember which multipliers the ParamSpec of a layer gives."""
        self.explicit.update({field: layer for field in _MULTIPLIERS if spec.HasField(field)})


class Assembly:
    """The layers of one graph, set up in order.

    - `layers`: name -> Layer; `shapes`, `loss_weights`: by slot
    - `learnable`: in Caffe's order
    - `views`: layer name -> {blob index: the parameter, of another shape, that it shares}
    """

    def __init__(self, graph: Graph, phase: int, weights: InitialWeights, shared: dict[str, nn.ParameterList]) -> None:
        """`shared`: layer name -> blobs to use instead of new ones. Raises GraphError, LayerError, WeightsError."""
        self.phase = phase
        self.layers: dict[str, Layer] = {}
        self.shapes: dict[int, Shape] = {}
        self.loss_weights: dict[int, float] = {}
        self.learnable: list[Learnable] = []
        self.views: dict[str, dict[int, nn.Parameter]] = {}
        self._owners: dict[str, Learnable] = {}
        values = 0
        for step in graph.steps:
            others = shared.get(step.layer.name)
            given = weights.blobs(step.layer.name) if others is None else dict[int, Tensor](enumerate(others))
            layer = self._make(step, given)
            values += self._setup(step, layer)
            if others is None:
                weights.check(layer)
                self._add_params(layer, given or {})
            elif len(others) != len(layer.blobs):
                raise layer.error(
                    f"it has {len(layer.blobs)} blobs here but {len(others)} in the net it shares them with"
                )
            glog("net.cpp:139", f"Memory required for data: {values * 4}")
        self._log_backward(graph)

    def _make(self, step: Step, given: dict[int, Tensor] | None) -> Layer:
        param = step.layer
        if param.name in self.layers:
            raise GraphError(
                f'two layers are named "{param.name}"; weights are found by layer name, so rename one',
                layer=param.name,
                field="name",
            )
        if not param.HasField("phase"):
            param.phase = self.phase
        glog("layer_factory.hpp:77", f"Creating layer {param.name}")
        cls = class_of(param)
        check_counts(cls, param)
        layer = cls(param, self.phase, given)
        self.layers[param.name] = layer
        glog("net.cpp:86", f"Creating Layer {param.name}")
        for name in param.bottom:
            glog("net.cpp:408", f"{param.name} <- {name}")
        for name, same in zip(param.top, step.in_place, strict=True):
            if same and not cls.in_place:
                raise layer.error(f'cannot work in place on "{name}": give its top a new name', "top")
            if same:
                glog("net.cpp:369", f"{param.name} -> {name} (in-place)")
            else:
                glog("net.cpp:382", f"{param.name} -> {name}")
        return layer

    def _setup(self, step: Step, layer: Layer) -> int:
        """Set one layer up; returns how many values its tops hold."""
        with blamed_on(layer):
            tops = [tuple(shape) for shape in layer.setup([self.shapes[slot] for slot in step.bottoms])]
        if len(tops) != len(step.tops):
            raise layer.error(f"setup gave {len(tops)} top shapes for {len(step.tops)} tops")
        own = {name for name, _ in layer.named_parameters() if not name.startswith("blobs.")}
        if own:
            raise layer.error(
                f"its parameters {', '.join(sorted(own))} would be neither trained nor saved: "
                "make them in setup with self.blob(index, shape, filler) and use self.blobs[index]"
            )
        glog("net.cpp:124", f"Setting up {layer.name}")
        count = 0
        if layer.loss and not step.layer.loss_weight:
            step.layer.loss_weight.append(1)  # as Caffe, so that saved nets say it
        weights = list(step.layer.loss_weight)
        if weights and len(weights) != len(tops) and not (layer.loss and len(weights) == 1):
            counts = f"{len(weights)} loss_weight for {len(tops)} tops"
            raise layer.error(f"{counts}; give one for each or none", "loss_weight")
        for j, (slot, shape) in enumerate(zip(step.tops, tops, strict=True)):
            check_size(layer, f'top "{step.layer.top[j]}"', shape)
            self.shapes[slot] = tuple(shape)
            weight = weights[j] if j < len(weights) else 0.0
            self.loss_weights[slot] = weight
            glog("net.cpp:131", f"Top shape: {show_shape(shape)}")
            if weight:
                glog("net.cpp:134", f"    with loss weight {weight:g}")
            count += torch.Size(shape).numel()
        return count

    def _add_params(self, layer: Layer, given: dict[int, Tensor]) -> None:
        """The learnable parameters of one layer, or its part in those that another layer owns.

        `given`: the blobs that a weight file brought.
        """
        specs = layer.layer_param.param
        if len(specs) > len(layer.blobs):
            raise layer.error(f"{len(specs)} param entries for {len(layer.blobs)} blobs", "param")
        for i, blob in enumerate(layer.blobs):
            spec = specs[i] if i < len(specs) else proto.ParamSpec()
            if spec.name in self._owners:
                owner = self._owners[spec.name]
                self._share(layer, i, spec, owner)
                if i in given:  # Caffe copies a file layer after layer into the one parameter
                    owner.tensor.data.copy_(blob.data.reshape(owner.tensor.shape))
                continue
            lr_mult = spec.lr_mult if blob.requires_grad else 0.0
            if lr_mult == 0:
                blob.requires_grad_(False)
            learnable = Learnable(blob, lr_mult, spec.decay_mult, layer.name, i)
            learnable.note(spec, layer.name)
            self.learnable.append(learnable)
            if spec.name:
                self._owners[spec.name] = learnable

    def _share(self, layer: Layer, index: int, spec: Any, owner: Learnable) -> None:
        glog(
            "net.cpp:483",
            f"Sharing parameters '{spec.name}' owned by layer '{owner.layer}', param index {owner.index}",
        )
        blob = layer.blobs[index]
        have, want = tuple(owner.tensor.shape), tuple(blob.shape)
        permissive = spec.share_mode == proto.schema.enum_value("ParamSpec.DimCheckMode", "PERMISSIVE")
        if have != want and not (permissive and owner.tensor.numel() == blob.numel()):
            need = "even PERMISSIVE sharing needs one count" if permissive else "STRICT sharing needs one shape"
            raise GraphError(
                f'parameter "{spec.name}" is {show_shape(have)} in layer "{owner.layer}" and {show_shape(want)} '
                f'in layer "{layer.name}"; {need}',
                layer=layer.name,
                field="param",
            )
        self._agree(layer, spec, owner)
        if have == want:
            layer.blobs[index] = owner.tensor
        else:
            blob.requires_grad_(False)
            self.views.setdefault(layer.name, {})[index] = owner.tensor

    def _agree(self, layer: Layer, spec: Any, owner: Learnable) -> None:
        """Take a multiplier from the first layer that gives it, as Caffe does. Raises GraphError for another value."""
        for field in _MULTIPLIERS:
            value, owned = getattr(spec, field), getattr(owner, field)
            if spec.HasField(field) and field in owner.explicit and value != owned:
                raise GraphError(
                    f'shared parameter "{spec.name}" has {field} {value:g} in layer "{layer.name}" but {owned:g} '
                    f'in layer "{owner.explicit[field]}"; give both the same',
                    layer=layer.name,
                    field="param",
                )
            if spec.HasField(field):
                setattr(owner, field, value)
        owner.note(spec, layer.name)
        if owner.lr_mult == 0:
            owner.tensor.requires_grad_(False)

    def _log_backward(self, graph: Graph) -> None:
        """Caffe's lines on which layers backward reaches."""
        needs: set[int] = set()
        for step in graph.steps:
            layer = self.layers[step.layer.name]
            if any(p.requires_grad for p in layer.parameters()) or needs.intersection(step.bottoms):
                needs.update(step.tops)
        under_loss: set[int] = set()
        for step in reversed(graph.steps):
            contributes = any(self.loss_weights[slot] or slot in under_loss for slot in step.tops)
            if contributes:
                under_loss.update(step.bottoms)
            if contributes and needs.intersection(step.tops):
                glog("net.cpp:200", f"{step.layer.name} needs backward computation.")
            else:
                glog("net.cpp:202", f"{step.layer.name} does not need backward computation.")
        for name in graph.outputs:
            glog("net.cpp:244", f"This network produces output {name}")


def complete_tops(layer: Any) -> None:
    """Give a loss layer without the tops it must have anonymous ones, as Caffe does."""
    cls = class_of(layer)
    if cls.loss:
        while len(layer.top) < _bounds(cls.tops)[0]:
            layer.top.append(ANONYMOUS)


def check_counts(cls: type[Layer], layer: Any) -> None:
    """Raise LayerError unless a LayerParameter has as many bottoms and tops as its type takes."""
    for kind, count, allowed in (
        ("bottom", len(layer.bottom), cls.bottoms),
        ("top", len(layer.top), cls.tops),
    ):
        low, high = _bounds(allowed)
        if low <= count and (high is None or count <= high):
            continue
        if high is None:
            wanted = f"at least {low}"
        else:
            wanted = str(low) if low == high else f"{low} to {high}"
        raise LayerError(
            f'layer "{layer.name}" ({layer.type}) takes {wanted} {kind} blobs, not {count}',
            layer=layer.name,
            field=kind if count else None,
        )
    if cls.same_tops and len(layer.bottom) != len(layer.top):
        raise LayerError(
            f'layer "{layer.name}" ({layer.type}) needs a top for each bottom: '
            f"{len(layer.bottom)} bottoms, {len(layer.top)} tops",
            layer=layer.name,
            field="top",
        )


def _bounds(count: Count) -> tuple[int, int | None]:
    return (count, count) if isinstance(count, int) else count
