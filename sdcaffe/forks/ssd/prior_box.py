"""PriorBox: the default boxes of a feature map, which SSD's predictions are offsets of."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.ssd import source_parts
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, call, number, register, show_shape

Box = tuple[float, float]


class PriorBoxParameter:
    min_size: list[float]
    max_size: list[float]
    aspect_ratio: list[float]
    flip: bool = True
    clip: bool = False
    variance: list[float]
    img_size: int
    img_h: int
    img_w: int
    step: float
    step_h: float
    step_w: float
    offset: float = 0.5
    width: Annotated[list[float], 14]  # of PriorBoxClustered
    height: Annotated[list[float], 15]
    # Synopsys' Caffe; the numbers of the first two, 15 and 16, are not theirs here
    box_width: Annotated[list[float], 1015]
    box_height: Annotated[list[float], 1016]
    tf: Annotated[bool, 17] = False
    yx_order: Annotated[bool, 18] = False
    keras: Annotated[bool, 19] = False


@register("PriorBox", field="prior_box_param", number=203)
class PriorBox(Layer):
    """Boxes around the middle of each cell of bottom 0 (n, c, h, w), as fractions of the image, bottom 1.

    As in SSD (weiliu89/caffe@4817bf8). The top is (1, 2, 4 * boxes): row 0 has xmin, ymin, xmax, ymax of
    every box, row 1 its four variances (0.1 where none is given). A cell has, for each min_size: a square of
    that size; with max_size, a square of sqrt(min_size * max_size); and a box of min_size's area for each
    aspect_ratio other than 1 (and its inverse, with `flip`). Sizes are in pixels, cut to whole numbers. The
    image's size and the cells' (step) are the bottoms' unless they are given. No gradient goes to a bottom.
    """

    param: proto.PriorBoxParameter
    Param = PriorBoxParameter
    bottoms = 2
    index_bottoms = (0, 1)
    yields = True

    fixes = "size"

    boxes: Tensor

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        for shape in bottom_shapes:
            if len(shape) != 4:
                raise self.error(f"needs bottoms (n, c, h, w), not {show_shape(shape)}")
        h, w = bottom_shapes[0][2:]
        given = self._pair("img_size", "img_h", "img_w")
        image = bottom_shapes[1][2:] if given is None else given
        step = self._pair("step", "step_h", "step_w") or (image[0] / h, image[1] / w)
        sizes = self._sizes()
        middle_y, middle_x = ((np.arange(n) + self.param.offset) * s for n, s in zip((h, w), step, strict=True))
        middles = np.stack(np.broadcast_arrays(middle_x, middle_y[:, None]), axis=-1)
        half = sizes / 2
        boxes = np.concatenate([middles[:, :, None] - half, middles[:, :, None] + half], axis=-1)
        boxes /= [image[1], image[0]] * 2
        boxes = self._placed(boxes)
        if self.param.clip:
            boxes = boxes.clip(0, 1)
        table = np.stack([boxes.reshape(-1), np.resize(self._variances(), boxes.size)])
        device = self.boxes.device if "boxes" in self._buffers else None
        dtype = self.boxes.dtype if "boxes" in self._buffers else torch.float32
        self.register_buffer("boxes", torch.tensor(table[None], dtype=dtype, device=device), persistent=False)
        return [tuple(self.boxes.shape)]

    def _placed(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (h, w, boxes, 4), fractions of the image, as the top has them."""
        return boxes

    def _pair(self, field: str, first: str, second: str) -> tuple[Any, Any] | None:
        """Height and width of the image or the steps, where the prototxt has them: as one number, or as two."""
        param = self.param
        if param.HasField(first) or param.HasField(second):
            if param.HasField(field):
                raise self.error(f"give {field} or {first} and {second}, not both", field)
            found = (getattr(param, first), getattr(param, second))
        elif param.HasField(field):
            found = (getattr(param, field), getattr(param, field))
        else:
            return None
        if not min(found) > 0:
            raise self.error(f"{first} (={found[0]:g}) and {second} (={found[1]:g}) must be above 0", field)
        return found

    def _sizes(self) -> np.ndarray:
        """Width and height in pixels of each box of a cell: (boxes, 2)."""
        param = self.param
        smallest, largest = list(param.min_size), list(param.max_size)
        if not smallest or not all(0 < size < math.inf for size in smallest):
            raise self.error(f"needs min_size above 0, not {smallest}", "min_size")
        if largest and len(largest) != len(smallest):
            raise self.error(f"has {len(largest)} max_size for {len(smallest)} min_size", "max_size")
        if not all(low < high < math.inf for low, high in zip(smallest, largest, strict=False)):
            raise self.error(f"max_size {largest} must be above min_size {smallest}", "max_size")
        ratios = self._ratios()
        found = []
        for i, size in enumerate(smallest):
            side = float(int(size))
            larger = math.sqrt(int(size) * int(largest[i])) if largest else None
            oblong = [(side * math.sqrt(ratio), side / math.sqrt(ratio)) for ratio in ratios]
            found += self._in_order((side, side), None if larger is None else (larger, larger), oblong)
        return np.array(found)

    def _in_order(self, square: Box, larger: Box | None, oblong: list[Box]) -> list[Box]:
        """The boxes of one min_size, width and height each: its square, max_size's, and those of aspect ratios."""
        return [square, *([] if larger is None else [larger]), *oblong]

    def _ratios(self) -> list[float]:
        """The aspect ratios other than 1, each once, behind each its inverse where boxes are flipped."""
        found = [1.0]
        for ratio in self.param.aspect_ratio:
            if not 0 < ratio < math.inf:
                raise self.error(f"aspect_ratio must be above 0, not {ratio:g}", "aspect_ratio")
            if all(abs(ratio - other) >= 1e-6 for other in found):
                found += [ratio, 1 / ratio] if self.param.flip else [ratio]
        return found[1:]

    def _variances(self) -> list[float]:
        variances = list(self.param.variance) or [0.1]
        if len(variances) not in (1, 4) or not min(variances) > 0:
            raise self.error(f"variance must be one or four numbers above 0, not {variances}", "variance")
        return variances

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        size, step = self._pair("img_size", "img_h", "img_w"), self._pair("step", "step_h", "step_w")
        arguments = (
            _numbers(self._sizes().tolist()),
            _numbers(self._variances()),
            _numbers(size or ()),
            _numbers(step or ()),
            number(self.param.offset),
            str(self.param.clip),
            *self._placing(),
        )
        return Source(call(builder.part(source_parts.prior_boxes), "{0}", "{1}", *arguments), nests=False)

    def _placing(self) -> list[str]:
        """What source is told of `_placed`: nothing where that changes nothing."""
        return []

    def forward(self, bottom: Tensor, image: Tensor) -> Tensor:
        return self.boxes.clone()


def _numbers(values: Any) -> str:
    """A list of numbers, or of lists of them, in source."""
    if isinstance(values, (list, tuple)):
        return f"[{', '.join(_numbers(value) for value in values)}]"
    return repr(float(values))
