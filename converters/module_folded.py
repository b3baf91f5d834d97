"""A net whose norms and Scales are part of the weights of the layers before them. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from sdcaffe import proto
from sdcaffe.converters.onnx_module import ExportModule
from sdcaffe.net import Net
from sdcaffe.proto.keys import layer_keys


def folded(net: Net, param: proto.NetParameter, outputs: Iterable[str]) -> Net:
    """The net of `param`, which `net` is, with BatchNorm and Scale in the weights of linear layers before them."""
    module = ExportModule(net, outputs, into_norms=False)
    changed = {stage.name: stage for stage in module.stages if stage.changed}
    new = proto.NetParameter()
    new.CopyFrom(param)
    del new.layer[:]
    for key, layer in zip(layer_keys(layer.name for layer in param.layer), param.layer, strict=True):
        if key in module.folded:
            continue
        copy = new.layer.add()
        copy.CopyFrom(layer)
        if key in changed:
            stage = changed[key]
            copy.top[0] = net.graph.slots[stage.tops[0]]
            getattr(copy, str(stage.layer.field)).bias_term = True
    result = Net(new, proto.TEST)
    if any(blob.dtype == torch.float64 for layer in net.layers.values() for blob in layer.blobs):
        result.double()
    with torch.no_grad():
        for key, made in result.layers.items():
            blobs = changed[key].blobs if key in changed else net.layers[key].blobs
            for blob, value in zip(made.blobs, blobs, strict=True):
                blob.copy_(value)
    return result
