"""Synopsys' PriorBox: boxes in the order of TensorFlow's or Keras's detectors, or of given widths and heights."""

from __future__ import annotations

import numpy as np

from sdcaffe import proto
from sdcaffe.forks.ssd.prior_box import Box, PriorBox
from sdcaffe.layers.base import register

_FIELDS = ("tf", "yx_order", "keras", "box_width", "box_height")
_SMALLEST = 60  # the min_size whose squares TensorFlow's detector has smaller
_INSET = 0.05  # of the image, on each side of them


def _is_synopsys(layer_param: proto.LayerParameter) -> bool:
    return bool({field.name for field, _ in layer_param.prior_box_param.ListFields()}.intersection(_FIELDS))


@register("PriorBox", field="prior_box_param", when=_is_synopsys)
class SynopsysPriorBox(PriorBox):
    """See PriorBox; with a field of foss-for-synopsys-dwc-arc-processors/synopsys-caffe@977ba36.

    tf has max_size's square behind the boxes of aspect ratios, and takes 0.05 of the image off each side of the squares
    of min_size 60. keras has max_size's square first, and the inverses of aspect ratios behind all ratios. box_width
    and box_height are the boxes of a cell, in pixels; min_size and the rest are not looked at then. With yx_order a box
    is ymin, xmin, ymax, xmax; the variances keep their places. Raises LayerError unless there are as many box_height as
    box_width.
    """

    origin = "Synopsys Caffe"

    def _sizes(self) -> np.ndarray:
        wide, high = list(self.param.box_width), list(self.param.box_height)
        if not wide and not high:
            return super()._sizes()
        if len(wide) != len(high) or not min(wide + high) > 0:
            raise self.error(f"needs as many box_height as box_width, above 0, not {high} and {wide}", "box_width")
        return np.array([wide, high]).T

    def _in_order(self, square: Box, larger: Box | None, oblong: list[Box]) -> list[Box]:
        last = [] if larger is None else [larger]
        if self.param.keras:
            return [*last, square, *oblong]
        return [square, *oblong, *last] if self.param.tf else super()._in_order(square, larger, oblong)

    def _ratios(self) -> list[float]:
        found = super()._ratios()
        if not self.param.keras or not self.param.flip:
            return found
        ratios: list[float] = []
        given = list(self.param.aspect_ratio)
        for ratio in [*given, *(1 / ratio for ratio in given)]:
            if all(abs(ratio - other) >= 1e-6 for other in [1.0, *ratios]):
                ratios.append(ratio)
        return ratios

    def _insets(self) -> list[float]:
        """What is taken off each side of the boxes of a cell."""
        sizes = self._sizes()
        if not self.param.tf or self.param.keras or self.param.box_width:
            return [0.0] * len(sizes)
        each = len(sizes) // len(self.param.min_size)
        smallest = [int(size) == _SMALLEST for size in self.param.min_size]
        return [_INSET if i % each == 0 and smallest[i // each] else 0.0 for i in range(len(sizes))]

    def _placed(self, boxes: np.ndarray) -> np.ndarray:
        inset = np.array(self._insets())[:, None]
        boxes = boxes + np.concatenate([inset, inset, -inset, -inset], axis=1)
        return boxes[..., [1, 0, 3, 2]] if self.param.yx_order else boxes

    def _placing(self) -> list[str]:
        return [repr(self._insets()), str(self.param.yx_order)]
