import math

import torch
from layer_building import make

from sdcaffe.layers.loss import Labels, class_labels


def test_on_a_device_labels_are_not_asked_for_but_spoil_the_loss():
    layer = make("SoftmaxWithLoss", "", (3, 4), (3,))
    assert class_labels(layer, torch.zeros(3, device="meta"), 4).bad is not None
    index = torch.zeros(3, dtype=torch.int64)
    assert math.isnan(Labels(index, None, torch.tensor([False, True, False])).mark(torch.tensor(1.0)))
    assert Labels(index, None, torch.tensor([False, False, False])).mark(torch.tensor(1.0)) == 1
