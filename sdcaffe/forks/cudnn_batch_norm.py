"""CuDNNBatchNorm: batch norm with scale and bias in one layer, of GENet and SKNet."""

from __future__ import annotations

from sdcaffe import proto
from sdcaffe.forks.batch_norm import LEAST_EPS
from sdcaffe.forks.running_norm import RunningNorm
from sdcaffe.layers.base import Shape, register, show_shape


class CuDNNBatchNormParameter:
    frozen: bool = False
    momentum: float = 0.999
    eps: float = 1e-5
    scale_filler: proto.FillerParameter
    bias_filler: proto.FillerParameter


@register("CuDNNBatchNorm", field="cudnn_batch_norm_param", number=1200)
class CuDNNBatchNorm(RunningNorm):
    """See RunningNorm. As in GENet (hujie-frank/GENet@ae791f8), whose parameters stand in cudnn_batch_norm_param.

    SKNet's (implus/SKNet@17dd708) stand in batch_norm_param. Without scale_filler the scale begins with 0, as there.

    By the batch's statistics in training, by the running ones in testing and where `frozen` is true: then
    nothing learns. Each training pass keeps `momentum` of the running statistics and adds the rest of the
    batch's (the variance unbiased, as cuDNN's). eps is at least 1e-5. Blobs are (1, c, 1, 1).
    """

    param: proto.CuDNNBatchNormParameter
    origin = "GENet, SKNet"

    Param = CuDNNBatchNormParameter

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        if len(bottom) < 2:
            raise self.error(f"needs a bottom (n, c, ...), not {show_shape(bottom)}")
        if self.layer_param.HasField("batch_norm_param") and self.layer_param.HasField(str(self.field)):
            raise self.error(f"give {self.field} or batch_norm_param, not both", self.field)
        in_own = not self.layer_param.HasField("batch_norm_param")
        param = self.param if in_own else self.layer_param.batch_norm_param
        fillers = tuple(getattr(param, f) if param.HasField(f) else None for f in ("scale_filler", "bias_filler"))
        return self.configure(
            bottom,
            self.blob_shape(bottom[1]),
            (fillers[0], fillers[1]),
            eps=max(param.eps, LEAST_EPS),
            step=1 - param.momentum,
            running=self.phase == proto.TEST or param.frozen,
            frozen=param.frozen,
            unbiased=True,
        )
