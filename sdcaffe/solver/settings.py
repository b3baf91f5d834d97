"""Whether a SolverParameter makes sense, asked before any net or data is touched."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from sdcaffe import proto
from sdcaffe.errors import SolverError, unknown
from sdcaffe.net.precision import PRECISIONS
from sdcaffe.solver import rates
from sdcaffe.solver.measures import MEASURES, Mean, measure_class
from sdcaffe.solver.nets import test_sources, train_source
from sdcaffe.solver.updates import RULES, check_regularization, rule_class

_COUNTS = (
    *("max_iter", "test_iter", "test_interval", "display", "snapshot", "stepsize", "stepvalue"),
    *("average_loss", "iter_size", "device_id", "warmup_iter"),
)
_FACTORS = (
    *("base_lr", "gamma", "power", "momentum", "momentum2", "rms_decay", "delta", "weight_decay"),
    *("clip_gradients", "warmup_start"),
)


@contextmanager
def located(positions: proto.Positions | None) -> Iterator[None]:
    """Errors inside get the line of the solver file that `positions` knows (None: none)."""
    try:
        yield
    except SolverError as error:
        if positions is not None and error.where is None:
            error.where = (error.field and positions.field(error.field)) or positions.filename
        raise


def check(param: proto.SolverParameter, positions: proto.Positions | None = None) -> None:
    """Raise SolverError, with the line of the file that `positions` knows, for what a solver cannot be made of."""
    with located(positions):
        _check(param)


def check_training(param: proto.SolverParameter, positions: proto.Positions | None = None) -> None:
    """`check`, and what makes no sense to train with, though Caffe takes some of it: counts below zero, rates and
    factors that are not finite, and what the first iteration would fail on. As in Caffe, a solver that makes none
    needs no rate.
    """
    with located(positions):
        _check_numbers(param, positions)
    check(param, positions)
    if param.max_iter > 0:
        with located(positions):
            rates.policy_of(param)
            check_regularization(param)


def _check_numbers(param: proto.SolverParameter, positions: proto.Positions | None) -> None:
    for field in _COUNTS + _FACTORS:
        value = getattr(param, field)
        repeated = not isinstance(value, (int, float))
        for i, number in enumerate(value if repeated else (value,)):
            needed = _flaw(field, number)
            if needed:
                where = positions.nth(field, i) if repeated and positions is not None else None
                raise SolverError(f"{field} is {number:g}; {needed}", where, field=field)


def _flaw(field: str, number: float) -> str:
    if field in _COUNTS:
        return "it must be 0 or more" if number < 0 else ""
    return "" if math.isfinite(number) else "it must be a finite number"


def _check(param: proto.SolverParameter) -> None:
    if "\0" in param.snapshot_prefix:
        raise SolverError("snapshot_prefix holds a zero byte, which no name of a file can", field="snapshot_prefix")
    for field in ("average_loss", "iter_size"):
        if getattr(param, field) < 1:
            raise SolverError(f"{field} must be at least 1, not {getattr(param, field)}", field=field)
    if not 0 <= param.ema_decay < 1:
        raise SolverError(f"ema_decay must lie in [0, 1), not {param.ema_decay:g}", field="ema_decay")
    if param.precision not in PRECISIONS:
        raise SolverError(unknown("precision", param.precision, PRECISIONS), field="precision")
    rule = rule_class(param)
    with RULES.blamed(rule):
        rule.check(param)
    train_source(param)
    test_sources(param)
    measure = measure_class(param)
    with MEASURES.blamed(measure):
        measure.check(param)
    if param.test_metrics and measure is not Mean:
        raise SolverError(
            f'test_metrics are of class scores; they go with no eval_type "{param.eval_type}"', field="test_metrics"
        )
