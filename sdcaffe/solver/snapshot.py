"""Snapshots: what a run needs to go on exactly, in files that BVLC Caffe opens.

`PREFIX_iter_N.caffemodel` holds the weights, `PREFIX_iter_N_ema.caffemodel` their averages where a solver has an
ema_decay, `PREFIX_iter_N.solverstate` the rest. What Caffe's SolverState
has no field for (generators, data cursors, the loss window) is a text in a field that Caffe ignores; see kept.py.
"""

from __future__ import annotations

import logging
import os
import re
import zlib
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from sdcaffe import collectives, proto, reading, writing
from sdcaffe.errors import SdcaffeError, SnapshotError, WeightsError
from sdcaffe.layers.base import DataLayer
from sdcaffe.log import glog
from sdcaffe.net import Net
from sdcaffe.net.weights import Weights
from sdcaffe.reading import StrPath
from sdcaffe.solver.average import Average
from sdcaffe.solver.kept import Kept, NetState, read, write
from sdcaffe.solver.updates import UpdateRule
from sdcaffe.terminal import shown

_PIECE = 1 << 22  # bytes of a file read together
_NAME = re.compile(r"_iter_(\d+)\.solverstate(\.h5)?$")


class Run(Protocol):
    """What a snapshot holds of a solver. `losses` are those that the smoothed loss is the mean of, `memory` is what its
    learning-rate policy keeps.
    """

    param: proto.SolverParameter
    iter: int
    current_step: int
    device: torch.device
    net: Net
    test_nets: list[Net]
    update: UpdateRule
    losses: deque[torch.Tensor]
    memory: dict[str, float]
    average: Average | None


def settle_prefix(param: proto.SolverParameter, solver_file: Path) -> str | None:
    """Name snapshots after the solver file where snapshot_prefix is missing or a folder; says so in Caffe's words."""
    if not param.snapshot_prefix:
        prefix = solver_file.with_suffix("")
        if shown(str(prefix.parent)) != str(prefix.parent):  # which no message can hold
            raise SnapshotError("its folder's name is not UTF-8: give the solver a snapshot_prefix", str(solver_file))
        param.snapshot_prefix = str(prefix.with_name(shown(prefix.name)))
        return f"snapshot_prefix was not specified and is set to {param.snapshot_prefix}"
    if Path(param.snapshot_prefix).is_dir():
        param.snapshot_prefix = str(Path(param.snapshot_prefix) / shown(solver_file.stem))
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
    kept = _kept_of(solver)
    if collectives.is_root():
        try:
            writing.make_folders(Path(model).parent)
        except OSError as error:
            raise SnapshotError(f'snapshot_prefix "{param.snapshot_prefix}": {error.strerror}') from error
        glog("solver.cpp:464", f"Snapshotting to {kind} file {model}")
        solver.net.save(model)
        kept.model = _digest(model)
        if solver.average is not None:
            averages = averages_beside(model)
            glog("solver.cpp:464", f"Averaged weights: {averages}")
            with solver.average.used():
                solver.net.save(averages)
            kept.average = _digest(averages)
        glog("sgd_solver.cpp:284", f"Snapshotting solver state to {kind} file {state}")
        written = proto.State(
            iter=solver.iter,
            learned_net=model,
            current_step=solver.current_step,
            history=[h.detach().cpu().contiguous().numpy() for h in solver.update.history],
        )
        if hdf5:
            kept.numbers = _numbers(written)
        written.sdcaffe_state = write(kept)
        proto.write_state(state, written)
        _date_last(Path(state), param.snapshot_prefix)
    return str(collectives.from_root(state))  # which also makes the others wait until it is written


@dataclass
class Loaded:
    """A snapshot read from its files and found whole; whether it fits a solver is another question."""

    path: Path
    state: proto.State
    kept: Kept | None  # None where Caffe wrote the state
    weights: Weights
    averages: Weights | None = None


