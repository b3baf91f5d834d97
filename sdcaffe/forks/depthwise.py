"""Convolution of each channel by kernels of its own, under the two names it has in the forks."""

from __future__ import annotations

from sdcaffe.forks.convolution import Same, Sided, is_same
from sdcaffe.layers.base import register


@register("DepthwiseConvolution", field="convolution_param")
class DepthwiseConvolution(Sided):
    """Convolution with as many groups as channels (yonghenglh6/DepthwiseConvolution); `group` may be left out.

    num_output is the number of channels or a multiple of it. Blobs as of Convolution: the weight is
    (num_output, 1, *kernel). Raises LayerError for a group that is not the number of channels.
    """

    origin = "yonghenglh6/DepthwiseConvolution"

    yields = True

    def counts(self, channels: int) -> tuple[int, int]:
        if self.param.group not in (1, channels):
            raise self.error(f"group is {self.param.group} for {channels} channels; leave it out", "group")
        return self.param.num_output, channels


@register("ConvolutionDepthwise", field="convolution_param")
class ConvolutionDepthwise(Sided):
    """Convolution of each channel by one kernel (farmingyard/ShuffleNet): as many channels above as below.

    num_output and group are not looked at, as in the fork. Blobs as of Convolution: the weight is
    (channels, 1, *kernel).
    """

    origin = "farmingyard/ShuffleNet"

    yields = True

    def counts(self, channels: int) -> tuple[int, int]:
        return channels, channels


@register("ConvolutionDepthwise", field="convolution_param", when=is_same)
class SameConvolutionDepthwise(Same, ConvolutionDepthwise):
    """See Same; of Synopsys' Caffe."""

    origin = "Synopsys Caffe"
