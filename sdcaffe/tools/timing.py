"""Times a net layer by layer, as `caffe time` does: each layer runs alone, so nothing is fused."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sdcaffe.graph import Step
from sdcaffe.layers.base import DataLayer, Layer, Shape, blamed_on
from sdcaffe.log import glog, number
from sdcaffe.net import Net
from sdcaffe.net.execution import channels_last
from sdcaffe.tools.loading import next_batch


class Stopwatch:
    """Milliseconds of work on one device: wall time on a CPU, the time between two events on a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._events: tuple[torch.cuda.Event, torch.cuda.Event] | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.current_stream(device)
            self._events = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        self.start()

    def start(self) -> None:
        self._begin = time.perf_counter()
        if self._events is not None:
            self._events[0].record(self._stream)

    def stop(self) -> float:
        """Milliseconds since `start`, all work asked for until now included."""
        if self._events is None:
            return 1000 * (time.perf_counter() - self._begin)
        begin, end = self._events
        end.record(self._stream)
        end.synchronize()
        return begin.elapsed_time(end)


@dataclass
class Times:
    """Sums over `iterations` of milliseconds; `layers`: key of each layer, in order -> forward and backward."""

    iterations: int
    layers: dict[str, list[float]] = field(default_factory=dict)
    forward: float = 0.0
    backward: float = 0.0
    total: float = 0.0


class LayerByLayer:
    """One net, one layer at a time. Between layers a blob is cut from autograd, so each backward is its own."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self._weights = {slot: float(weight) for slot, weight in net.assembled.loss_weights.items()}
        shapes = net.assembled.shapes
        self._shapes = {step.key: [shapes[slot] for slot in step.bottoms] for step in net.graph.steps}
        self._values: dict[int, Tensor] = {}
        self._bottoms: dict[str, list[Tensor]] = {}
        self._gradients: dict[int, Tensor] = {}

    @property
    def steps(self) -> list[Step]:
        return self.net.graph.steps

    def feed(self) -> None:
        """Fill the input blobs. Raises LayerError where the free memory cannot hold a pass."""
        self.net.execution.check_room(self.net.precision, self.net.device, all_kept=True)
        if self.net.inputs:
            self._values = {slot: _channels_last(tensor) for slot, tensor in next_batch(self.net).items()}

    def forward(self, step: Step) -> None:
        layer = self.net.layers[step.key]
        if layer.given:
            return
        with blamed_on(layer):
            if isinstance(layer, DataLayer):
                tops = tuple(_channels_last(top) for top in layer.next_batch(self.net.device))
            else:
                bottoms = self._bottoms[step.key] = self._cut(layer, step)
                self._follow(step, [tuple(bottom.shape) for bottom in bottoms])
                out = layer(*bottoms)
                tops = (out,) if isinstance(out, Tensor) else tuple(out)
        self._values.update(zip(step.tops, tops, strict=True))

    def _follow(self, step: Step, shapes: list[Shape]) -> None:
        """Set a layer up again behind one whose tops came in other shapes."""
        if shapes != self._shapes[step.key]:
            self.net.layers[step.key].setup(shapes)
            self._shapes[step.key] = shapes

    def _cut(self, layer: Layer, step: Step) -> list[Tensor]:
        flags = list(step.layer.propagate_down)
        bottoms = []
        for i, slot in enumerate(step.bottoms):
            value = self._values[slot]
            wanted = value.requires_grad and i not in layer.index_bottoms and (not flags or flags[i])
            bottoms.append(value.detach().requires_grad_(wanted))
        return bottoms

    @property
    def loss(self) -> float:
        """The total weighted loss of the pass that `forward` made."""
        return sum(weight * float(self._values[slot].detach().sum()) for slot, weight in self._weights.items())

    def backward(self, step: Step) -> None:
        layer = self.net.layers[step.key]
        pairs = [(self._values[slot], self._gradient(slot)) for slot in step.tops]
        tops = [(top, gradient) for top, gradient in pairs if gradient is not None and top.requires_grad]
        bottoms = self._bottoms.pop(step.key, [])
        wanted = [(slot, b) for slot, b in zip(step.bottoms, bottoms, strict=False) if b.requires_grad]
        blobs = [blob for blob in layer.parameters() if blob.requires_grad]
        if not tops or not (wanted or blobs):
            return
        with blamed_on(layer):
            found = torch.autograd.grad(
                [top for top, _ in tops],
                [*(bottom for _, bottom in wanted), *blobs],
                [gradient for _, gradient in tops],
                allow_unused=True,
            )
        for (slot, _), gradient in zip(wanted, found, strict=False):
            if gradient is not None:
                self._gradients[slot] = gradient

    def _gradient(self, slot: int) -> Tensor | None:
        """What came back to a blob, and its loss weight."""
        gradient = self._gradients.pop(slot, None)
        weight = self._weights.get(slot)
        if weight is None:
            return gradient
        own = torch.full_like(self._values[slot], weight)
        return own if gradient is None else gradient + own


def measure(net: Net, iterations: int) -> Times:
    """Time `iterations` passes (1 or more) after one that does not count, logged as Caffe logs them."""
    passes = LayerByLayer(net)
    passes.feed()
    glog("caffe.cpp:351", "Performing Forward")
    for step in passes.steps:
        passes.forward(step)
    glog("caffe.cpp:356", f"Initial loss: {number(passes.loss)}")
    glog("caffe.cpp:357", "Performing Backward")
    for step in reversed(passes.steps):
        passes.backward(step)
    glog("caffe.cpp:365", "*** Benchmark begins ***")
    glog("caffe.cpp:366", f"Testing for {iterations} iterations.")
    times = Times(iterations, {step.key: [0.0, 0.0] for step in passes.steps})
    total = Stopwatch(net.device)
    for j in range(iterations):
        iteration = Stopwatch(net.device)
        times.forward += _sweep(passes, passes.steps, times, 0)
        times.backward += _sweep(passes, reversed(passes.steps), times, 1)
        glog("caffe.cpp:394", f"Iteration: {j + 1} forward-backward time: {number(iteration.stop())} ms.")
    times.total = total.stop()
    _log(times, [step.layer.name for step in passes.steps])
    return times


def _sweep(passes: LayerByLayer, steps: Iterable[Step], times: Times, which: int) -> float:
    """Every layer forward (`which` 0) or backward (1); returns the milliseconds of all of them."""
    device = passes.net.device
    whole, one = Stopwatch(device), Stopwatch(device)
    for step in steps:
        one.start()
        if which == 0:
            passes.forward(step)
        else:
            passes.backward(step)
        times.layers[step.key][which] += one.stop()
    return whole.stop()


def _log(times: Times, names: list[str]) -> None:
    n = times.iterations
    glog("caffe.cpp:397", "Average time per layer: ")
    for name, (forward, backward) in zip(names, times.layers.values(), strict=True):
        glog("caffe.cpp:400", f"{name:>10}\tforward: {number(forward / n)} ms.")
        glog("caffe.cpp:403", f"{name:>10}\tbackward: {number(backward / n)} ms.")
    glog("caffe.cpp:408", f"Average Forward pass: {number(times.forward / n)} ms.")
    glog("caffe.cpp:410", f"Average Backward pass: {number(times.backward / n)} ms.")
    glog("caffe.cpp:412", f"Average Forward-Backward: {number(times.total / n)} ms.")
    glog("caffe.cpp:414", f"Total Time: {number(times.total)} ms.")
    glog("caffe.cpp:415", "*** Benchmark ends ***")


def _channels_last(tensor: Tensor) -> Tensor:
    return channels_last(tensor) if tensor.dim() == 4 else tensor
