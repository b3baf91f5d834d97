"""Im2col: the windows of a convolution laid out as channels."""

from __future__ import annotations

import math

from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers import places, spatial
from sdcaffe.layers.base import Layer, Shape, canonical_axis, register
from sdcaffe.layers.places import Places


@register("Im2col", field="convolution_param")
class Im2col(Layer):
    """(..., c, *spatial) to (..., c * kernel count, *output): for each c, each place in the kernel in turn.

    Raises LayerError without a spatial axis behind `axis`.
    """

    param: proto.ConvolutionParameter
    fixes = "size"

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        self.axis = canonical_axis(self, self.param.axis, len(bottom))
        axes = len(bottom) - self.axis - 1
        if axes < 1:
            raise self.error(f"no spatial axis behind axis {self.axis} of a bottom of {len(bottom)} axes", "axis")
        self.geometry = spatial.read_geometry(self, axes)
        sizes = self.geometry.convolved(bottom[self.axis + 1 :])
        spatial.check_sizes(self, bottom, self.axis, sizes)
        self.top = (*bottom[: self.axis], bottom[self.axis] * math.prod(self.geometry.kernel), *sizes)
        return [self.top]

    def forward(self, bottom: Tensor) -> Tensor:
        images = bottom.reshape(-1, *bottom.shape[self.axis :])
        seen = spatial.windows(spatial.fit(images, self.geometry), self.geometry)
        axes = len(self.geometry.kernel)
        kernel_first = seen.permute(0, 1, *range(2 + axes, 2 + 2 * axes), *range(2, 2 + axes))
        return kernel_first.reshape(bottom.shape[: self.axis] + self.top[self.axis :])

    @classmethod
    def settings(cls, layer_param: proto.LayerParameter) -> list[str]:
        return spatial.settings(layer_param.convolution_param)

    @classmethod
    def places(cls, layer_param: proto.LayerParameter) -> Places | None:
        return places.convolved(layer_param.convolution_param)