def load(path: str | os.PathLike[str]) -> Loaded:
    """Read a state and the weights it names. Raises SnapshotError or WeightsError for files that are not whole."""
    path = Path(path)
    state = proto.read_state(path)
    kept = read(state.sdcaffe_state, str(path)) if state.sdcaffe_state else None
    if kept is not None and kept.numbers is not None and kept.numbers != _numbers(state):
        raise SnapshotError("is damaged: its checksum does not fit its numbers", where=str(path))
    model = _model_of(state, kept, path) if state.learned_net else None
    if state.iter < 0 or state.current_step < 0:
        raise SnapshotError(f"iter {state.iter} and current_step {state.current_step} cannot be negative", str(path))
    weights = Weights([str(model)] if model is not None else None, exact=kept is not None)
    arrays = [a for entry in weights.entries for a in entry.blobs if a is not None]
    if not all(np.isfinite(array).all() for array in (*arrays, *state.history)):
        raise SnapshotError("it holds numbers that are not finite", where=str(path))
    averages = None
    if kept is not None and kept.average is not None and model is not None:
        file = averages_beside(model)
        if _digest(file) != kept.average:
            raise SnapshotError(f"{file} is not the file of averaged weights that was written with it", str(path))
        averages = Weights([str(file)], exact=True)
    return Loaded(path, state, kept, weights, averages)


def apply(solver: Run, loaded: Loaded) -> None:
    """Put the solver where the snapshot left it.

    A state that Caffe wrote has no generators or cursors: those stay as they are. Raises SnapshotError or
    WeightsError, and changes nothing, for one of another solver type or net.
    """
    state, kept, where = loaded.state, loaded.kept, str(loaded.path)
    if kept is not None and kept.type != solver.param.type:
        raise SnapshotError(f"state of a {kept.type} solver, but this solver is {solver.param.type}", where=where)
    if kept is not None:
        _check_cuda(solver, kept, where)
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
    if solver.average is not None:
        solver.average.restart()
        if loaded.averages is not None:
            with solver.average.used():
                solver.net.load_weights(loaded.averages)
    if kept is not None:
        _apply_kept(solver, kept)
    glog("sgd_solver.cpp:336", "SGDSolver: restoring history")


def clear(prefix: str) -> None:
    """Remove what a killed run of this prefix was writing."""
    stem = re.escape(Path(prefix).name)
    target = re.compile(rf"{stem}_iter_\d+(_ema)?\.(caffemodel|solverstate)(\.h5)?")
    writing.clear(str(Path(prefix).parent), lambda name: target.fullmatch(name) is not None)


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


def _date_last(state: Path, prefix: str) -> None:
    """Date a state behind the others of its prefix, also where the clock has jumped back: `newest` goes by that."""
    latest = max((path.stat().st_mtime_ns for path in newest(prefix) if path != state), default=0)
    if state.stat().st_mtime_ns <= latest:
        with suppress(OSError, OverflowError):  # not every file system takes any date: then the iteration decides
            os.utime(state, ns=(latest, latest + 1_000_000))


def load_newest(prefix: str) -> Loaded | None:
    """The newest whole snapshot of a prefix; files that are not whole are named and passed over."""
    for path in newest(prefix):
        try:
            return load(path)
        except SdcaffeError as error:
            glog("caffe.cpp:235", f"Passing over a broken snapshot: {error}", logging.WARNING)
    return None


def averages_beside(file: StrPath) -> Path:
    """The file of averaged weights beside one of weights, or a state: `x_iter_8_ema.caffemodel`."""
    path = Path(file)
    stem, ending = re.split(r"\.(?:caffemodel|solverstate)(?=\.h5$|$)", path.name)
    return path.with_name(f"{stem}_ema.caffemodel{ending}")


def _digest(model: StrPath) -> int:
    total = 0
    with reading.opened(model, WeightsError) as file:
        while piece := file.read(_PIECE):
            total = zlib.crc32(piece, total)
    return total


def _model_of(state: proto.State, kept: Kept | None, path: Path) -> Path:
    """The weights that a state names; where ours names two, those that were written with it."""
    found = proto.weights.named_weights(state.learned_net, path)
    if kept is None or kept.model is None:
        return found[0]
    for model in found:
        if _digest(model) == kept.model:
            return model
    raise SnapshotError(f"{found[0]} is not the weights file that was written with it", where=str(path))


