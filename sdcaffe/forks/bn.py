"""BN, the batch norm of the segmentation forks, in its three dialects: of SegNet, of PSPNet and of TSN."""

from __future__ import annotations

import enum
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.collectives import sharing_statistics
from sdcaffe.forks import source_parts
from sdcaffe.forks.running_norm import RunningNorm
from sdcaffe.layers.base import (
    Layer,
    OnnxBuilder,
    Shape,
    Source,
    SourceBuilder,
    Tops,
    call,
    number,
    register,
    show_shape,
)
from sdcaffe.layers.batch_norm import normalize_batch, traced_norm
from sdcaffe.layers.source_parts import Scale

SEGNET_EPS = 1e-9
_SEGNET = ("bn_mode",)
PSPNET_FIELDS = ("var_eps", "moving_average", "decay", "axis")
TSN_FIELDS = ("slope_filler", "bias_filler", "momentum", "eps", "frozen")


class BNMode(enum.IntEnum):
    LEARN = 0
    INFERENCE = 1


class Engine(enum.IntEnum):
    DEFAULT = 0
    CAFFE = 1
    CUDNN = 2


class BNParameter:
    """The fields of all three. Numbers are SegNet's, then PSPNet's, where they are free; others are our own."""

    scale_filler: proto.FillerParameter
    shift_filler: proto.FillerParameter
    bn_mode: BNMode = BNMode.LEARN
    moving_average: bool = False
    decay: float = 0.05
    axis: int = 1
    momentum: float = 0.9
    eps: float = 1e-5
    frozen: bool = False
    engine: Annotated[Engine, 12] = Engine.DEFAULT
    var_eps: Annotated[float, 1000] = 1e-10
    slope_filler: proto.FillerParameter
    bias_filler: proto.FillerParameter
    icnet: Annotated[bool, 10] = False
    blob_axes: Annotated[int, 1010] = 4  # our own: TSN's blobs have 2


def _has(layer_param: proto.LayerParameter, fields: tuple[str, ...]) -> bool:
    return any(layer_param.bn_param.HasField(field) for field in fields)


def is_tsn(layer_param: proto.LayerParameter) -> bool:
    """Whether a layer is written in TSN's dialect: it has one of the fields that only that has."""
    return _has(layer_param, TSN_FIELDS)


def is_pspnet(layer_param: proto.LayerParameter) -> bool:
    """Whether a layer is written in PSPNet's dialect."""
    return _has(layer_param, PSPNET_FIELDS) and not is_tsn(layer_param)


def _filler(param: Any, field: str) -> Any:
    return getattr(param, field) if param.HasField(field) else None


def refuse(layer: Layer, dialect: str, others: tuple[str, ...]) -> None:
    """Raises LayerError for a field that the dialect lacks."""
    for field in others:
        if layer.param.HasField(field):
            raise layer.error(
                f"{field} is not of {dialect}'s BN, which its other fields say this is; leave it out", field
            )


@register("BN", field="bn_param", number=45)
class SegNetBN(Layer):
    """SegNet's batch norm, where no field of bn_param is another fork's: y = scale * x_hat + shift for each channel.

    With bn_mode LEARN, x_hat is (x - mean) / sqrt(variance + 1e-9) by the batch's statistics, in both phases;
    a second top is their mean and a third their variance, without gradients. With INFERENCE it is x itself,
    for weights that have the statistics folded in. Bottoms are (n, c, h, w). Blobs: 0 scale and 1 shift,
    both (1, c, 1, 1). Without scale_filler the scale begins with 0, as there (alexgkendall/caffe-segnet@03d1e9f).

    Of PSPNet's and TSN's forks a BN has running statistics too, as blobs 2 and 3: PSPNet's where var_eps,
    moving_average, decay or axis is given, and TSN's where slope_filler, bias_filler, momentum, eps or
    frozen is.
    """

    param: proto.BNParameter
    origin = "SegNet"

    Param = BNParameter
    tops = (1, 3)
    torch_names = (("weight", "bias"),)
    in_place = True
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        param = self.param
        if len(bottom) != 4:
            raise self.error(f"needs a bottom (n, c, h, w), not {show_shape(bottom)}")
        self.learns = param.bn_mode == BNMode.LEARN
        self.extra = len(self.layer_param.top) - 1
        if self.extra and not self.learns:
            raise self.error("has no statistics for a second top with bn_mode: INFERENCE", "top")
        shape: Shape = (1, bottom[1], 1, 1)
        self.blob(0, shape, _filler(param, "scale_filler"))
        self.blob(1, shape, _filler(param, "shift_filler"))
        return [bottom] + [shape] * self.extra

    def forward(self, bottom: Tensor) -> Tensor | tuple[Tensor, ...]:
        scale, shift = self.blobs
        if not self.learns:
            return torch.addcmul(shift, bottom, scale)
        top, mean, variance = normalize_batch(bottom, scale.flatten(), shift.flatten(), SEGNET_EPS)
        count = bottom.numel() // bottom.shape[1] * sharing_statistics()
        statistics = (mean, variance * ((count - 1) / count))[: self.extra]
        return (top, *(s.reshape(scale.shape) for s in statistics)) if self.extra else top

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tops:
        scale, shift = builder.blobs
        if not self.learns:
            return bottoms[0] * scale + shift
        top, *of_batch = traced_norm(bottoms[0], SEGNET_EPS)
        top = top * scale + shift
        return (top, *of_batch[: self.extra]) if self.extra else top

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        channels = bottoms[0][1]
        if not self.learns:
            return Source("{self}({0})", f"{builder.part(Scale)}(1, {channels}, 1, 1, trailing=0)")
        kept = ("[0]", "[:2]", "")[self.extra]
        norm = builder.part(source_parts.BatchStatisticsNorm)
        return Source(f"{{self}}({{0}}){kept}", call(norm, str(channels), number(SEGNET_EPS)))


