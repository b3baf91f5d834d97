"""Synopsys' dialects of Convolution and Deconvolution: padding of four sides, and TensorFlow's SAME."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from sdcaffe import proto
from sdcaffe.forks import same_padding
from sdcaffe.layers import spatial
from sdcaffe.layers.base import Shape, register
from sdcaffe.layers.convolution import Convolution
from sdcaffe.layers.deconvolution import Deconvolution
from sdcaffe.layers.places import Places


class SidedConvolutionParameter:
    """What Synopsys' Caffe adds to ConvolutionParameter."""

    pad_type: Annotated[int, 19] = 0
    pad_l: Annotated[int, 26] = 0
    pad_r: Annotated[int, 27] = 0
    pad_t: Annotated[int, 28] = 0
    pad_b: Annotated[int, 29] = 0


proto.schema.extend("ConvolutionParameter", SidedConvolutionParameter)


def is_sided(layer_param: proto.LayerParameter) -> bool:
    """Whether a convolution has a field of the fork's."""
    return same_padding.is_sided(layer_param.convolution_param)


def is_same(layer_param: proto.LayerParameter) -> bool:
    """Whether a convolution asks for padding of a type."""
    return bool(layer_param.convolution_param.pad_type)


class Sided(Convolution):
    """A convolution with pad_t, pad_b, pad_l and pad_r, in pixels; below 0 they cut off.

    They take the place of pad where one of them is not 0. From Synopsys' Caffe
    (foss-for-synopsys-dwc-arc-processors/synopsys-caffe@977ba36). Raises LayerError where other padding is given
    besides, and for images of other than two axes.
    """

    def placed(self, sizes: Shape) -> spatial.Geometry:
        if self.param.pad_type:
            raise self.error("pad_type is for Convolution and ConvolutionDepthwise; give pad_l and so on", "pad_type")
        geometry, sides = super().placed(sizes), same_padding.sided(self)
        if sides is None:
            return geometry
        if len(sizes) != 2:
            raise self.error(f"pad_l, pad_r, pad_t and pad_b need 2 spatial axes, not {len(sizes)}", "pad_l")
        return replace(geometry, pad=sides[0], behind=sides[1])

    @classmethod
    def settings(cls, layer_param: proto.LayerParameter) -> list[str]:
        return [*super().settings(layer_param), *same_padding.settings(layer_param.convolution_param)]

    @classmethod
    def places(cls, layer_param: proto.LayerParameter) -> Places | None:
        own, moved = super().places(layer_param), same_padding.before(layer_param.convolution_param)
        return None if own is None or moved is None else replace(own, shift=own.shift + moved.shift * own.scale)


class Same(Sided):
    """A convolution with pad_type: 1, TensorFlow's SAME: windows at every stride-th pixel. Raises LayerError.

    As in the fork, a dilated kernel counts as an undilated one where the zeros before the image are counted.
    """

    fixes = "size"

    def placed(self, sizes: Shape) -> spatial.Geometry:
        same_padding.check_same(self)
        if len(sizes) != 2:
            raise self.error(f"pad_type needs 2 spatial axes, not {len(sizes)}", "pad_type")
        geometry = spatial.read_geometry(self, 2)
        before, _ = same_padding.same(sizes, geometry.kernel, geometry.stride)
        places = zip(sizes, geometry.stride, geometry.extent, before, strict=True)
        behind = tuple((-(-n // s) - 1) * s + extent - b - n for n, s, extent, b in places)
        return replace(geometry, pad=before, behind=behind)


@register("Convolution", field="convolution_param", when=is_sided)
class SidedConvolution(Sided):
    """See Sided."""

    origin = "Synopsys Caffe"


@register("Convolution", field="convolution_param", when=is_same)
class SameConvolution(Same):
    """See Same."""

    origin = "Synopsys Caffe"


@register("Deconvolution", field="convolution_param", when=is_sided)
class SidedDeconvolution(Sided, Deconvolution):
    """See Sided. The top's sizes are stride * (n - 1) + extent - pad_t - pad_b, and with pad_l and pad_r."""

    origin = "Synopsys Caffe"

    @classmethod
    def places(cls, layer_param: proto.LayerParameter) -> Places | None:
        own, moved = Deconvolution.places(layer_param), same_padding.before(layer_param.convolution_param)
        return None if own is None or moved is None else replace(own, shift=own.shift - moved.shift)
