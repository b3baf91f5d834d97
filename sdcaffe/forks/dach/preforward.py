"""CAFFE-DACH's preforward passes: before an iteration its solver runs the net forward, for layers that look ahead.

Holds no layer type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import torch

from sdcaffe import hooks, proto
from sdcaffe.errors import SolverError
from sdcaffe.layers.base import Layer

if TYPE_CHECKING:
    from sdcaffe.solver.solver import Solver


class PreforwardParameter:
    """Theirs are 43 to 45, of which SSD has two."""

    preforward_termination: Annotated[bool, 1043] = False
    preforward_interval: Annotated[int, 1044] = 0
    preforward_iter: Annotated[int, 1045] = 0


proto.schema.extend("SolverParameter", PreforwardParameter)


class LooksAhead(Layer):
    """A layer that does more in a preforward pass than compute its top."""

    ahead: bool = False  # whether the pass is one

    def look_ahead(self, on: bool) -> None:
        """Told before the first of several preforward passes, and behind the last."""
        self.ahead = on


def look_ahead(solver: Solver, done: bool) -> None:
    """Make the passes that are due, on batches of their own and without a gradient.

    As in CAFFE-DACH (JiahaoLi-gdut/CAFFE-DACH@388c826): preforward_iter of them before every preforward_interval-th
    iteration and its test; with preforward_termination, also when training is done.
    """
    param = solver.param
    for field in ("preforward_interval", "preforward_iter"):
        if getattr(param, field) < 0:
            raise SolverError(f"{field} is {getattr(param, field)}; it must be 0 or more", field=field)
    due = param.preforward_interval and solver.iter % param.preforward_interval == 0
    if not param.preforward_iter or not (due or (done and param.preforward_termination)):
        return
    layers = [layer for layer in solver.net.layers.values() if isinstance(layer, LooksAhead)]
    for layer in layers:
        layer.begin(solver.iter)
        layer.look_ahead(True)
    try:
        with torch.no_grad():
            for _ in range(param.preforward_iter):
                solver.trainee(solver.net.load())
    finally:
        for layer in layers:
            layer.look_ahead(False)


hooks.before_iteration.append(look_ahead)
