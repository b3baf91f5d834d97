"""Data with random_order, of Tongcheng/caffe: records in the database's order first, then in one drawn each epoch."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from sdcaffe import proto
from sdcaffe.data.order import Indices, Order, permutation
from sdcaffe.layers.base import register
from sdcaffe.layers.data import Data


class RandomOrderParameter:
    random_order: Annotated[bool, 1011] = True  # its number, 11, is NVIDIA's threads


proto.schema.extend("DataParameter", RandomOrderParameter)


def _asks(layer_param: proto.LayerParameter) -> bool:
    param = layer_param.data_param
    return bool(param.HasField("random_order") and param.random_order)


@register("Data", field="data_param", when=_asks)
class RandomOrderData(Data):
    """See Data; as Tongcheng/caffe@1625bb3 with random_order: true. The second epoch is the first in a drawn order."""

    origin = "Tongcheng/caffe"

    def _order(self, count: int, seed: int) -> Order:
        order = super()._order(count, seed)

        def drawn(seed: int, epoch: int) -> Indices:
            return permutation(seed, epoch, count) if epoch else np.arange(count)

        return Order(
            count,
            order.batch,
            seed=order.seed,
            shuffle=drawn,
            rand_skip=order.rand_skip,
            rank=order.rank,
            world=order.world,
        )
