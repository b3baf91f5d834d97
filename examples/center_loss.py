"""Center loss (Wen et al., 2016): how far features lie from the learned centre of their class."""

from typing import Any

from sdcaffe import Layer, Message, register


@register("CenterLoss", field="center_loss_param", number=2001)
class CenterLoss(Layer):
    bottoms = 2  # features (N, d) and labels (N)
    index_bottoms = (1,)
    loss = True

    class Param:
        num_output: int = 0  # classes
        center_filler: Any = Message("FillerParameter")

    def setup(self, bottom_shapes):
        features, _ = bottom_shapes
        self.blob(0, (self.param.num_output, features[1]), self.param.center_filler)
        return [()]

    def forward(self, features, labels):
        centers = self.blobs[0][labels.long().flatten()]
        return (features - centers).square().sum() / (2 * len(features))
