"""DenseBlock as Tongcheng's Caffe has it: a block of a DenseNet with its batch norms as one layer."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.collectives import sharing_statistics
from sdcaffe.forks import source_parts
from sdcaffe.layers.base import Layer, OnnxBuilder, Shape, Source, SourceBuilder, call, check_size, register, show_shape
from sdcaffe.proto import past

EPS = 1e-5
NORM = 5  # blobs of a convolution and the norm before it: filters, scale, bias, mean, variance


class DenseblockParameter:
    numTransition: int = 40
    initChannel: int = 16
    growthRate: int = 12
    pad_h: int = 1
    pad_w: int = 1
    conv_verticalStride: int = 1
    conv_horizentalStride: int = 1
    filter_H: int = 3
    filter_W: int = 3
    Filter_Filler: proto.FillerParameter
    BN_Scaler_Filler: proto.FillerParameter
    BN_Bias_Filler: proto.FillerParameter
    gpuIdx: Annotated[int, 15] = 0
    use_dropout: Annotated[bool, 16] = False
    dropout_amount: Annotated[float, 17] = 0.0
    use_BC: Annotated[bool, 18] = False
    BC_ultra_space_efficient: Annotated[bool, 19] = False
    workspace_MB: Annotated[int, 20] = 8
    moving_average_fraction: Annotated[float, 21] = 0.1


class _Field:
    denseblock_param: Annotated[DenseblockParameter, 1247]  # theirs is 147, where BVLC has swish_param


_FIXED = ("pad_h", "pad_w", "conv_verticalStride", "conv_horizentalStride", "filter_H", "filter_W")

proto.schema.extend("LayerParameter", _Field)
past.tell("DenseblockParameter", _FIXED, "the fork's convolutions are 3x3 with pad 1 whatever they say")
past.tell(
    "DenseblockParameter", ("gpuIdx", "BC_ultra_space_efficient", "workspace_MB"), "where its GPU code keeps numbers"
)


class _Normalized(torch.autograd.Function):
    """x (n, c, h, w) by its mean and unbiased variance, times scale plus bias (c,); then these two.

    The gradient is the one of a norm by the biased variance, as in the fork: not quite that of what forward computes.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        variance, mean = torch.var_mean(x, [0, 2, 3])
        ctx.save_for_backward(x, scale, mean, (variance + EPS).rsqrt())
        ctx.mark_non_differentiable(mean, variance)
        return F.batch_norm(x, mean, variance, scale, bias, eps=EPS), mean, variance

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor, ...]:
        x, scale, mean, deviation = ctx.saved_tensors
        found: tuple[Tensor, ...] = torch.ops.aten.native_batch_norm_backward(
            grad, x, scale, None, None, mean, deviation, True, EPS, [True, True, True]
        )
        return found


