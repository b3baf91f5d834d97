"""PriorBoxClustered: default boxes whose widths and heights are given, such as clusters of a data set's boxes."""

from __future__ import annotations

import numpy as np

from sdcaffe.forks.ssd.prior_box import PriorBox
from sdcaffe.layers.base import register


@register("PriorBoxClustered", field="prior_box_param")
class PriorBoxClustered(PriorBox):
    """As PriorBox, but a cell has a box for each `width` and the `height` of its place, in pixels.

    As in training_toolbox_caffe (openvinotoolkit/training_toolbox_caffe@5e543a4). min_size, max_size, aspect_ratio and
    flip change nothing. Raises LayerError unless there are as many heights as widths, without which the fork reads past
    the end.
    """

    origin = "OpenVINO's training_toolbox_caffe"

    def _sizes(self) -> np.ndarray:
        wide, high = list(self.param.width), list(self.param.height)
        if not wide or len(wide) != len(high):
            raise self.error(f"needs as many height as width, and one at least, not {high} and {wide}", "width")
        if not min(wide + high) > 0:
            raise self.error(f"width {wide} and height {high} must be above 0", "width")
        return np.array([wide, high]).T
