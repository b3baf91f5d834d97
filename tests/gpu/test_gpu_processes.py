"""Two processes on two GPUs: `--gpu all` trains to the end, and as one process would. Skipped with fewer than two."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sdcaffe import proto
from sdcaffe.log import parse_log

pytestmark = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")

NET = """
layer {{ name: "data" type: "Data" top: "x" top: "label" data_param {{
  source: "synthetic:train" batch_size: {batch} shuffle: true seed: 3 }} }}
layer {{ name: "normal" type: "Distort" bottom: "x" top: "data" distort_param {{ mean_value: 128 std_value: 64 }} }}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param {{ num_output: 6 kernel_size: 5 stride: 3 weight_filler {{ type: "msra" }} }} }}
layer {{ name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }}
layer {{ name: "tanh" type: "TanH" bottom: "conv" top: "conv" }}
layer {{ name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param {{ num_output: 10 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }}
"""
SOLVER = """
train_net: "net_{name}.prototxt" type: "Nesterov" base_lr: 0.02 lr_policy: "fixed" momentum: 0.9 max_iter: 20
display: 1 snapshot_prefix: "{name}" random_seed: 4 sync_batch_norm: true
"""


def train(folder: Path, name: str, batch: int, *flags: str) -> list[float]:
    (folder / f"net_{name}.prototxt").write_text(NET.format(batch=batch))
    (folder / f"{name}.prototxt").write_text(SOLVER.format(name=name))
    command = [sys.executable, "-m", "sdcaffe", "train", f"{name}.prototxt", *flags]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [row.loss for row in parse_log(folder / f"{name}.log").train]


def test_two_gpus_train_as_one(tmp_path):
    one = train(tmp_path, "one", 24, "--gpu", "0")
    two = train(tmp_path, "two", 12, "--gpu", "0,1")
    assert two == pytest.approx(one, rel=1e-3)
    first, second = (proto.read_weights(tmp_path / f"{name}_iter_20.caffemodel") for name in ("one", "two"))
    for a, b in zip(first, second, strict=True):
        for x, y in zip(a.blobs, b.blobs, strict=True):
            assert y == pytest.approx(x, rel=1e-2, abs=1e-3)
