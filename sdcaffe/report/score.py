"""Scores a net as `caffe test` does: the mean of every output over some batches, in Caffe's lines."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sdcaffe.log import glog, number
from sdcaffe.net import Net
from sdcaffe.report.loading import next_batch


@dataclass
class Scores:
    """`loss` is the mean total loss; `outputs` the mean of each output value, a blob of n values n times."""

    loss: float
    outputs: list[tuple[str, float]]


@torch.no_grad()
def score(net: Net, iterations: int) -> Scores:
    """Run `iterations` batches (1 or more); sums are float32, as Caffe's."""
    glog("caffe.cpp:281", f"Running for {iterations} iterations.")
    names: list[str] = []
    total = torch.zeros(())
    loss = torch.zeros(())
    for i in range(iterations):
        result = net.compute(next_batch(net))
        names = [name for name, blob in result.blobs.items() for _ in range(blob.numel())]
        blobs = [blob.flatten().float().cpu() for blob in result.blobs.values()]
        values = torch.cat([torch.zeros(0), *blobs]) + 0.0  # a loss of -0 is 0
        for name, value in zip(names, values.tolist(), strict=True):
            glog("caffe.cpp:304", f"Batch {i}, {name} = {number(value)}")
        total = total + values
        loss = loss + result.loss.cpu()
    scores = Scores(float(loss / iterations), list(zip(names, (total / iterations).tolist(), strict=True)))
    glog("caffe.cpp:309", f"Loss: {number(scores.loss)}")
    weights = net.loss_weights
    for name, value in scores.outputs:
        part = f" (* {number(weights[name])} = {number(weights[name] * value)} loss)" if name in weights else ""
        glog("caffe.cpp:321", f"{name} = {number(value)}{part}")
    return scores
