"""PReLU, a ReLU with a learned slope."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.layers.base import Shape, Source, SourceBuilder, Stored, call, register
from sdcaffe.layers.neuron import NeuronLayer


@register("PReLU", field="prelu_param")
class PReLU(NeuronLayer):
    """y = max(x, 0) + a * min(x, 0) (He et al. 2015).

    Blob 0 is a, of shape (c,), or () where channel_shared; it starts at 0.25 without a filler.
    Raises LayerError for a bottom of fewer than two axes.
    """

    param: proto.PReLUParameter
    torch_names = (("weight",),)
    blob_axes = {"weight": 1}  # in torch one slope for all channels has an axis too

    def arranged(self, blobs: Mapping[int, Stored]) -> dict[int, Stored]:
        """The one slope of channel_shared also where a file gives it an axis, as torch does."""
        slope = blobs.get(0)
        if self.param.channel_shared and slope is not None and tuple(slope.shape) == (1,):
            return {**blobs, 0: slope.reshape(())}
        return dict(blobs)

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (shape,) = bottom_shapes
        if len(shape) < 2:
            raise self.error(f"the bottom needs at least 2 axes (n, c, ...), not {len(shape)}")
        filler = self.param.filler
        if not self.param.HasField("filler"):
            filler = proto.FillerParameter(type="constant", value=0.25)
        self.blob(0, () if self.param.channel_shared else (shape[1],), filler)
        return super().setup(bottom_shapes)

    def forward(self, bottom: Tensor) -> Tensor:
        return F.prelu(bottom, self.blobs[0].reshape(-1))

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        slopes = (str(bottoms[0][1]),) if self.blobs[0].dim() else ()
        return Source("{self}({0})", call("nn.PReLU", *slopes))
