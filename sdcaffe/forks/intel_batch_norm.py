"""Intel's BatchNorm: statistics over parts of a batch, and fillers that are its Scale's.

From intel/caffe@44d5363. Its MKL engines put a BatchNorm and the Scale behind it into one layer of five blobs, whose
scale and shift begin as the BatchNorm's fillers say; its Caffe engine has the two layers, and does not look at these
fillers. Here there are always two layers. Weights with five blobs are not taken: their order differs by revision.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from sdcaffe import hooks, proto
from sdcaffe.errors import LayerError
from sdcaffe.layers.base import Shape, register
from sdcaffe.layers.batch_norm import BatchNorm


class IntelBatchNormParameter:
    """What Intel's Caffe adds to BatchNormParameter; its filler is 7, which is NVIDIA's scale_bias."""

    stats_batch_size: Annotated[int, 9] = 0
    filler: Annotated[proto.FillerParameter, 1007]


class NetStatistics:
    bn_stats_batch_size: Annotated[int, 1011] = 0  # theirs is 11, which is NVIDIA's default_forward_type


proto.schema.extend("BatchNormParameter", IntelBatchNormParameter)
proto.schema.extend("NetParameter", NetStatistics)


@register(
    "BatchNorm", field="batch_norm_param", when=lambda layer_param: layer_param.batch_norm_param.stats_batch_size > 0
)
class IntelBatchNorm(BatchNorm):
    """BatchNorm whose statistics in training are those of stats_batch_size items each, one part after the other.

    Each part moves the running statistics, as a batch of its own would. Raises LayerError where the batch does not
    divide into such parts.
    """

    origin = "Intel Caffe"
    normalizes = True
    affine = BatchNorm.affine
    to_onnx = BatchNorm.to_onnx
    onnx_blobs = BatchNorm.onnx_blobs
    to_source = BatchNorm.to_source

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        tops = super().setup(bottom_shapes)
        self.items: int = self.param.stats_batch_size
        batch = bottom_shapes[0][0]
        if not self.use_global_stats and batch % self.items:
            raise self.error(f"stats_batch_size (={self.items}) must divide the batch of {batch}", "stats_batch_size")
        return tops

    def normalize(
        self, bottom: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, rectify: bool = False
    ) -> Tensor:
        """As BatchNorm's, part by part in training."""
        if self.use_global_stats:
            return super().normalize(bottom, weight, bias, rectify)
        parts = bottom.split(self.items)
        return torch.cat([super(IntelBatchNorm, self).normalize(part, weight, bias, rectify) for part in parts])


def prepare(net: proto.NetParameter) -> None:
    """Give BatchNorms the net's bn_stats_batch_size, and the Scales behind them their fillers. Raises LayerError."""
    for i, layer in enumerate(net.layer):
        if layer.type == "BatchNorm":
            if net.bn_stats_batch_size:
                layer.batch_norm_param.stats_batch_size = net.bn_stats_batch_size
            if layer.batch_norm_param.HasField("filler"):
                _hand_on(net, i)


def _hand_on(net: proto.NetParameter, place: int) -> None:
    """The fillers of the BatchNorm at `place`, to the Scale that is the first to read its top."""
    layer: Any = net.layer[place]
    own = layer.batch_norm_param
    readers = [other for other in net.layer[place + 1 :] if layer.top and layer.top[0] in other.bottom]
    if not _is_caffes(net, layer):
        if not readers or readers[0].type != "Scale" or len(readers[0].bottom) != 1:
            raise LayerError(
                f'layer "{layer.name}" (BatchNorm): filler is for the scale that Intel\'s MKL engines put into it; '
                "write a Scale behind it",
                layer=layer.name,
                field="filler",
            )
        scale = readers[0].scale_param
        scale.filler.CopyFrom(own.filler)
        if own.HasField("bias_filler"):
            scale.bias_filler.CopyFrom(own.bias_filler)
    own.ClearField("filler")
    own.ClearField("bias_filler")


def _is_caffes(net: Any, layer: Any) -> bool:
    """Whether the engine that a BatchNorm names is Caffe's own."""
    param = layer.batch_norm_param
    return bool(
        param.engine == param.CAFFE or (param.engine == param.DEFAULT and (layer.engine or net.engine) == "CAFFE")
    )


hooks.before_assembly.append(prepare)
