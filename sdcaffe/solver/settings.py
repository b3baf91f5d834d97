"""Whether a SolverParameter makes sense, asked before any net or data is touched."""

from __future__ import annotations

from typing import Any

from sdcaffe.errors import SolverError, unknown
from sdcaffe.net.precision import PRECISIONS
from sdcaffe.solver import rates
from sdcaffe.solver.nets import test_sources, train_source
from sdcaffe.solver.updates import UPDATES

_REGULARIZATIONS = ("L1", "L2")


def check(param: Any, positions: Any = None) -> None:
    """Raise SolverError, with the line of the file that `positions` knows, for what has no meaning."""
    try:
        _check(param)
    except SolverError as error:
        if positions is not None and error.where is None:
            error.where = (error.field and positions.field(error.field)) or positions.filename
        raise


def _check(param: Any) -> None:
    for field in ("average_loss", "iter_size"):
        if getattr(param, field) < 1:
            raise SolverError(f"{field} must be at least 1, not {getattr(param, field)}", field=field)
    if param.type not in UPDATES:
        raise SolverError(unknown("solver type", param.type, UPDATES), field="type")
    if param.regularization_type not in _REGULARIZATIONS:
        what = unknown("regularization_type", param.regularization_type, _REGULARIZATIONS)
        raise SolverError(what, field="regularization_type")
    if param.precision not in PRECISIONS:
        raise SolverError(unknown("precision", param.precision, PRECISIONS), field="precision")
    rates.check(param)
    UPDATES[param.type].check(param)
    train_source(param)
    test_sources(param)
