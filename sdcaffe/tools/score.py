"""Scores a net as `caffe test` does: the mean of every output over some batches, in Caffe's lines."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sdcaffe.errors import GraphError
from sdcaffe.log import glog, number
from sdcaffe.net import Net
from sdcaffe.solver.predictions import Judged, Predictions
from sdcaffe.tools.loading import choose_engine, next_batch


@dataclass
class Scores:
    """`loss` is the mean total loss; `outputs` the mean of each output value, a blob of n values n times.

    `judged` are the predictions, where they were asked for; what they are worth then ends `outputs`.
    """

    loss: float
    outputs: list[tuple[str, float]]
    judged: Judged | None = None


@torch.no_grad()
def score(net: Net, iterations: int, *, metrics: bool = False, engine: str | None = "torch") -> Scores:
    """Run `iterations` batches (1 or more); sums are float32, as Caffe's. With `metrics`, judge the predictions too.

    `engine` is as `choose_engine` takes it: with another than torch nobody else may write to the net meanwhile.

    Raises GraphError for a net whose outputs do not hold as many numbers in every batch: they have no mean; and
    SolverError for metrics of a net that has no class scores, see `Predictions`.
    """
    predictions = Predictions(net) if metrics else None
    choose_engine(net, engine, iterations, predictions.blobs if predictions else ())
    glog("caffe.cpp:281", f"Running for {iterations} iterations.")
    names: list[str] | None = None
    total = torch.zeros(())
    loss = torch.zeros(())
    for i in range(iterations):
        result = net.compute(next_batch(net), predictions.blobs if predictions else ())
        outputs = {name: result.blobs[name] for name in net.outputs}
        before, names = names, [name for name, blob in outputs.items() for _ in range(blob.numel())]
        if before not in (None, names):
            raise GraphError(
                f'an output of net "{net.name}" holds more or fewer numbers in batch {i} than before, so it has no '
                "mean: end the net in layers whose tops keep their shape"
            )
        blobs = [blob.flatten().float().cpu() for blob in outputs.values()]
        values = torch.cat([torch.zeros(0), *blobs]) + 0.0  # a loss of -0 is 0
        for name, value in zip(names, values.tolist(), strict=True):
            glog("caffe.cpp:304", f"Batch {i}, {name} = {number(value)}")
        total = total + values
        loss = loss + result.loss.cpu()
        if predictions:
            predictions.add(result.blobs)
    scores = Scores(float(loss / iterations), list(zip(names or [], (total / iterations).tolist(), strict=True)))
    glog("caffe.cpp:309", f"Loss: {number(scores.loss)}")
    weights = net.loss_weights
    for name, value in scores.outputs:
        part = f" (* {number(weights[name])} = {number(weights[name] * value)} loss)" if name in weights else ""
        glog("caffe.cpp:321", f"{name} = {number(value)}{part}")
    if predictions:
        scores.judged = predictions.judged()
        for name, value in scores.judged.scores():
            glog("caffe.cpp:321", f"{name} = {number(value)}")
            scores.outputs.append((name, value))
    return scores
