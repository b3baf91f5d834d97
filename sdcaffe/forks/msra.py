"""The filler "msra" with alpha, of happynear/caffe-windows: for a ReLU whose negative slope is alpha."""

from __future__ import annotations

import math
from typing import Annotated

from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers import fillers


class MsraAlpha:
    """What happynear's Caffe adds to FillerParameter."""

    alpha: Annotated[float, 9] = 0.0


_msra = fillers.FILLERS["msra"]


def leaky_msra(tensor: Tensor, filler: proto.FillerParameter) -> None:
    """Normal with deviation sqrt(2 / n / (1 + alpha^2)): equation 15 of He et al. 2015 (caffe-windows@967eedf)."""
    _msra(tensor, filler)
    tensor.div_(math.sqrt(1 + filler.alpha**2))


proto.schema.extend("FillerParameter", MsraAlpha)
fillers.FILLERS["msra"] = leaky_msra
