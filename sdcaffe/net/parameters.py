"""The learnable parameters of a net: which blobs a solver updates, and which layers share one by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import nn

from sdcaffe import proto
from sdcaffe.errors import GraphError
from sdcaffe.layers.base import Layer, show_shape
from sdcaffe.log import glog

_MULTIPLIERS = ("lr_mult", "decay_mult")
Views = dict[int, dict[int, nn.Parameter]]


class Learnable:
    """One parameter that a solver updates. Layers that share it by name share this object.

    It is blob `index` of the layer at `place`. `explicit`: those of lr_mult and decay_mult that a prototxt has given,
    by the name of the layer.
    """

    def __init__(self, tensor: nn.Parameter, spec: proto.ParamSpec, layer: Layer, place: int, index: int) -> None:
        self.tensor = tensor
        self.lr_mult: float = spec.lr_mult if tensor.requires_grad else 0.0
        self.decay_mult: float = spec.decay_mult
        self.layer = layer.name
        self.place = place
        self.index = index
        self.explicit: dict[str, str] = {}
        self.freeze()
        self.note(spec, layer.name)

    def freeze(self) -> None:
        """Where the rate is zero no gradient is computed."""
        if self.lr_mult == 0:
            self.tensor.requires_grad_(False)

    def note(self, spec: proto.ParamSpec, layer: str) -> None:
        """Remember which multipliers the ParamSpec of a layer gives."""
        self.explicit.update({field: layer for field in _MULTIPLIERS if spec.HasField(field)})


class Parameters:
    """Those of a net, layer after layer.

    - `learnable`: in Caffe's order
    - `views`: place of a layer -> {blob index: the parameter, of another shape, that it shares}
    - `shared`: whether any is
    """

    def __init__(self) -> None:
        self.shared = False
        self.learnable: list[Learnable] = []
        self.views: Views = {}
        self._owners: dict[str, Learnable] = {}

    def add(self, place: int, layer: Layer) -> None:
        """The learnable parameters of one layer, or its part in those that another layer owns. Raises GraphError."""
        specs = layer.layer_param.param
        if len(specs) > len(layer.blobs):
            raise layer.error(f"{len(specs)} param entries for {len(layer.blobs)} blobs", "param")
        for i, blob in enumerate(layer.blobs):
            spec = specs[i] if i < len(specs) else proto.ParamSpec()
            if spec.name in self._owners:
                self._share(place, layer, i, spec, self._owners[spec.name])
                continue
            self.learnable.append(Learnable(cast(nn.Parameter, blob), spec, layer, place, i))
            if spec.name:
                self._owners[spec.name] = self.learnable[-1]

    def _share(self, place: int, layer: Layer, index: int, spec: proto.ParamSpec, owner: Learnable) -> None:
        glog(
            "net.cpp:483",
            f"Sharing parameters '{spec.name}' owned by layer '{owner.layer}', param index {owner.index}",
        )
        blob = layer.blobs[index]
        have, want = tuple(owner.tensor.shape), tuple(blob.shape)
        permissive = spec.share_mode == proto.ParamSpec.PERMISSIVE
        if have != want and not (permissive and owner.tensor.numel() == blob.numel()):
            need = "even PERMISSIVE sharing needs one count" if permissive else "STRICT sharing needs one shape"
            raise GraphError(
                f'parameter "{spec.name}" is {show_shape(have)} in layer "{owner.layer}" and {show_shape(want)} '
                f'in layer "{layer.name}"; {need}',
                layer=layer.name,
                field="param",
            )
        self._agree(layer, spec, owner)
        self.shared = True
        if have == want:
            layer.blobs[index] = owner.tensor
        else:
            blob.requires_grad_(False)
            self.views.setdefault(place, {})[index] = owner.tensor

    def _agree(self, layer: Layer, spec: proto.ParamSpec, owner: Learnable) -> None:
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
        owner.freeze()


def borrowed(layer: Layer, place: int, learnable: Iterable[Learnable]) -> set[int]:
    """Which blobs of the layer at `place` have a parameter that another layer owns."""
    owned = {item.index for item in learnable if item.place == place}
    return {i for i, spec in enumerate(layer.layer_param.param) if spec.name and i not in owned}
