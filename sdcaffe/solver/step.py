"""One iteration's work on tensors: forward and backward over the batches, then the update. Logs and counts nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.collectives import apart
from sdcaffe.errors import SolverError
from sdcaffe.net import Net
from sdcaffe.net.net import Batch
from sdcaffe.solver.trainee import Trainee
from sdcaffe.solver.updates import RULES, Rate, UpdateRule, clip_scale


class Result(NamedTuple):
    """What an iteration gives: the mean loss over its batches (0-dim), the last batch's outputs by blob name, and,
    with clip_gradients, the L2 norm over all gradients and the factor they were scaled by."""

    loss: Tensor
    outputs: dict[str, Tensor]
    clipped: tuple[Tensor, Tensor] | None


class Step:
    """Forward, backward and update, in one function that waits for no device but the CPU.

    Calling it on iter_size batches, as `Net.load` gives them, trains the net once at the learning rate `rate`, which
    includes the update rule's correction. A batch is taken when the one before it is done with. On a CPU a loss that
    is not finite is a SolverError before the update.
    """

    def __init__(self, net: Net, trainee: Trainee, update: UpdateRule, param: proto.SolverParameter) -> None:
        self.net, self.trainee, self.update, self.param = net, trainee, update, param

    def __call__(self, batches: Iterable[Batch], rate: Rate) -> Result:
        loss, outputs = self.gradients(batches)
        return Result(loss, outputs, self.update_parameters(rate))

    def update_parameters(self, rate: Rate) -> tuple[Tensor, Tensor] | None:
        """Clip and apply the parameters' `.grad`, the sum over iter_size batches; what was clipped."""
        clipped, scale = None, 1 / self.param.iter_size
        if self.param.clip_gradients >= 0:
            clipped = clip_scale(self.net.learnable, self.param.clip_gradients)
        with RULES.blamed(self.update):
            self.update.apply(rate, scale if clipped is None else clipped[1] * scale)
        return clipped

    def gradients(self, batches: Iterable[Batch]) -> tuple[Tensor, dict[str, Tensor]]:
        """Fill the parameters' `.grad` with the sum over the batches; the mean loss and the last batch's outputs."""
        for item in self.net.learnable:
            item.tensor.grad = None
        losses = []
        outputs: dict[str, Tensor] = {}
        for i, batch in enumerate(batches):
            last = i == self.param.iter_size - 1
            with nullcontext() if last else self.trainee.accumulating():
                loss, outputs = self.trainee(batch)
                if loss.is_cpu:
                    self.check_finite(loss, batch)
                self.trainee.backward(loss)
            losses.append(loss.detach())
        total = losses[0] if len(losses) == 1 else torch.stack(losses).sum() / len(losses)
        return total, {name: blob.detach() for name, blob in outputs.items()}

    def check_finite(self, loss: Tensor, batch: Batch | None = None) -> None:
        """Raise SolverError, with the first layer at fault, for a loss that is not finite. Waits for the device.

        The layer is looked for on `batch`, or on the next one.
        """
        if not math.isfinite(loss.item()):
            with apart():
                layer = self.net.first_not_finite(batch or self.net.load()) or "(none on a second pass)"
            raise SolverError(f'the loss is {loss.item()}; the first layer whose output is not finite is "{layer}"')
