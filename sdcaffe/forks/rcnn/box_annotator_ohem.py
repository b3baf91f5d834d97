"""BoxAnnotatorOHEM: which regions of interest cost most, and so are trained on."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, register, show_shape


class BoxAnnotatorOHEMParameter:
    roi_per_img: int
    ignore_label: int = -1


@register("BoxAnnotatorOHEM", field="box_annotator_ohem_param", number=10000)
class BoxAnnotatorOHEM(Layer):
    """Of each image the roi_per_img regions that cost most keep their label and their weights.

    As in R-FCN (microsoft/caffe@70f521f). Bottoms: regions (n, 5), of which the first number is the image; what each
    costs (n); labels (n); weights (n, c); all perhaps with axes (h, w) more, each place a region of its own. Tops:
    labels (n, 1, h, w), ignore_label where a region is not kept, and weights (n, c, h, w), there 0. Of regions that
    cost the same the first are kept. No gradient goes to a bottom.
    """

    param: proto.BoxAnnotatorOHEMParameter
    Param = BoxAnnotatorOHEMParameter
    bottoms = 4
    tops = 2
    index_bottoms = (0, 1, 2, 3)
    not_exported = "it chooses what a net is trained on"
    yields = True

    @classmethod
    def deployed(cls, layer_param: proto.LayerParameter) -> proto.LayerParameter | None:
        return None

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        if self.param.roi_per_img < 1:
            raise self.error(f"roi_per_img must be at least 1, not {self.param.roi_per_img}", "roi_per_img")
        if any(not 1 <= len(shape) <= 4 for shape in bottom_shapes):
            raise self.error("needs bottoms of at most 4 axes", "bottom")
        whole = [(*shape, 1, 1, 1)[:4] for shape in bottom_shapes]
        n, _, *places = whole[0]
        for i, (shape, channels) in enumerate(zip(whole, (5, 1, 1, None), strict=True)):
            if (shape[0], *shape[2:]) != (n, *places) or channels not in (None, shape[1]):
                raise self.error(
                    f"bottom {i} is {show_shape(bottom_shapes[i])}; it takes regions (n, 5), costs and labels (n) "
                    "and weights (n, c)",
                    "bottom",
                )
        return [(n, 1, *places), (n, whole[3][1], *places)]

    def forward(self, regions: Tensor, cost: Tensor, label: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        n = regions.shape[0]
        inner = math.prod(regions.shape[2:])
        image = regions.reshape(n, 5, inner)[:, 0].flatten().long()
        if (image < 0).any():
            raise self.error(f"a region is of image {int(image.min())}; images count from 0")
        order = cost.detach().flatten().argsort(descending=True, stable=True)
        order = order[image[order].argsort(stable=True)]  # image by image, dearest first
        counts = torch.bincount(image)
        rank = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[image[order]]
        kept = torch.zeros_like(order, dtype=torch.bool)
        kept[order] = rank < self.param.roi_per_img
        kept = kept.reshape(n, 1, inner)
        labels = label.detach().reshape(n, 1, inner).masked_fill(~kept, self.param.ignore_label)
        weights = weight.detach().reshape(n, -1, inner).masked_fill(~kept, 0)
        places = (*regions.shape[2:], 1, 1)[:2]
        return labels.reshape(n, 1, *places), weights.reshape(n, -1, *places)
