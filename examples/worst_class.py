r"""A measure of a test phase of one's own: the accuracy of the class that fares worst.

    sed 's/top: "accuracy"/top: "accuracy" top: "of_each_class"/' \
        prototxt/quickstart/train_val_baseline.prototxt > train_val_worst.prototxt
    sed 's/^net:.*/net: "train_val_worst.prototxt" eval_type: "worst_class"/' \
        prototxt/quickstart/solver_baseline.prototxt > worst.prototxt
    sdcaffe train worst.prototxt --plugin examples/worst_class.py
"""

import torch

from sdcaffe import Measure, register_measure


@register_measure("worst_class")
class WorstClass(Measure):
    def __init__(self, param, net):
        super().__init__(param, net)
        self.batches = []

    def update(self, batch):  # Accuracy's second top: the accuracy of each class in the batch
        self.batches.append(batch.blobs["of_each_class"].flatten())

    def scores(self):
        return [("worst_class", torch.stack(self.batches).mean(0).min().item())]
