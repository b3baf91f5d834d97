r"""A layer with a learned blob: center loss (Wen et al., 2016), how far features lie from the centre of their class.

{ cat prototxt/quickstart/train_val_baseline.prototxt
  echo 'layer { name: "center" type: "MyCenterLoss" bottom: "pool" bottom: "label" top: "center" loss_weight: 0.003
                my_center_loss_param { num_output: 10 center_filler { type: "gaussian" } } }'
} > center.prototxt
sed 's/^net:.*/net: "center.prototxt"/' prototxt/quickstart/solver_baseline.prototxt > center_solver.prototxt
sdcaffe train center_solver.prototxt --plugin examples/center_loss.py
"""

from math import prod
from typing import Any

from sdcaffe import Layer, Message, register


@register("MyCenterLoss", field="my_center_loss_param", number=2001)
class MyCenterLoss(Layer):
    bottoms = 2  # features (N, d) and labels (N)
    index_bottoms = (1,)
    loss = True

    class Param:
        num_output: int = 0  # classes
        center_filler: Any = Message("FillerParameter")

    def setup(self, bottom_shapes):
        features, _ = bottom_shapes
        self.blob(0, (self.param.num_output, prod(features[1:])), self.param.center_filler)
        return [()]

    def forward(self, features, labels):
        centers = self.blobs[0][labels.long().flatten()]
        return (features.flatten(1) - centers).square().sum() / (2 * len(features))
