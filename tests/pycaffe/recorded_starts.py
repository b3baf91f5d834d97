"""training_cases.py, each case begun from the recorded weights: the draws of Caffe's fillers cannot be drawn again.

The images of sd_resnet8 are the recorded ones too, so that no data set is needed.
"""

import os
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"

with tempfile.TemporaryDirectory() as folder:
    os.environ["CIFAR_NPZ"] = str(Path(folder) / "none.npz")  # read by training_cases; replaced below
    np.savez(os.environ["CIFAR_NPZ"], X=np.zeros((128, 32, 32, 3), np.uint8), Y=np.zeros(128, np.int64))
    sys.path.insert(0, str(GOLDENS))
    import training_cases


def begun(case):
    run = GOLDENS / "training" / case["name"]
    with h5py.File(run / "train.h5") as file:
        data = {name: file[name][()] for name in file}
    return {**case, "data": data, "init": lambda net: net.copy_from(str(run / "init.caffemodel"))}


CASES = [begun(case) for case in training_cases.CASES]
