"""What CAFFE-DACH's own layers computed: its source, compiled as it stands, run on made-up batches in double.

The layers' CPU code, with what its GPU code has in one place: caffe_gpu_div_nz, which sets where caffe_div_nz adds.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "recordings" / "dach"


def cases(name):
    """Each case of a recording: what it says of itself, and the arrays of each of its steps by name."""
    with np.load(FOLDER / f"{name}.npz") as file:
        told, index, values = json.loads(str(file["cases"])), json.loads(str(file["index"])), file["values"]
    steps = [[{} for _ in case["steps"]] for case in told]
    place = 0
    for key, shape in index:
        case, step, what = key.split("/")
        count = int(np.prod(shape))
        steps[int(case)][int(step)][what] = values[place : place + count].reshape(shape).astype(np.float64)
        place += count
    assert place == len(values)
    return list(zip(told, steps, strict=True))
