"""Snapshots: what a run needs to go on exactly, in files that BVLC Caffe opens.

`PREFIX_iter_N.caffemodel` holds the weights, `PREFIX_iter_N.solverstate` the rest. What Caffe's SolverState
has no field for (generators, data cursors, the loss window) is JSON in a field that Caffe ignores.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import zlib
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from sdcaffe import collectives, proto
from sdcaffe.errors import SdcaffeError, SnapshotError
from sdcaffe.layers.base import DataLayer
from sdcaffe.log import glog
from sdcaffe.net import Net
from sdcaffe.net.weights import Weights
from sdcaffe.solver.updates import UpdateRule

_NAME = re.compile(r"_iter_(\d+)\.solverstate(\.h5)?$")


class Run(Protocol):
    """What a snapshot holds of a solver. `losses` are those that the smoothed loss is the mean of."""

    param: proto.SolverParameter
    iter: int
    current_step: int
    device: torch.device
    net: Net
    test_nets: list[Net]
    update: UpdateRule
    losses: deque[torch.Tensor]


def settle_prefix(param: proto.SolverParameter, solver_file: Path) -> str | None:
    """Name snapshots after the solver file where snapshot_prefix is missing or a folder; says so in Caffe's words."""
    if not param.snapshot_prefix:
        param.snapshot_prefix = str(solver_file.with_suffix(""))
        return f"snapshot_prefix was not specified and is set to {param.snapshot_prefix}"
    if Path(param.snapshot_prefix).is_dir():
        param.snapshot_prefix = str(Path(param.snapshot_prefix) / solver_file.stem)
        return f"snapshot_prefix was a directory and is replaced to {param.snapshot_prefix}"
    return None


def save(solver: Run) -> str:
    """Write both files, weights first, each whole or not at all. Returns the state's path.

    Of several processes the root writes, and all of them call this.
    """
    param = solver.param
    hdf5 = param.snapshot_format == proto.SolverParameter.HDF5
    stem, suffix = f"{param.snapshot_prefix}_iter_{solver.iter}", ".h5" if hdf5 else ""
    model, state = f"{stem}.caffemodel{suffix}", f"{stem}.solverstate{suffix}"
    kind = "HDF5" if hdf5 else "binary proto"
    extra = _extra(solver)
    if collectives.is_root():
        try:
            Path(model).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SnapshotError(f'snapshot_prefix "{param.snapshot_prefix}": {error.strerror}') from error
        glog("solver.cpp:464", f"Snapshotting to {kind} file {model}")
        solver.net.save(model)
        extra["model"] = _digest(Path(model))
        glog("sgd_solver.cpp:284", f"Snapshotting solver state to {kind} file {state}")
        proto.write_state(
            state,
            proto.State(
                iter=solver.iter,
                learned_net=model,
                current_step=solver.current_step,
                history=[h.detach().cpu().contiguous().numpy() for h in solver.update.history],
                sdcaffe_state=json.dumps(extra).encode(),
            ),
        )
    return str(collectives.from_root(state))  # which also makes the others wait until it is written


@dataclass
class Loaded:
    """A snapshot read from its files and found whole; whether it fits a solver is another question."""

    path: Path
    state: proto.State
    extra: dict[str, Any]
    weights: Weights


def load(path: str | os.PathLike[str]) -> Loaded:
    """Read a state and the weights it names. Raises SnapshotError or WeightsError for files that are not whole."""
    path = Path(path)
    state = proto.read_state(path)
    extra = _parse_extra(state.sdcaffe_state, path)
    model = _beside(path, state.learned_net) if state.learned_net else None
    if model is not None and extra.get("model", _digest(model)) != _digest(model):
        raise SnapshotError(f"{model} is not the weights file that was written with it", where=str(path))
    if state.iter < 0 or state.current_step < 0:
        raise SnapshotError(f"iter {state.iter} and current_step {state.current_step} cannot be negative", str(path))
    weights = Weights([str(model)] if model is not None else None, exact=bool(extra))
    arrays = [a for entry in weights.entries for a in entry.blobs if a is not None]
    if not all(np.isfinite(array).all() for array in (*arrays, *state.history)):
        raise SnapshotError("it holds numbers that are not finite", where=str(path))
    return Loaded(path, state, extra, weights)


def apply(solver: Run, loaded: Loaded) -> None:
    """Put the solver where the snapshot left it.

    A state that Caffe wrote has no generators or cursors: those stay as they are. Raises SnapshotError or
    WeightsError, and changes nothing, for one of another solver type or net.
    """
    state, extra, where = loaded.state, loaded.extra, str(loaded.path)
    kind = extra.get("type", solver.param.type)
    if kind != solver.param.type:
        raise SnapshotError(f"state of a {kind} solver, but this solver is {solver.param.type}", where=where)
    history = solver.update.history
    have, want = [h.shape for h in state.history], [tuple(h.shape) for h in history]
    if len(have) != len(want):
        raise SnapshotError(
            f"{len(have)} history blobs, but for this net type {solver.param.type} has {len(want)}: "
            "it belongs to another net or solver type",
            where=where,
        )
    for i, (values, target) in enumerate(zip(state.history, history, strict=True)):
        if values.shape != tuple(target.shape) and values.shape != (1,) * (4 - target.dim()) + tuple(target.shape):
            raise SnapshotError(
                f"history blob {i} has shape {values.shape}, this net needs {tuple(target.shape)}", where=where
            )
    solver.net.load_weights(loaded.weights)
    with torch.no_grad():
        for values, target in zip(state.history, history, strict=True):
            target.copy_(torch.from_numpy(np.array(values, dtype=np.float32)).reshape(target.shape))
    solver.iter, solver.current_step = state.iter, state.current_step
    if extra:
        _apply_extra(solver, extra)
    glog("sgd_solver.cpp:336", "SGDSolver: restoring history")


