"""The nets a SolverParameter names: one to train, any number to test, each with its state."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sdcaffe import proto
from sdcaffe.errors import SolverError
from sdcaffe.log import glog

Source = tuple[str, "str | proto.NetParameter"]  # how a log names it; its path, or what the solver holds
T = TypeVar("T")
_FIELDS = ("net", "net_param", "train_net", "train_net_param")


def train_source(param: proto.SolverParameter) -> Source:
    """What to train. Raises SolverError unless exactly one field names a net."""
    named = [field for field in _FIELDS if param.HasField(field)]
    if len(named) != 1:
        found = f"it has {' and '.join(named)}" if named else "it has none"
        raise SolverError(f"a solver names its training net with one of {', '.join(_FIELDS)}; {found}")
    return _source(param, named[0])


def test_sources(param: proto.SolverParameter) -> list[Source]:
    """What to test, in Caffe's order: test_net_param, test_net, then the generic net for what test_iter is left.

    Raises SolverError where test_iter, test_state and the nets do not fit.
    """
    sources: list[Source] = [("test_net_param", net) for net in param.test_net_param]
    sources += [(f"test_net file: {path}", path) for path in param.test_net]
    generic = [field for field in ("net_param", "net") if param.HasField(field)]
    if generic:
        extra = len(param.test_iter) - len(sources)
        if extra < 0:
            raise _unequal("test_iter", len(param.test_iter), len(sources))
        sources += [_source(param, generic[0])] * extra
    elif len(param.test_iter) != len(sources):
        raise _unequal("test_iter", len(param.test_iter), len(sources))
    if param.test_state and len(param.test_state) != len(sources):
        raise _unequal("test_state", len(param.test_state), len(sources))
    if any(batches < 1 for batches in param.test_iter):
        raise SolverError(f"test_iter is {min(param.test_iter)}; a test takes 1 batch or more", field="test_iter")
    if sources and param.test_interval <= 0:
        raise SolverError(f"testing needs a test_interval above 0, not {param.test_interval}", field="test_interval")
    return sources


def _unequal(field: str, count: int, nets: int) -> SolverError:
    return SolverError(f"{count} {field} for {nets} test nets; give one for each", field=field)


def read_source(
    source: Source, phase: int, state: proto.NetState | None, build: Callable[..., T], *, ignore_unknown: bool = False
) -> T:
    """Read the net, merge its state (phase, then its own, then the solver's) and `build` it, errors located."""
    given, positions = source[1], None
    if isinstance(given, str):
        net, positions = proto.read_net_located(given, ignore_unknown=ignore_unknown)
    else:
        net = proto.copied(given)
    merged = proto.NetState(phase=phase)
    merged.MergeFrom(net.state)
    if state is not None:
        merged.MergeFrom(state)
    net.state.CopyFrom(merged)
    return build(net, merged.phase, positions=positions)


def _source(param: proto.SolverParameter, field: str) -> Source:
    value = getattr(param, field)
    if isinstance(value, str):
        return (f"{field} file: {value}", value)
    return (field, value)


def log_creation(source: Source, test_index: int | None) -> None:
    name, given = source
    if test_index is None:
        how = f"from {name}" if isinstance(given, str) else f"specified in {name}."
        glog("solver.cpp:102", f"Creating training net {how}")
    else:
        glog("solver.cpp:190", f"Creating test net (#{test_index}) specified by {name}")
