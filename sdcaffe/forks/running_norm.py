"""What the batch norms of several forks share: scale, shift, running statistics. Holds no layer type itself."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.collectives import sharing_statistics
from sdcaffe.forks import source_parts
from sdcaffe.layers.base import Layer, OnnxBuilder, Shape, Source, SourceBuilder, Stored, call, number
from sdcaffe.layers.batch_norm import normalize_batch, traced_norm


class RunningNorm(Layer):
    """y = scale * (x - mean) / sqrt(variance + eps) + shift for each channel.

    Blobs: 0 scale, 1 shift, 2 running mean, 3 running variance; the last two are not learned. What a fork
    decides otherwise than another is set by `configure`.
    """

    in_place = True
    keeps_places = True
    torch_names = (("weight", "bias", "mean", "variance"),)
    yields = True

    def configure(
        self,
        bottom: Shape,
        blob_shape: Shape,
        fillers: tuple[proto.FillerParameter | None, proto.FillerParameter | None],
        *,
        axis: int = 1,
        eps: float,
        eps_field: str = "eps",
        step: float,
        running: bool,
        frozen: bool = False,
        unbiased: bool,
    ) -> list[Shape]:
        """Make the blobs; returns the shape of the top.

        `fillers`: of scale and shift (None: 0); `step`: how far a batch moves the running
        statistics; `eps_field`: where the prototxt says eps; `running`: normalise by these; `frozen`: nothing
        learns; `unbiased`: the variance kept.
        """
        if eps < 0 or (eps == 0 and not running):
            raise self.error(f"eps is {eps:g}; it must be above 0", eps_field)
        self.axis, self.eps, self.step = axis, eps, step
        self.running, self.unbiased = running, unbiased
        self.moves = self.phase == proto.TRAIN and not frozen
        one = proto.FillerParameter(type="constant", value=1)
        self.blob(0, blob_shape, fillers[0], learnable=not frozen)
        self.blob(1, blob_shape, fillers[1], learnable=not frozen)
        self.blob(2, blob_shape, learnable=False)
        self.blob(3, blob_shape, one if frozen else None, learnable=False)
        return [bottom]

    def blob_shape(self, channels: int) -> Shape:
        """The shape in which the fork stores a number a channel."""
        return (1, channels, 1, 1)

    def arranged(self, blobs: Mapping[int, Stored]) -> dict[int, Stored]:
        """Forks differ in the axes of size 1 of a stored blob."""
        return {i: self._in_shape(blob) for i, blob in blobs.items()}

    def _in_shape(self, blob: Stored) -> Stored:
        if blob is None:
            return blob
        sizes = [n for n in blob.shape if n != 1]
        if len(sizes) > 1:
            return blob
        shape = self.blob_shape(sizes[0] if sizes else 1)
        return blob if tuple(blob.shape) == shape else blob.reshape(shape)

    def forward(self, bottom: Tensor) -> Tensor:
        x = bottom.transpose(1, self.axis)
        scale, shift, mean, variance = (blob.flatten() for blob in self.blobs)
        if self.running:
            return F.batch_norm(x, mean, variance, scale, shift, eps=self.eps).transpose(1, self.axis)
        top, batch_mean, batch_variance = normalize_batch(x, scale, shift, self.eps)
        if self.moves:
            count = x.numel() // x.shape[1] * sharing_statistics()
            kept = batch_variance if self.unbiased else batch_variance * ((count - 1) / count)
            for blob, batch in zip((self.blobs[2], self.blobs[3]), (batch_mean, kept), strict=True):
                blob.lerp_(batch.reshape(blob.shape), self.step)
        return top.transpose(1, self.axis)

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor:
        x = bottoms[0].transpose(1, self.axis)
        scale, shift, mean, variance = (blob.flatten() for blob in builder.blobs)
        if self.running:
            top = F.batch_norm(x, mean, variance, scale, shift, eps=self.eps)
        else:
            view = (-1, *[1] * (x.dim() - 2))
            top = traced_norm(x, self.eps)[0] * scale.reshape(view) + shift.reshape(view)
        return top.transpose(1, self.axis)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        module = call(
            builder.part(source_parts.FusedBatchNorm),
            *(str(n) for n in self.blobs[0].shape),
            eps=number(self.eps),
            axis=None if self.axis == 1 else str(self.axis),
            of_batch=None if self.running else "True",
        )
        return Source("{self}({0})", module)
