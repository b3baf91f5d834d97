r"""A layer of one's own: focal loss (Lin et al., 2017).

    sed 's/type: "SoftmaxWithLoss"/type: "FocalLoss" focal_loss_param { gamma: 3 }/' \
        prototxt/quickstart/train_val_baseline.prototxt > focal.prototxt
    sed 's/^net:.*/net: "focal.prototxt"/' prototxt/quickstart/solver_baseline.prototxt > focal_solver.prototxt
    sdcaffe train focal_solver.prototxt --plugin examples/focal_loss.py
"""

from sdcaffe import Layer, register


@register("FocalLoss", field="focal_loss_param", number=2000)
class FocalLoss(Layer):
    bottoms = 2  # logits (N, K) and labels (N)
    index_bottoms = (1,)  # no gradient goes to the labels
    loss = True

    class Param:
        gamma: float = 2.0

    def setup(self, bottom_shapes):
        logits, labels = bottom_shapes
        if len(logits) != 2 or labels[:1] != logits[:1]:
            raise self.error(f"needs logits (N, K) and N labels, not {logits} and {labels}")
        return [()]

    def forward(self, logits, labels):
        log_p = logits.log_softmax(1).gather(1, labels.long().reshape(-1, 1))
        return -((1 - log_p.exp()) ** self.param.gamma * log_p).mean()
