"""A step recorded as one CUDA graph and replayed: the host then launches one thing an iteration, not thousands.

What is recorded reads its batches, learning rate and loss weights from tensors that stay where they are. It computes
what the step computes; data layers, tests and logs stay outside.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from sdcaffe import collectives
from sdcaffe.errors import SdcaffeError
from sdcaffe.log import glog
from sdcaffe.net import Net
from sdcaffe.net.net import Batch
from sdcaffe.solver.step import Result, Step

WARM_UP = 3  # iterations that run as they are: libraries choose their kernels and workspaces in them

Work = Callable[[], Result]
Recorder = Callable[[Work], Work]  # records what the work does on tensors; calling what it returns does that again


def refusal(net: Net, device: torch.device) -> str | None:
    """Why the steps of `net` cannot be recorded; None where they can."""
    if device.type != "cuda":
        return "there is no GPU to record for"
    if collectives.rank_and_world()[1] > 1:
        return "several processes train together"
    for layer in net.layers.values():
        if layer.dynamic:
            return f'the shapes of layer "{layer.name}" ({layer.type}) depend on the data'
    return None


class CapturedStep:
    """`step`, recorded by `recorder` after a few iterations and replayed from then on.

    A batch of other shapes than the recorded one runs as it is. So does everything where recording fails: a layer
    may do what cannot be recorded, such as asking for a value; the log then says why.
    """

    def __init__(self, step: Step, device: torch.device, recorder: Recorder | None = None) -> None:
        self._step = step
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._record = recorder or self._cuda_graph
        self._rate = torch.zeros((), device=device)
        self._done = 0
        self._static: list[Batch] = []
        self._replay: Work | None = None

    def __call__(self, batches: Iterable[Batch], rate: float) -> Result:
        batches = list(batches)
        self._rate.fill_(rate)
        self._done += 1
        if self._done <= WARM_UP:
            return self._beside(batches)
        if self._done == WARM_UP + 1:
            self._capture(batches)
        if self._replay is None or not self._fits(batches):
            return self._step(batches, self._rate)
        for static, batch in zip(self._static, batches, strict=True):
            torch._foreach_copy_(list(static.values()), list(batch.values()), non_blocking=True)
        result = self._replay()
        return result._replace(loss=result.loss.clone())  # the next replay writes over it

    def _capture(self, batches: Sequence[Batch]) -> None:
        """Record the step, which computes nothing yet."""
        self._static = [{slot: torch.empty_like(t).copy_(t) for slot, t in batch.items()} for batch in batches]
        try:
            self._replay = self._record(lambda: self._step(self._static, self._rate))
        except (RuntimeError, SdcaffeError) as error:
            reason = str(error).strip().split("\n")[0]
            glog("solver.cpp:239", f"The training step is not recorded as a CUDA graph: {reason}", logging.WARNING)
            self._static = []

    def _fits(self, batches: Sequence[Batch]) -> bool:
        return all(
            static[slot].shape == tensor.shape
            for static, batch in zip(self._static, batches, strict=True)
            for slot, tensor in batch.items()
        )

    def _beside(self, batches: Sequence[Batch]) -> Result:
        """The step on the stream that will record it, so that autograd's nodes belong there."""
        if self._stream is None:
            return self._step(batches, self._rate)
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            result = self._step(batches, self._rate)
        torch.cuda.current_stream().wait_stream(self._stream)
        return result

    def _cuda_graph(self, work: Work) -> Work:
        graph: Any = torch.cuda.CUDAGraph()
        # what other threads do meanwhile, such as reading the next batches, is no part of this and may go on
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            result = work()

        def replay() -> Result:
            graph.replay()
            return result

        return replay


def make_step(step: Step, device: torch.device) -> Callable[[Iterable[Batch], float], Result]:
    """`step`, recorded where that can be; on a GPU the log says why where it cannot."""
    reason = refusal(step.net, device)
    if reason is None:
        return CapturedStep(step, device)
    if device.type == "cuda":
        glog("solver.cpp:239", f"The training step is not recorded as a CUDA graph: {reason}")
        return lambda batches, rate: step(batches, torch.tensor(rate, device=device))
    return step
