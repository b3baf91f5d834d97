"""A network of several in one net: its layers under names of their own, frozen, or sharing another's parameters."""

from __future__ import annotations

from collections.abc import Iterable

from sdcaffe import proto
from sdcaffe.paper.text import NetText

# The parameter blobs of the layer types that networks here are made of, in Caffe's order.
_BLOBS = {
    "Convolution": ("weight", "bias"),
    "InnerProduct": ("weight", "bias"),
    "Scale": ("weight", "bias"),
    "BatchNorm": ("mean", "variance", "count"),
}


def tower(text: NetText, prefix: str = "", *, frozen: bool = False) -> NetText:
    """The network of `text` for a place beside another, in the training phase alone; `prefix` begins its names.

    `frozen`: nothing learns, and BatchNorms use what they have stored.
    """
    copies = copied(text.net().layer, prefix)
    return text.replaced(text.name, enumerate(map(as_frozen, copies) if frozen else copies))


def copied(layers: Iterable[proto.LayerParameter], prefix: str) -> list[proto.LayerParameter]:
    """Layers of the training phase, their names and those of the blobs they make begun with `prefix`."""
    made: set[str] = set()
    copies = []
    for layer in layers:
        copy = proto.LayerParameter()
        copy.CopyFrom(layer)
        copy.name = f"{prefix}{layer.name}"
        copy.bottom[:] = [f"{prefix}{name}" if name in made else name for name in layer.bottom]
        copy.top[:] = [f"{prefix}{name}" for name in layer.top]
        copy.ClearField("include")
        copy.include.add(phase=proto.TRAIN)
        made.update(layer.top)
        copies.append(copy)
    return copies


def as_sharing(layer: proto.LayerParameter) -> proto.LayerParameter:
    """The layer with each parameter named after it: layers that are given the same name share it.

    BatchNorms share what they have stored; in training each still normalises by its own batch.
    """
    copy = proto.LayerParameter()
    copy.CopyFrom(layer)
    for i, blob in enumerate(_blobs(layer)):
        param = copy.param[i] if i < len(copy.param) else copy.param.add()
        param.name = f"{layer.name}_{blob}"
        if layer.type == "BatchNorm":
            param.lr_mult = 0
    return copy


def as_frozen(layer: proto.LayerParameter) -> proto.LayerParameter:
    """The layer that learns nothing."""
    copy = as_resting(layer)
    if layer.type == "BatchNorm":
        copy.batch_norm_param.use_global_stats = True
    return copy


def as_resting(layer: proto.LayerParameter) -> proto.LayerParameter:
    """The layer that learns nothing now, and may at another time: a BatchNorm normalises by its batch as ever."""
    copy = proto.LayerParameter()
    copy.CopyFrom(layer)
    if layer.type != "BatchNorm":
        del copy.param[:]
        for _ in _blobs(layer):
            copy.param.add(lr_mult=0)
    return copy


def _blobs(layer: proto.LayerParameter) -> tuple[str, ...]:
    blobs = _BLOBS.get(layer.type, ())
    return blobs[:1] if layer.type == "Convolution" and not layer.convolution_param.bias_term else blobs