def newest(prefix: str) -> list[Path]:
    """State files of a snapshot prefix, the last written first: a later run's come before an earlier one's."""
    folder = Path(prefix).parent
    stem = Path(prefix).name
    found = []
    for path in folder.glob("*") if folder.is_dir() else ():
        match = _NAME.search(path.name)
        if match and path.name[: match.start()] == stem:
            found.append((path.stat().st_mtime_ns, int(match[1]), path))
    return [path for _, _, path in sorted(found, reverse=True)]


def load_newest(prefix: str) -> Loaded | None:
    """The newest whole snapshot of a prefix; files that are not whole are named and passed over."""
    for path in newest(prefix):
        try:
            return load(path)
        except SdcaffeError as error:
            glog("caffe.cpp:235", f"Passing over a broken snapshot: {error}", logging.WARNING)
    return None


def _digest(model: Path) -> int:
    return zlib.crc32(model.read_bytes())


def _beside(path: Path, learned_net: str) -> Path:
    """The weights a state names: beside the state file, for snapshots move; else as written."""
    named = Path(learned_net)
    beside = path.parent / named.name
    if not named.exists() and not beside.exists():
        raise SnapshotError(f"its weights {learned_net} are missing, here and beside it", where=str(path))
    return beside if beside.exists() else named


def _extra(solver: Run) -> dict[str, Any]:
    generators = {"cpu": _text(torch.get_rng_state())}
    if solver.device.type == "cuda":
        generators["cuda"] = _text(torch.cuda.get_rng_state(solver.device))
    return {
        "type": solver.param.type,
        "generators": collectives.at_root(generators),
        "nets": [_net_state(net) for net in (solver.net, *solver.test_nets)],
        "losses": [float(loss) for loss in solver.losses],
    }


def _net_state(net: Net) -> dict[str, Any]:
    """Where the data layers are, and what layers carry from one pass to the next (LSTM)."""
    return {
        "data": {key: [layer.cursor, layer.seed, _batch_size(net, layer)] for key, layer in _data_layers(net)},
        "buffers": {name: [list(b.shape), _text(b.detach().cpu().float())] for name, b in _carried(net).items()},
    }


def _data_layers(net: Net) -> list[tuple[str, DataLayer]]:
    """Those of a net, by key: of several that share a name each has its own place in the data."""
    return [(key, layer) for key, layer in net.layers.items() if isinstance(layer, DataLayer)]


def _batch_size(net: Net, layer: DataLayer) -> int:
    shape = net.blob_shapes[layer.layer_param.top[0]]
    return shape[0] if shape else 1


def _carried(net: Net) -> dict[str, torch.Tensor]:
    kept = net.state_dict(keep_vars=True)
    return {name: buffer for name, buffer in net.named_buffers() if name in kept}


def _apply_extra(solver: Run, extra: dict[str, Any]) -> None:
    rank, world = collectives.rank_and_world()
    saved = len(extra["generators"])
    same = world == saved
    _set_generators(solver, extra["generators"][rank if same else 0], None if same else rank)
    for net, state in zip((solver.net, *solver.test_nets), extra["nets"], strict=False):
        for key, layer in _data_layers(net):
            if key in state["data"]:
                layer.cursor, layer.seed, size = state["data"][key]
                if net is solver.net:  # as many images on, whatever the processes and their batches
                    layer.cursor = layer.cursor * size * saved // (_batch_size(net, layer) * world)
        buffers = _carried(net)
        for name, (shape, values) in state["buffers"].items():
            if name in buffers and list(buffers[name].shape) == shape:
                buffers[name].copy_(_tensor(values, torch.float32).reshape(shape))
    solver.losses.clear()
    solver.losses.extend(torch.tensor(loss, device=solver.device) for loss in extra["losses"])


def _set_generators(solver: Run, generators: dict[str, str], rank: int | None) -> None:
    """Restore torch's generators; with `rank`, then part them: other processes than these were saved."""
    torch.set_rng_state(_tensor(generators["cpu"], torch.uint8))
    if "cuda" in generators and solver.device.type == "cuda":
        torch.cuda.set_rng_state(_tensor(generators["cuda"], torch.uint8), solver.device)
    if rank is not None:
        parts = np.random.SeedSequence((torch.initial_seed() % 2**64, solver.iter, rank))
        torch.manual_seed(int(parts.generate_state(1, np.uint64)[0]))


def _parse_extra(text: bytes, path: Path) -> dict[str, Any]:
    if not text:
        return {}
    try:
        extra = json.loads(text)
    except ValueError as error:
        raise SnapshotError(f"its sdcaffe_state is broken ({error})", where=str(path)) from None
    wanted = {"type", "generators", "nets", "losses"}
    if not isinstance(extra, dict) or not wanted <= extra.keys():
        raise SnapshotError(f"its sdcaffe_state lacks some of {', '.join(sorted(wanted))}", where=str(path))
    return extra


def _text(values: torch.Tensor) -> str:
    return base64.b64encode(values.contiguous().numpy().tobytes()).decode()


def _tensor(text: str, dtype: torch.dtype) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=dtype)
