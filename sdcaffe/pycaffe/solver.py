"""The solver classes of scripts: the update rules and the loop are sdcaffe.solver's, the nets a layer at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.pycaffe.net import Net
from sdcaffe.pycaffe.stepwise import StepwiseNet
from sdcaffe.solver.settings import located
from sdcaffe.solver.snapshot import settle_prefix
from sdcaffe.solver.solver import Solver as Loop
from sdcaffe.solver.step import Result
from sdcaffe.solver.updates import rule_class

Callback = Callable[[], object]


class StepwiseLoop(Loop):
    """A Solver on nets of numpy blobs: gradients add up in the blobs' diffs, and updates are taken from there.

    As in Caffe, a loss that is not finite does not end training.
    """

    net: StepwiseNet
    net_class = StepwiseNet

    def __init__(self, param: proto.SolverParameter, positions: proto.Positions | None = None) -> None:
        super().__init__(param, device="cpu", positions=positions)
        self.on_start: list[Callback] = []
        self.on_gradients_ready: list[Callback] = []

    def _iterate(self) -> Result:
        self.net.clear_diffs()
        for callback in self.on_start:
            callback()
        last, loss = len(self.net.runners) - 1, 0.0
        for _ in range(self.param.iter_size):
            loss += self.net.forward_from_to(0, last)
            self.net.backward_from_to(last, 0)
        mean = torch.tensor(loss / self.param.iter_size)
        if self._follows_loss():
            self._observe(mean)
        self.losses.append(mean)
        for callback in self.on_gradients_ready:
            callback()
        outputs = {name: torch.from_numpy(self.net.blob(name).data) for name in self.net.outputs}
        return Result(self.losses[-1], outputs, self.update_from_diffs())

    def update_from_diffs(self) -> tuple[Tensor, Tensor] | None:
        """Update the parameters; their diffs then hold what was taken from them, as in Caffe. What was clipped."""
        pairs = list(self.net.learnable_blobs())
        before = [blob.data.copy() for _, blob in pairs]
        for parameter, blob in pairs:
            parameter.grad = torch.from_numpy(blob.diff)
        clipped = self.work.update_parameters(self._rate())
        for (parameter, blob), old in zip(pairs, before, strict=True):
            parameter.grad = None
            blob.diff[...] = old - blob.data
        return clipped

    def apply_update(self) -> None:
        """Update from the diffs that stand in the net, and count an iteration."""
        self._count_update(self.update_from_diffs())


class Solver:
    """Trains the net of a solver prototxt (`file`), its nets as scripts know them. Base of the six classes."""

    type: ClassVar[str] = ""

    def __init__(self, file: str | os.PathLike[str]) -> None:
        param, positions = proto.read_solver_located(file)
        settle_prefix(param, Path(file))
        if self.type:
            param.type = self.type
        self._loop = StepwiseLoop(param, positions)
        self._net = Net.around(self._loop.net)
        self._test_nets = [Net.around(net) for net in self._loop.test_nets if isinstance(net, StepwiseNet)]

    @property
    def net(self) -> Net:
        return self._net

    @property
    def test_nets(self) -> list[Net]:
        """The nets to test; they use the weights of `net`."""
        return self._test_nets

    @property
    def iter(self) -> int:
        """How many updates were made."""
        return self._loop.iter

    @property
    def lr(self) -> float:
        """The learning rate of the next update. As in Caffe, `current_step` is then what it is at that update.

        So where several steps of `multistep` are due at once, each look takes one, as each iteration does.
        """
        rate, self._loop.current_step = self._loop.lr, self._loop.steps_at_next()
        return rate

    @property
    def param(self) -> proto.SolverParameter:
        """The SolverParameter; what is set there holds from the next iteration on."""
        return self._loop.param

    def step(self, iterations: int) -> None:
        """Train for that many iterations, with the tests, lines and snapshots that fall due."""
        self._loop.step(iterations)

    def solve(self, resume_file: str | os.PathLike[str] | None = None) -> None:
        """Train to max_iter, from a .solverstate where one is given."""
        if resume_file is not None:
            self.restore(resume_file)
        self._loop.solve()

    def restore(self, file: str | os.PathLike[str]) -> None:
        """Go on from a .solverstate or its HDF5 form."""
        self._loop.restore(file)

    def snapshot(self) -> None:
        """Write the weights and the solver's state."""
        self._loop.snapshot()

    def apply_update(self) -> None:
        """Update the weights from the diffs that stand in `net`, and count an iteration."""
        self._loop.apply_update()

    def share_weights(self, net: Net) -> None:
        """Let `net` use the memory of this solver's weights."""
        net.share_with(self._net)

    def add_callback(self, on_start: Callback, on_gradients_ready: Callback) -> None:
        """Call one before each iteration's passes, the other between them and the update."""
        self._loop.on_start.append(on_start)
        self._loop.on_gradients_ready.append(on_gradients_ready)


class SGDSolver(Solver):
    type = "SGD"


class NesterovSolver(Solver):
    type = "Nesterov"


class AdaGradSolver(Solver):
    type = "AdaGrad"


class RMSPropSolver(Solver):
    type = "RMSProp"


class AdaDeltaSolver(Solver):
    type = "AdaDelta"


class AdamSolver(Solver):
    type = "Adam"


_CLASSES = (SGDSolver, NesterovSolver, AdaGradSolver, RMSPropSolver, AdaDeltaSolver, AdamSolver)


def get_solver(file: str | os.PathLike[str]) -> Solver:
    """A solver of the type that the file names, Caffe's or one that Caffe does not have.

    Raises SolverError for a type that does not exist.
    """
    param, positions = proto.read_solver_located(file)
    with located(positions):
        rule_class(param)
    return next((cls for cls in _CLASSES if cls.type == param.type), Solver)(file)
