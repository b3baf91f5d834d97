"""The training loop: forward, backward, update, test, display, snapshot, in Caffe's order."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor

from sdcaffe import collectives, hooks, proto
from sdcaffe.errors import SharingError, SolverError
from sdcaffe.layers.base import Layer
from sdcaffe.log import Progress, glog, number, started
from sdcaffe.net import Net, room
from sdcaffe.net.net import Batch
from sdcaffe.net.precision import BF16, allow_tf32
from sdcaffe.net.weights import Files, Weights, file_names
from sdcaffe.solver import rates, settings, snapshot
from sdcaffe.solver.average import Average
from sdcaffe.solver.captured import make_step
from sdcaffe.solver.devices import choose_device
from sdcaffe.solver.lines import Scores, flat, log_clipping, log_iteration, log_outputs
from sdcaffe.solver.measures import measure_class
from sdcaffe.solver.nets import Source, log_creation, read_source, test_sources, train_source
from sdcaffe.solver.reporting import report, single
from sdcaffe.solver.snapshot import Loaded
from sdcaffe.solver.step import Result, Step
from sdcaffe.solver.testing import test
from sdcaffe.solver.trainee import Trainee
from sdcaffe.solver.updates import rule_class

REQUESTS = (None, "snapshot", "stop")  # the later one wins where processes differ
FINITE_CHECK = 100  # iterations between looks at the loss on a GPU that displays nothing: each waits for the device


class Solver:
    """Trains the net that a solver prototxt describes.

    `source` is a path or a SolverParameter; `weights` are .caffemodel files to start from, in place of the solver's
    own; `device` ("cpu", "cuda:0") overrides solver_mode and device_id. `action` is asked once an iteration and
    answers None, "snapshot" or "stop". `ignore_unknown` reads past fields that Caffe does not have; `positions` says
    where the fields of a SolverParameter stand in a file. Raises the errors of what it reads, SolverError for settings.

    - `net`, `test_nets`: share their parameters
    - `iter`: updates done; `lr`: rate of the next one; `loss`: smoothed over average_loss iterations
    - `memory`: what a policy that follows the loss keeps; `average`: the averaged weights, with ema_decay
    - `current_step`: how often `step` or `multistep` had dropped the rate at the last update; states keep it
    """

    net_class: type[Net] = Net

    def __init__(
        self,
        source: str | os.PathLike[str] | proto.SolverParameter,
        *,
        weights: Files | None = None,
        device: str | torch.device | None = None,
        action: Callable[[], str | None] = lambda: None,
        progress: Progress | None = None,
        ignore_unknown: bool = False,
        positions: proto.Positions | None = None,
    ) -> None:
        if isinstance(source, (str, os.PathLike)):
            file = Path(source)
            source, positions = proto.read_solver_located(file, ignore_unknown=ignore_unknown)
            snapshot.settle_prefix(source, file)
        self.param = param = proto.copied(source)
        self.action = action
        self._ignore_unknown = ignore_unknown
        self._positions = positions
        self.progress = progress or Progress()
        glog("solver.cpp:45", f"Initializing solver from parameters: \n{proto.text.format(param)}")
        settings.check(param, positions)
        self.device = choose_device(param, device)
        rank, world = collectives.rank_and_world()
        seed = param.random_seed if param.random_seed >= 0 else None
        if world > 1:  # one seed for weights and the order of data, another a process for what is drawn on it
            glog("parallel.cpp:212", f"Training in {world} processes")
            seed = collectives.from_root(torch.initial_seed() if seed is None else seed)
        if seed is not None:
            torch.manual_seed(seed)
        self.iter = 0
        self.current_step = 0
        self.memory: dict[str, float] = {}
        given = Weights(_weights_of(param) if weights is None else weights)
        self.net = self._train_net(train_source(param), given)
        tests = test_sources(param)
        self._untestable: dict[int, SharingError] = {}
        self.test_nets = [self._test_net(i, test, given) for i, test in enumerate(tests)]
        if seed is not None and world > 1:
            torch.manual_seed(seed + rank)  # as Caffe's solvers do
        self.trainee = Trainee(self.net, shares_statistics=param.sync_batch_norm)
        rule = rule_class(param)
        room.check_learning((item.tensor for item in self.net.learnable), rule.histories)
        self.update = rule(param, self.net.learnable)
        self.average = Average(self.net, param.ema_decay) if param.ema_decay else None
        self._told = [layer for layer in self.net.layers.values() if type(layer).begin is not Layer.begin]
        self.work = Step(self.net, self.trainee, self.update, param)
        self.step_once = make_step(self.work, self.device)
        self.test_scores: list[Scores] = [[] for _ in tests]
        self.losses: deque[Tensor] = deque(maxlen=param.average_loss)
        self._stop = False
        self._last_snapshot: int | None = None
        self.net.precision = param.precision
        if param.precision == BF16 and tests:  # a test says what the weights are worth, not what rounding costs
            glog("solver.cpp:57", "Tests are computed in fp32")
        if self.device.type == "cuda":
            allow_tf32(param.precision)
        glog("solver.cpp:57", "Solver scaffolding done.")

    # ---------------------------------------------------------------- nets

    def _train_net(self, source: Source, weights: Weights) -> Net:
        log_creation(source, None)

        def build(net: proto.NetParameter, phase: int, positions: proto.Positions | None) -> Net:
            return self.net_class(net, phase, weights, device=self.device, positions=positions)

        state = self.param.train_state
        return read_source(source, proto.TRAIN, state, build, ignore_unknown=self._ignore_unknown)

    def _test_net(self, index: int, source: Source, weights: Weights) -> Net:
        log_creation(source, index)

        def build(net: proto.NetParameter, phase: int, positions: proto.Positions | None) -> Net:
            only_here = {layer.name for layer in net.layer} - {step.layer.name for step in self.net.graph.steps}
            files = weights if only_here & weights.names else None
            try:
                return self.net_class(net, phase, files, device=self.device, share=self.net, positions=positions)
            except SharingError as error:  # Caffe's nets share weights when a test begins
                self._untestable[index] = error
                return self.net_class(net, phase, device=self.device, positions=positions)

        states = self.param.test_state
        state = states[index] if states else None
        return read_source(source, proto.TEST, state, build, ignore_unknown=self._ignore_unknown)

    # ---------------------------------------------------------------- training

    @property
    def lr(self) -> float:
        """The rate of the next update. Raises SolverError where lr_policy gives none."""
        with settings.located(self._positions):
            return rates.learning_rate(self.param, self.iter, self.current_step)

    def steps_at_next(self) -> int:
        """What `current_step` is at the next update. Raises SolverError where lr_policy is none."""
        policy = rates.policy_of(self.param)
        if rates.warming_up(self.param, self.iter):
            return self.current_step
        with rates.POLICIES.blamed(policy):
            return policy.steps(self.iter, self.current_step)

    @property
    def loss(self) -> float:
        """The mean loss of the last average_loss iterations, on this process; nan before the first."""
        return float(torch.stack(list(self.losses)).mean()) if self.losses else math.nan

    def _global_loss(self) -> float:
        """The same over all processes; each has to ask."""
        return float(collectives.averaged(torch.stack(list(self.losses)).mean()))

    def solve(self) -> None:
        """Train to max_iter, with Caffe's last display, test and snapshot."""
        _exhaust(self.turns())

    def turns(self) -> Iterator[None]:
        """`solve` bit by bit: goes on by an iteration, or by a batch of a test, each time it is asked to."""
        param = self.param
        glog("solver.cpp:289", f"Solving {self.net.name}")
        glog("solver.cpp:290", f"Learning Rate Policy: {param.lr_policy}")
        self._stop = False
        yield from self._steps(param.max_iter - self.iter)
        if param.snapshot_after_train and self._last_snapshot != self.iter:
            self.snapshot()
        if self._stop:
            glog("solver.cpp:322", "Optimization stopped early.")
            return
        self._prepare(done=True)
        if param.display and self.iter % param.display == 0:
            with torch.no_grad():
                self.losses.append(self.trainee(self.net.load()).loss.detach())
            glog("solver.cpp:327", f"Iteration {self.iter}, loss = {number(self._global_loss())}")
        if param.test_interval and self.iter % param.test_interval == 0:
            yield from self._tests()
        glog("solver.cpp:332", "Optimization Done.")

    def step(self, iterations: int) -> None:
        """Make that many updates (fewer where a stop is asked for)."""
        _exhaust(self._steps(iterations))

    def _steps(self, iterations: int) -> Iterator[None]:
        param = self.param
        stop_iter = self.iter + iterations
        shown, since = self.iter, time.perf_counter()
        while self.iter < stop_iter and not self._stop:
            self._prepare(done=False)
            due = param.test_interval and self.iter % param.test_interval == 0
            if due and (self.iter > 0 or param.test_initialization):
                yield from self._tests()
                if self._stop:
                    break
            result = self._iterate()
            if param.display and self.iter % param.display == 0:
                seconds = time.perf_counter() - since
                self._display(result.outputs, self.iter - shown, seconds)
                shown, since = self.iter, time.perf_counter()
            self._count_update(result.clipped)
            self._report(result.outputs)
            request = self._request()
            if request == "snapshot" or (param.snapshot and self.iter % param.snapshot == 0):
                self.snapshot()
            self._stop = self._stop or request == "stop"
            yield

    def _prepare(self, done: bool) -> None:
        for prepare in hooks.before_iteration:
            prepare(self, done)

    def _iterate(self) -> Result:
        """Forward, backward and update of one iteration."""
        for layer in self._told:
            layer.begin(self.iter)
        batches = (self.net.load() for _ in range(self.param.iter_size))
        try:
            if self._follows_loss():
                result = self._step_by_loss(batches)
            else:
                result = self.step_once(batches, self._rate())
            if self.device.type != "cpu" and self.iter % (self.param.display or FINITE_CHECK) == 0:
                self.work.check_finite(result.loss)
        except SolverError as error:
            raise SolverError(f"at iteration {self.iter} {error}. {self._kept()}") from None
        self.losses.append(result.loss)
        started()
        return result

    def _follows_loss(self) -> bool:
        return rates.policy_of(self.param).follows_loss

    def _rate(self) -> float:
        """What the update of this iteration multiplies its step by."""
        self.update.begin(self.iter)
        return self.lr * self.update.correction(self.iter)

    def _step_by_loss(self, batches: Iterable[Batch]) -> Result:
        """An iteration whose rate depends on its own loss: this is not recorded, and a GPU is waited for."""
        loss, outputs = self.work.gradients(batches)
        self._observe(loss)
        return Result(loss, outputs, self.work.update_parameters(self._rate()))

    def _observe(self, loss: Tensor) -> None:
        """Tell a policy that follows the loss that of this iteration."""
        recent = [*self.losses, loss][-self.param.average_loss :]
        smoothed = float(collectives.averaged(torch.stack(recent).mean()))
        with settings.located(self._positions):
            self.current_step = rates.observed(self.param, self.iter, self.current_step, smoothed, self.memory)

    def _count_update(self, clipped: tuple[Tensor, Tensor] | None) -> None:
        """Log the update that was made, and count it."""
        param, display = self.param, self.param.display and self.iter % self.param.display == 0
        policy, steps = rates.policy_of(param), self.steps_at_next()
        if policy.status and steps != self.current_step:
            glog("sgd_solver.cpp:50", f"{policy.status}: Iteration {self.iter}, step = {steps}")
        if display:
            glog("sgd_solver.cpp:112", f"Iteration {self.iter}, lr = {number(self.lr)}")
        if clipped is not None and (display or self.device.type == "cpu"):
            log_clipping(clipped, param)
        self.iter, self.current_step = self.iter + 1, steps
        if self.average is not None:
            self.average.update()

    def _report(self, outputs: dict[str, Tensor]) -> None:
        if self.progress.due():
            report(self.progress, self.net, self.param, self.iter, outputs, loss=self.loss, lr=self.lr)

    def _display(self, outputs: dict[str, Tensor], iterations: int, seconds: float) -> None:
        loss, scores = self._global_loss(), Scores()
        log_iteration(self.iter, (iterations, seconds), self.param.display, loss)
        if outputs:
            names, values = flat(outputs)
            scores = list(zip(names, collectives.averaged(values).tolist(), strict=True))
            log_outputs("solver.cpp:258", "Train", scores, self.net.loss_weights)
        each = seconds / max(iterations, 1)
        told = {name: value for name, value in scores if name in single(outputs)}
        self.progress.displayed(self.iter, loss=loss, lr=self.lr, seconds=each, outputs=told)

    # ---------------------------------------------------------------- testing

    def test_all(self) -> None:
        """Run every test net over its test_iter batches and log the mean of each output."""
        _exhaust(self._tests())

    def _tests(self) -> Iterator[None]:
        for index in range(len(self.test_nets)):
            if self._stop:
                return
            yield from self._test(index)

    def _test(self, index: int) -> Iterator[None]:
        net = self.test_nets[index]
        glog("solver.cpp:347", f"Iteration {self.iter}, Testing net (#{index})")
        if index in self._untestable:
            raise self._untestable[index]
        with nullcontext() if self.average is None else self.average.used():
            collectives.spread([blob for blobs in self.net.params.values() for blob in blobs if not blob.requires_grad])
            measure = measure_class(self.param)(self.param, net)
            scores = yield from test(net, measure, self.param.test_iter[index], self._stopped_while_testing)
        if scores is not None:
            self.test_scores[index] = scores
            self.progress.tested(index, dict(scores), self.iter)

    def _stopped_while_testing(self) -> bool:
        request = self.action()
        if request == "snapshot":
            self.snapshot()
        elif request == "stop":
            self._stop = True
            glog("solver.cpp:388", "Test interrupted.")
        return self._stop

    def _request(self) -> str | None:
        """What the action asks for; of several processes, what any of them asks for."""
        if collectives.rank_and_world()[1] == 1:
            return self.action()
        if self.device.type != "cpu" and self.iter % FINITE_CHECK:
            return None  # of thousands of processes, a question takes longer than an iteration
        asked = collectives.largest(REQUESTS.index(self.action()))
        return REQUESTS[asked]

    # ---------------------------------------------------------------- snapshots

    def snapshot(self) -> str:
        """Write weights and state at the present iteration; returns the state's path.

        Raises SolverError for numbers that are not finite: the snapshot before stays the last.
        """
        tensors = [*self.net.parameters(), *self.update.history, *self.losses]
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
            raise SolverError(f"no snapshot of iteration {self.iter}: not all its weights are finite. {self._kept()}")
        with nullcontext() if self.average is None else self.average.used(False):  # a test may be under way
            path = snapshot.save(self)
        self.progress.saved(path)
        self._last_snapshot = self.iter
        return path

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Go on from a .solverstate (or .solverstate.h5). Raises SnapshotError or WeightsError."""
        self._go_on(snapshot.load(path))

    def restore_newest(self) -> Path | None:
        """Go on from the newest whole snapshot of snapshot_prefix, if there is any; returns its path.

        Broken ones are passed over with a warning; one of another net or solver type is an error, lest a run
        begin anew over it.
        """
        loaded = snapshot.load_newest(self.param.snapshot_prefix) if collectives.is_root() else None
        path = collectives.from_root(None if loaded is None else loaded.path)
        if path is None:
            return None
        self._go_on(loaded or snapshot.load(path))
        return path

    def _go_on(self, loaded: Loaded) -> None:
        snapshot.apply(self, loaded)
        self._last_snapshot = self.iter

    def _kept(self) -> str:
        if self._last_snapshot is None:
            return "Start again with a lower base_lr or with clip_gradients"
        return (
            f"The snapshot of iteration {self._last_snapshot} is kept: resume it with a lower base_lr or "
            "with clip_gradients"
        )

    def close(self) -> None:
        self.trainee.close()
        for net in (self.net, *self.test_nets):
            net.close()


def _weights_of(param: proto.SolverParameter) -> list[str]:
    """The files that a solver starts from; each entry may be a list with commas."""
    return [name for entry in param.weights for name in file_names(entry)]


def _exhaust(turns: Iterator[None]) -> None:
    for _ in turns:
        pass
