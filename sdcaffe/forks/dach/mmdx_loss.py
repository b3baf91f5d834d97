"""MMDXLoss: MMDLoss between each class of one domain and every other class of the other."""

from __future__ import annotations

from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.dach.mmd_loss import RandomPairs
from sdcaffe.layers.base import Shape, register, show_shape


class MMDXLossParameter:
    kernel_numb: int = 5
    kernel_mult: float = 2.0
    absfix_flag: bool = False


@register("MMDXLoss", field="mmdx_loss_param", number=1457)
class MMDXLoss(RandomPairs):
    """Features (n, d) and (m, d) of two domains, then the class of each row: (n,) and (m,).

    As in CAFFE-DACH (JiahaoLi-gdut/CAFFE-DACH@388c826), where the field is 157. For each class of the first domain and
    each other class of the second, CAFFE-DACH's MMDLoss between their rows; the values are summed, and so are the
    gradients of those where both have two rows at least. The fork's value is the sum over all batches so far; here it
    is the batch's. Its examples have two bottoms, for a layer older than the published source: they are refused, there
    too.
    """

    param: proto.MMDXLossParameter
    Param = MMDXLossParameter
    bottoms = 4
    index_bottoms = (2, 3)

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        source, target, *classes = bottom_shapes
        if source[1:] != target[1:] or not source or 0 in (*source, *target):
            raise self.error(f"features must have one shape but n: {show_shape(source)} and {show_shape(target)}")
        for rows, own in zip((source, target), classes, strict=True):
            if not own or own[0] != rows[0] or any(size != 1 for size in own[1:]):
                raise self.error(f"needs a class for each row of {show_shape(rows)}, not {show_shape(own)}")
        self.check()
        return [()]

    def forward(self, source: Tensor, target: Tensor, *classes: Tensor) -> Tensor:
        source, target = source.reshape(len(source), -1), target.reshape(len(target), -1)
        of_source, of_target = (own.reshape(-1).long() for own in classes)
        total = source[:0].sum() + target[:0].sum()  # 0, and differentiable where no pair of classes is
        for one in of_source.unique():
            for other in of_target.unique():
                if one == other:
                    continue
                rows, others = source[of_source == one], target[of_target == other]
                found = self.discrepancies(rows, others)
                value = found.sum().detach()
                total = total + value
                if min(len(rows), len(others)) > 1:
                    total = total + (found.mean() - found.mean().detach())
        return total