def _kept_of(solver: Run) -> Kept:
    generators = {"cpu": torch.get_rng_state()}
    if solver.device.type == "cuda":
        generators["cuda"] = torch.cuda.get_rng_state(solver.device)
    return Kept(
        type=solver.param.type,
        generators=collectives.at_root(generators),
        nets=[_net_state(net) for net in (solver.net, *solver.test_nets)],
        losses=[float(loss) for loss in solver.losses],
        memory=dict(solver.memory),
    )


def _net_state(net: Net) -> NetState:
    """Where the data layers are, and what layers carry from one pass to the next (LSTM)."""
    return NetState(
        {key: (layer.cursor, layer.seed, _batch_size(net, layer)) for key, layer in _data_layers(net)},
        {name: (list(buffer.shape), buffer.detach().cpu().float()) for name, buffer in _carried(net).items()},
    )


def _data_layers(net: Net) -> list[tuple[str, DataLayer]]:
    """Those of a net, by key: of several that share a name each has its own place in the data."""
    return [(key, layer) for key, layer in net.layers.items() if isinstance(layer, DataLayer)]


def _batch_size(net: Net, layer: DataLayer) -> int:
    shape = net.blob_shapes[layer.layer_param.top[0]]
    return shape[0] if shape else 1


def _carried(net: Net) -> dict[str, torch.Tensor]:
    held = net.state_dict(keep_vars=True)
    return {name: buffer for name, buffer in net.named_buffers() if name in held}


def _apply_kept(solver: Run, kept: Kept) -> None:
    rank, world = collectives.rank_and_world()
    saved = len(kept.generators)
    same = world == saved
    _set_generators(solver, kept.generators[rank if same else 0], None if same else rank)
    for net, state in zip((solver.net, *solver.test_nets), kept.nets, strict=False):
        for key, layer in _data_layers(net):
            if key in state.data:
                layer.cursor, layer.seed, size = state.data[key]
                if net is solver.net:  # as many images on, whatever the processes and their batches
                    layer.cursor = layer.cursor * size * saved // (_batch_size(net, layer) * world)
        buffers = _carried(net)
        for name, (shape, values) in state.buffers.items():
            if name in buffers and list(buffers[name].shape) == shape:
                buffers[name].copy_(values)
    solver.memory.clear()
    solver.memory.update(kept.memory)
    solver.losses.clear()
    solver.losses.extend(torch.tensor(loss, device=solver.device) for loss in kept.losses)


def _set_generators(solver: Run, generators: dict[str, torch.Tensor], rank: int | None) -> None:
    """Restore torch's generators; with `rank`, then part them: other processes than these were saved."""
    torch.set_rng_state(generators["cpu"])
    if "cuda" in generators and solver.device.type == "cuda":
        torch.cuda.set_rng_state(generators["cuda"], solver.device)
    if rank is not None:
        parts = np.random.SeedSequence((torch.initial_seed() % 2**64, solver.iter, rank))
        torch.manual_seed(int(parts.generate_state(1, np.uint64)[0]))


def _check_cuda(solver: Run, kept: Kept, where: str) -> None:
    """Raise SnapshotError for generators that this device cannot go on with; what is the CPU's was checked as read."""
    if solver.device.type == "cuda":
        for state in (each["cuda"] for each in kept.generators if "cuda" in each):
            try:
                torch.Generator(solver.device).set_state(state)
            except (RuntimeError, TypeError):
                raise SnapshotError("its sdcaffe_state is broken: a generator is none of this GPU's", where) from None


def _numbers(state: proto.State) -> int:
    """The checksum of what a state's own file holds, for a form without a seal."""
    total = zlib.crc32(f"{state.iter} {state.current_step}".encode())
    for array in state.history:
        total = zlib.crc32(np.ascontiguousarray(array, "<f4").tobytes(), total)
    return total
