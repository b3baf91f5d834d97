"""Layers of C3D (facebook/C3D): blobs (n, c, length, h, w) of video, of its versions 1.0 and 1.1."""

from __future__ import annotations

from typing import Annotated

from sdcaffe import proto

ORIGIN = "C3D (facebook/C3D)"


class VolumeConvolutionParameter:
    """What C3D 1.0 adds to ConvolutionParameter; there they are 6, 8, 11 and 12."""

    kernel_depth: Annotated[int, 1006]
    temporal_stride: Annotated[int, 1008] = 1
    filter_group: Annotated[int, 1011] = 1
    temporal_pad: Annotated[int, 1012] = 0


class VolumePoolingParameter:
    """What C3D 1.0 adds to PoolingParameter; there they are 5 and 6."""

    kernel_depth: Annotated[int, 1105]
    temporal_stride: Annotated[int, 1106] = 1


proto.schema.extend("ConvolutionParameter", VolumeConvolutionParameter)
proto.schema.extend("PoolingParameter", VolumePoolingParameter)
# C3D's own numbers of these are 30 and 31, BVLC Caffe's of ARGMAX and THRESHOLD: text files have the names.
proto.schema.add_values("V1LayerParameter", "LayerType", {"CONVOLUTION3D": 1030, "POOLING3D": 1031})
proto.upgrade.tell_type("CONVOLUTION3D", "Convolution3D")
proto.upgrade.tell_type("POOLING3D", "Pooling3D")
# In binary files C3D 1.0's numbers of its types are BVLC Caffe's of these.
proto.upgrade.tell_type_with_blobs("ArgMax", "Convolution3D")
proto.upgrade.tell_type_with_blobs("MVN", "Deconvolution3D")
