"""Thirteen training runs of BVLC Caffe and some of its forks, run again from the same initial weights.

A recording holds every loss, the final parameters and the solver state. Its perturbed twin (same Caffe, initial
weights changed by a relative 1e-6) says how far rounding carries in that run: the yardstick of what can be asked.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import sdcaffe
from sdcaffe import proto

TESTS = Path(__file__).parents[1]
FOLDERS = [TESTS / "goldens" / "training", *sorted(TESTS.glob("forks/recordings/*/training"))]
RUNS = [trace.parent for folder in FOLDERS for trace in sorted(folder.glob("*/trace.npz"))]

PLUGIN_FOR_PYTHON_LAYER = {"KLLoss": 'type: "KLLoss" kl_loss_param { temperature: 3 }', "MMDLoss": 'type: "MMDLoss"'}


def net_of(run: Path):
    """The recorded net; the paper's two losses, Python layers there, are this package's plugins."""
    net = sdcaffe.read_net(run / "net.prototxt")
    for layer in net.layer:
        if layer.type == "Python":
            plugin = proto.LayerParameter()
            proto.text.parse(PLUGIN_FOR_PYTHON_LAYER[layer.python_param.layer], plugin, "plugin")
            layer.ClearField("python_param")
            layer.MergeFrom(plugin)
    return net


def solver_of(run: Path, monkeypatch):
    monkeypatch.chdir(run)
    param = sdcaffe.read_solver("solver.prototxt")
    param.ClearField("net")
    param.net_param.CopyFrom(net_of(run))
    return sdcaffe.Solver(param, weights="init.caffemodel", device="cpu")


def within(drift: np.ndarray, have: np.ndarray, want: np.ndarray) -> bool:
    return bool((np.abs(have - want) <= 10 * drift + 1e-5 * np.abs(want).max()).all())


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_losses_and_parameters_follow_the_recording(run, monkeypatch):
    trace, perturbed = np.load(run / "trace.npz"), np.load(run / "trace_perturbed.npz")
    solver = solver_of(run, monkeypatch)
    losses = [name for name in trace.files if trace[name].ndim == 1 and name in solver.net.outputs]
    assert losses
    seen: dict[str, list[float]] = {name: [] for name in losses}
    compute = solver.net.compute

    def watched(batch, keep=()):
        result = compute(batch, keep)
        for name in losses:
            seen[name].append(result.blobs[name].item())
        return result

    monkeypatch.setattr(solver.net, "compute", watched)
    passes = solver.param.iter_size
    solver.step(len(trace[losses[0]]))
    for name in losses:
        want = trace[name]
        drift = np.maximum.accumulate(np.abs(perturbed[name] - want))
        assert within(drift, np.array(seen[name][passes - 1 :: passes]), want), name
    for layer, blobs in solver.net.blob_arrays().items():
        for i, have in enumerate(blobs):
            want = trace[f"{layer}_{i}"]
            drift = np.abs(perturbed[f"{layer}_{i}"] - want).max()
            assert within(drift, have, want), f"{layer} blob {i}"
    solver.close()


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_the_recorded_state_resumes(run, monkeypatch, tmp_path):
    """Caffe's final state loads; what we then write has its fields, shapes and values."""
    caffe = proto.read_state(run / "final.solverstate")
    for name in ("final.caffemodel", "final.solverstate"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    solver = solver_of(run, monkeypatch)
    (tmp_path / Path(caffe.learned_net).name).write_bytes((run / "final.caffemodel").read_bytes())
    solver.restore(tmp_path / "final.solverstate")
    trace = np.load(run / "trace.npz")
    loss = next(name for name in trace.files if name in solver.net.outputs)
    assert solver.iter == caffe.iter == len(trace[loss])
    solver.param.snapshot_prefix = str(tmp_path / "ours")
    ours = proto.read_state(Path(solver.snapshot()))
    assert ours.iter == caffe.iter
    assert ours.current_step == caffe.current_step
    assert len(ours.history) == len(caffe.history)
    for have, want in zip(ours.history, caffe.history, strict=True):
        np.testing.assert_array_equal(have, want)
    solver.step(2)
    assert solver.iter == caffe.iter + 2
    solver.close()


def test_a_saved_net_has_the_fields_of_the_recorded_one(tmp_path, monkeypatch):
    """Same layers, in the same order, with the same types, phase, parameters and blob shapes."""
    run = next(run for run in RUNS if run.name == "resnet8_nesterov")
    solver = solver_of(run, monkeypatch)
    solver.net.save(tmp_path / "ours.caffemodel")
    ours = proto.read_binary(tmp_path / "ours.caffemodel", proto.NetParameter)
    caffe = proto.read_binary(run / "init.caffemodel", proto.NetParameter)
    assert ours.name == caffe.name
    assert len(ours.layer) == len(caffe.layer)
    for have, want in zip(ours.layer, caffe.layer, strict=True):
        assert [list(blob.shape.dim) for blob in have.blobs] == [list(blob.shape.dim) for blob in want.blobs]
        assert [list(blob.data) for blob in have.blobs] == [list(blob.data) for blob in want.blobs]
        have.ClearField("blobs")
        want.ClearField("blobs")
        assert have == want
    solver.close()