@register("DenseBlock", field="denseblock_param", when=lambda layer_param: layer_param.HasField("denseblock_param"))
class TongchengDenseBlock(Layer):
    """numTransition times batch norm, ReLU and a 3x3 convolution of all features so far, which adds growthRate maps.

    Of Tongcheng/caffe@1625bb3. Bottom (n, initChannel, h, w); top (n, initChannel + numTransition * growthRate, h, w).
    With use_BC each is batch norm, ReLU, a 1x1 convolution to 4 * growthRate, batch norm, ReLU and the 3x3 one. The
    convolutions are the mathematical ones: filters lie turned by 180 degrees from those of a Convolution. In training
    a batch norm divides by the square root of the unbiased variance plus 1e-5. With use_dropout each convolution's
    maps are dropped with probability dropout_amount in training, and scaled by 1 / (1 - dropout_amount).

    Blobs, T of each: filters, scales, biases (filled alike: Filter_Filler, BN_Scaler_Filler, BN_Bias_Filler), means,
    variances; with use_BC again T of each for the 1x1 filters and their norms; and last a count. As the fork does on a
    CPU, a batch multiplies the means, variances and the count by moving_average_fraction and adds its own, and a test
    divides by the count. Means and variances with the count 0 are of its GPU code, and taken as they are.
    """

    param: proto.DenseblockParameter
    origin = "Tongcheng/caffe"

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        param = self.param
        if len(bottom) != 4 or bottom[1] != param.initChannel:
            raise self.error(
                f"needs a bottom (n, {param.initChannel}, h, w), not {show_shape(bottom)}; initChannel says how many "
                "channels it has",
                "initChannel",
            )
        for field in ("numTransition", "growthRate"):
            if getattr(param, field) < 1:
                raise self.error(f"{field} must be at least 1, not {getattr(param, field)}", field)
        if not 0 <= param.dropout_amount < 1:
            raise self.error(f"dropout_amount (={param.dropout_amount:g}) must be in [0, 1)", "dropout_amount")
        n, channels, height, width = bottom
        if self.phase == proto.TRAIN and n * height * width < 2:
            raise self.error("needs two values a channel in training, for the unbiased variance")
        self.transitions, self.growth = param.numTransition, param.growthRate
        self.ratio = param.dropout_amount if param.use_dropout else 0.0
        last = channels + (self.transitions - 1) * self.growth
        check_size(self, "the filters together", (self.transitions, self.growth, 9, (channels + last) // 2))
        wide, inputs = 4 * self.growth, [channels + i * self.growth for i in range(self.transitions)]
        if param.use_BC:
            self._make([(self.growth, wide, 3, 3)] * self.transitions, inputs)
            self._make([(wide, size, 1, 1) for size in inputs], [wide] * self.transitions, NORM * self.transitions)
        else:
            self._make([(self.growth, size, 3, 3) for size in inputs], inputs)
        self.blob((2 if param.use_BC else 1) * NORM * self.transitions, (1,), learnable=False)
        return [(n, channels + self.transitions * self.growth, height, width)]

    def _make(self, filters: list[Shape], channels: list[int], first: int = 0) -> None:
        """The blobs from `first` on: these filters, and batch norms of so many channels."""
        param = self.param
        norms: list[Shape] = [(1, size, 1, 1) for size in channels]
        one = proto.FillerParameter(type="constant", value=1)
        kinds = [
            (filters, param.Filter_Filler, True),
            (norms, param.BN_Scaler_Filler, True),
            (norms, param.BN_Bias_Filler, True),
            (norms, None, False),
            (norms, one, False),
        ]
        for kind, (shapes, filler, learnable) in enumerate(kinds):
            for i, shape in enumerate(shapes):
                self.blob(first + kind * self.transitions + i, shape, filler, learnable=learnable)

    def forward(self, bottom: Tensor) -> Tensor:
        blobs = list(self.blobs)
        if self.phase == proto.TEST:
            return source_parts.dense_features(bottom, blobs, self.transitions)
        if sharing_statistics() > 1:
            raise self.error("takes each process's own batch statistics; train without sync_batch_norm")
        features = bottom
        for i in range(self.transitions):
            new = F.relu(self._batch_norm(features, blobs[i :: self.transitions][1:NORM]))
            if self.param.use_BC:
                wide = blobs[i :: self.transitions][NORM:]
                new = F.relu(self._batch_norm(F.conv2d(new, wide[0]), wide[1:NORM]))
            new = F.conv2d(new, blobs[i].flip(2, 3), padding=1)
            features = torch.cat([features, F.dropout(new, self.ratio) if self.ratio else new], 1)
        with torch.no_grad():
            blobs[-1].mul_(self.param.moving_average_fraction).add_(1)
        return features

    def _batch_norm(self, x: Tensor, blobs: list[Tensor]) -> Tensor:
        """x by its own mean and unbiased variance, which are added to the sums of those before."""
        scale, bias, *sums = blobs
        top: Tensor
        top, *batch = _Normalized.apply(x.float() if x.dtype == torch.bfloat16 else x, scale.flatten(), bias.flatten())
        with torch.no_grad():
            for total, own in zip(sums, batch, strict=True):
                total.mul_(self.param.moving_average_fraction).add_(own.reshape(total.shape))
        return top

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor:
        return source_parts.dense_features(bottoms[0], list(builder.blobs), self.transitions)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        shapes = (str(tuple(blob.shape)) for blob in self.blobs)
        features = builder.part(source_parts.dense_features)
        blobs = ", ".join(f"{{self}}.blob_{i}" for i in range(len(self.blobs)))
        module = call(builder.part(source_parts.Blobs), *shapes)
        return Source(f"{features}({{0}}, [{blobs}], {self.transitions})", module)

    def multiply_adds(self, bottoms: list[Shape], tops: list[Shape]) -> int:
        n, _, height, width = tops[0]
        filters = (blob for blob in self.blobs if blob.dim() == 4 and blob.shape[0] != 1)
        return n * height * width * sum(blob.numel() for blob in filters)
