"""PRE_FIXED: losses divided by a number that the prototxt gives. Holds no layer type.

Of microsoft/caffe, which py-R-FCN uses, and of Intel Caffe, whose SoftmaxWithLoss, SigmoidCrossEntropyLoss and
InfogainLoss know it too (intel/caffe@44d5363: the divisor is at least 1).
"""

from __future__ import annotations

from typing import Annotated

from sdcaffe import proto
from sdcaffe.layers import loss


class FixedNormalizer:
    """What these forks add to LossParameter: number 4 is SegNet's class_weighting here."""

    pre_fixed_normalizer: Annotated[float, 1004] = 1.0


proto.schema.extend("LossParameter", FixedNormalizer)
proto.schema.add_values("LossParameter", "NormalizationMode", {"PRE_FIXED": 1003})  # theirs is 3, which is BVLC's NONE
loss.normalizers[proto.LossParameter.PRE_FIXED] = lambda param: param.pre_fixed_normalizer
