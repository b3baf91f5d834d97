"""Takes features of a net from Python: what its global pooling gives for a batch of the test images.

Run it in a clone, or where `sdcaffe zoo quickstart .` was run. Without weights the net is as it is filled.
`sdcaffe extract-features` writes the same to a database.

    sdcaffe train prototxt/quickstart/solver_baseline.prototxt
    python examples/features.py runs/quickstart/baseline_iter_400.caffemodel
"""

import sys

import numpy as np
import torch

import sdcaffe

net = sdcaffe.Net("prototxt/quickstart/train_val_baseline.prototxt", sdcaffe.TEST, weights=sys.argv[1:])
with torch.no_grad():
    blobs = net.forward(keep=["pool", "label"])
np.savez("features.npz", features=blobs["pool"].flatten(1), labels=blobs["label"])
print("features", tuple(blobs["pool"].shape), "of classes", sorted(set(blobs["label"].int().tolist())))