@register("BN", field="bn_param", when=is_pspnet)
class PSPNetBN(RunningNorm):
    """PSPNet's, where var_eps, moving_average, decay or axis is given; see RunningNorm.

    By the batch's statistics in training; in testing by the running ones if moving_average is true, else by
    the batch's too. Each training pass moves these by `decay` towards the batch's (the variance biased). The
    channels are axis 1 or 2. Blobs are (1, c, 1, 1), or (1, 1, c, 1) for axis 2.
    """

    param: proto.BNParameter
    origin = "PSPNet"

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        param = self.param
        refuse(self, "PSPNet", _SEGNET)
        if param.axis not in (1, 2) or len(bottom) <= param.axis:
            raise self.error(f"axis must be 1 or 2, and an axis of the bottom {show_shape(bottom)}", "axis")
        one = proto.FillerParameter(type="constant", value=1)
        return self.configure(
            bottom,
            self.blob_shape(bottom[param.axis]),
            (_filler(param, "scale_filler") or one, _filler(param, "shift_filler")),
            axis=param.axis,
            eps=param.var_eps,
            eps_field="var_eps",
            step=param.decay,
            running=self.phase == proto.TEST and param.moving_average,
            unbiased=False,
        )

    def blob_shape(self, channels: int) -> Shape:
        return (1, channels, 1, 1) if self.param.axis == 1 else (1, 1, channels, 1)


@register("BN", field="bn_param", when=is_tsn)
class TsnBN(RunningNorm):
    """PSPNet's and TSN's, where slope_filler, bias_filler, momentum, eps or frozen is given; see RunningNorm.

    By the batch's statistics in training, by the running ones in testing and where `frozen` is true: then
    nothing learns. Each training pass keeps `momentum` of the running statistics and adds the rest of the
    batch's (the variance biased). Blobs are (1, c, 1, 1), as PSPNet's Caffe takes them (hszhao/PSPNet@798bdc9), or
    with blob_axes: 2, which --fork TSN writes, (1, c), as TSN's does (yjxiong/caffe@9831a2b). Both are read. Without
    slope_filler the scale begins with 0, as in both.
    """

    param: proto.BNParameter
    origin = "TSN"
    others: ClassVar[tuple[str, ...]] = (*_SEGNET, *PSPNET_FIELDS, "scale_filler", "shift_filler")

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        param = self.param
        refuse(self, "PSPNet's and TSN", self.others)
        if param.blob_axes not in (2, 4):
            raise self.error(f"blob_axes is 4 or 2, not {param.blob_axes}", "blob_axes")
        if len(bottom) < 2:
            raise self.error(f"needs a bottom (n, c, ...), not {show_shape(bottom)}")
        return self.configure(
            bottom,
            self.blob_shape(bottom[1]),
            (_filler(param, "slope_filler"), _filler(param, "bias_filler")),
            eps=param.eps,
            step=1 - param.momentum,
            running=self.phase == proto.TEST or param.frozen,
            frozen=param.frozen,
            unbiased=False,
        )

    def blob_shape(self, channels: int) -> Shape:
        return (1, channels, 1, 1) if self.param.blob_axes == 4 else (1, channels)


@register("BN", field="bn_param", when=lambda layer_param: layer_param.bn_param.icnet)
class IcnetBN(TsnBN):
    """Synopsys', with icnet: true (foss-for-synopsys-dwc-arc-processors/synopsys-caffe@977ba36).

    PSPNet's arithmetic, fields and blobs; other fields are not looked at.
    """

    origin = "Synopsys Caffe"
    others = ()
