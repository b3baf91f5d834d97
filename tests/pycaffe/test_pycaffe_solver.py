"""pycaffe's solver classes. That they train as Caffe does is what test_pycaffe_recorders.py shows."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from pycaffe_nets import input_layer, layer, product

import sdcaffe
from sdcaffe import proto
from sdcaffe import pycaffe as caffe
from sdcaffe.errors import SnapshotError, SolverError

GOLDENS = Path(__file__).parents[1] / "goldens"
CLASSES = ("SGDSolver", "NesterovSolver", "AdaGradSolver", "RMSPropSolver", "AdaDeltaSolver", "AdamSolver")
DATA = "dummy_data_param { shape { dim: 4 dim: 3 } shape { dim: 4 } data_filler { type: 'gaussian' } %s }"
NET = (
    layer("data", "DummyData", "", "data label", DATA % "data_filler { type: 'constant' value: 1 }")
    + product("ip", "data", 2)
    + layer("loss", "SoftmaxWithLoss", "ip label", "loss")
)


def files(folder, settings="", net=NET):
    (folder / "net.prototxt").write_text(net)
    (folder / "solver.prototxt").write_text(
        f'net: "{folder}/net.prototxt" base_lr: 0.5 lr_policy: "fixed" max_iter: 6 '
        f'snapshot_prefix: "{folder}/run" {settings}'
    )
    return str(folder / "solver.prototxt")


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_trains_by_its_own_rule_and_get_solver_finds_it(name, tmp_path):
    kind = name.removesuffix("Solver")
    made = caffe.get_solver(files(tmp_path, f'type: "{kind}"'))
    assert type(made) is getattr(caffe, name)
    other = getattr(caffe, name)(files(tmp_path, 'type: "SGD"'))
    for solver in (made, other):
        assert (solver.iter, solver.param.type) == (0, kind)
        solver.step(2)
        assert solver.iter == 2
        assert type(solver.net) is caffe.Net


def test_an_unknown_type_is_named(tmp_path):
    with pytest.raises(SolverError, match=r'unknown solver type "SGDD"\. Did you mean "SGD"'):
        caffe.get_solver(files(tmp_path, 'type: "SGDD"'))


def test_a_type_that_caffe_does_not_have_trains_as_sdcaffe_does(tmp_path):
    file = files(tmp_path, 'type: "AdamW" momentum: 0.9 weight_decay: 0.1 random_seed: 2')
    solver, other = caffe.get_solver(file), sdcaffe.Solver(file, device="cpu")
    solver.step(3)
    other.step(3)
    for name, blobs in other.net.params.items():
        for ours, theirs in zip(solver.net.params[name], blobs, strict=True):
            np.testing.assert_allclose(ours.data, theirs.detach(), rtol=1e-4, atol=1e-6)


def test_a_step_leaves_gradients_loss_and_what_was_subtracted(tmp_path):
    solver = caffe.SGDSolver(files(tmp_path))
    before = [blob.data.astype(np.float64) for blob in solver.net.params["ip"]]
    solver.step(1)
    x, y = (solver.net.blobs[name].data.astype(np.float64) for name in ("data", "ip"))
    p = np.exp(y) / np.exp(y).sum(1, keepdims=True)
    np.testing.assert_allclose(solver.net.blobs["loss"].data, -np.log(p[:, 1]).mean(), rtol=1e-5)
    gradient = (p - [0, 1]) / 4
    np.testing.assert_allclose(solver.net.blobs["ip"].diff, gradient, rtol=1e-5, atol=1e-7)
    after = [blob.data for blob in solver.net.params["ip"]]
    np.testing.assert_allclose(after[0], before[0] - 0.5 * gradient.T @ x, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after[1], before[1] - 0.5 * gradient.sum(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(solver.net.params["ip"][0].diff, 0.5 * gradient.T @ x, rtol=1e-4, atol=1e-6)


def test_apply_update_takes_the_diffs_that_stand_in_the_net(tmp_path):
    solver = caffe.SGDSolver(files(tmp_path, "momentum: 0.9 weight_decay: 0.1"))
    blob = solver.net.params["ip"][0]
    want, velocity = blob.data.astype(np.float64), np.zeros(blob.shape)
    for i in range(3):
        gradient = np.full(blob.shape, i + 1.0)
        solver.net.clear_param_diffs()
        blob.diff[...] = gradient
        solver.apply_update()
        velocity = 0.9 * velocity + 0.5 * (gradient + 0.1 * want)
        want = want - velocity
        np.testing.assert_allclose(blob.data, want, rtol=1e-5)
    assert solver.iter == 3


def test_the_passes_of_a_script_and_apply_update_are_a_step(tmp_path):
    text = NET.replace("'gaussian'", "'constant' value: 2")
    own, whole = (caffe.NesterovSolver(files(tmp_path, "momentum: 0.9", text)) for _ in range(2))
    for mine, theirs in zip(own.net.params["ip"], whole.net.params["ip"], strict=True):
        mine.data[...] = theirs.data
    for _ in range(2):
        own.net.clear_param_diffs()
        own.net.forward()
        own.net.backward()
        own.apply_update()
        whole.step(1)
    np.testing.assert_array_equal(own.net.params["ip"][0].data, whole.net.params["ip"][0].data)


def test_callbacks_run_before_the_passes_and_before_the_update(tmp_path):
    solver, seen = caffe.SGDSolver(files(tmp_path)), []
    blob = solver.net.params["ip"][0]
    start = blob.data.copy()

    def on_gradients_ready():
        seen.append(("ready", blob.diff.any(), np.array_equal(blob.data, start)))
        blob.diff[...] = 1  # what is updated with

    solver.add_callback(lambda: seen.append(("start", blob.diff.any())), on_gradients_ready)
    solver.step(1)
    assert seen == [("start", False), ("ready", True, True)]
    np.testing.assert_allclose(blob.data, start - 0.5, rtol=1e-5)


def test_param_can_be_changed_while_training(tmp_path):
    solver = caffe.SGDSolver(files(tmp_path))
    assert (solver.lr, solver.param.max_iter, solver.param.display) == (0.5, 6, 0)
    solver.param.base_lr = 0.25
    assert solver.lr == 0.25


def test_iter_size_adds_up_passes_and_takes_their_mean(tmp_path):
    text = NET.replace("'gaussian'", "'constant' value: 2")
    one, two = (caffe.SGDSolver(files(tmp_path, f"iter_size: {n}", text)) for n in (1, 2))
    for mine, theirs in zip(two.net.params["ip"], one.net.params["ip"], strict=True):
        mine.data[...] = theirs.data
    one.step(1)
    two.step(1)
    np.testing.assert_allclose(two.net.params["ip"][0].data, one.net.params["ip"][0].data, rtol=1e-6)


def test_test_nets_use_the_weights_and_are_run_when_due(tmp_path):
    solver = caffe.SGDSolver(files(tmp_path, "test_iter: 3 test_interval: 2 test_initialization: false"))
    (net,) = solver.test_nets
    assert np.shares_memory(net.params["ip"][0].data, solver.net.params["ip"][0].data)
    assert not np.shares_memory(net.params["ip"][0].diff, solver.net.params["ip"][0].diff)
    calls = []
    net.before_forward(lambda i: calls.append(i))
    solver.step(3)
    assert calls == [0, 1, 2] * 3


def test_share_weights_gives_another_net_this_solvers_weights(tmp_path):
    solver = caffe.SGDSolver(files(tmp_path))
    deploy = input_layer("data", 1, 3) + product("ip", "data", 2)
    (tmp_path / "deploy.prototxt").write_text(deploy)
    net = caffe.Net(str(tmp_path / "deploy.prototxt"), caffe.TEST)
    solver.share_weights(net)
    solver.step(1)
    np.testing.assert_array_equal(net.params["ip"][0].data, solver.net.params["ip"][0].data)


def test_solve_snapshots_and_restore_goes_on_in_the_same_way(tmp_path):
    solver = caffe.SGDSolver(files(tmp_path, "momentum: 0.9 snapshot: 4 random_seed: 5"))
    solver.solve()
    assert solver.iter == 6
    again = caffe.SGDSolver(files(tmp_path, "momentum: 0.9 random_seed: 5"))
    again.solve(str(tmp_path / "run_iter_4.solverstate"))
    assert again.iter == 6
    np.testing.assert_array_equal(again.net.params["ip"][0].data, solver.net.params["ip"][0].data)
    again.restore(str(tmp_path / "run_iter_4.solverstate"))
    assert again.iter == 4
    again.snapshot()
    with pytest.raises(SnapshotError, match="this solver is Adam"):
        caffe.AdamSolver(files(tmp_path)).restore(str(tmp_path / "run_iter_4.solverstate"))


def test_a_snapshot_of_caffe_is_restored_into_the_blobs(tmp_path, monkeypatch):
    run = GOLDENS / "training" / "adam"
    for name in ("net.prototxt", "train.h5", "train.txt", "final.solverstate"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    (tmp_path / "solver.prototxt").write_text((run / "solver.prototxt").read_text())
    (tmp_path / "snap_iter_25.caffemodel").write_bytes((run / "final.caffemodel").read_bytes())
    monkeypatch.chdir(tmp_path)
    solver = caffe.get_solver("solver.prototxt")
    view = solver.net.params["conv1"][0].data
    solver.restore("final.solverstate")
    assert solver.iter == 25
    np.testing.assert_array_equal(view, np.load(run / "trace.npz")["conv1_0"])


def test_a_loss_that_is_not_finite_does_not_end_training(tmp_path):
    solver = caffe.SGDSolver(files(tmp_path))
    solver.net.params["ip"][0].data[...] = np.nan
    solver.step(1)
    assert np.isnan(solver.net.blobs["loss"].data)


@pytest.mark.parametrize(
    ("policy", "rates", "state"),
    [
        # what BVLC Caffe 1.0 gave; the state is of iteration 6, after a look at that iteration's rate
        ("'multistep' gamma: 0.5 stepvalue: 5 stepvalue: 5 stepvalue: 5", [1, 1, 1, 1, 0.5, 0.125], 3),
        ("'step' gamma: 0.5 stepsize: 2", [1, 0.5, 0.5, 0.25, 0.25, 0.125], 3),
    ],
)
def test_each_look_at_lr_takes_a_step_that_is_due(tmp_path, policy, rates, state):
    text = "base_lr: 1 lr_policy: " + policy + f" snapshot_prefix: '{tmp_path}/s' net: '{tmp_path}/net.prototxt'"
    files(tmp_path)
    (tmp_path / "looks.prototxt").write_text(text)
    solver, seen = caffe.SGDSolver(str(tmp_path / "looks.prototxt")), []
    for _ in range(6):
        solver.step(1)
        seen.append(solver.lr)
    solver.snapshot()
    assert seen == rates
    assert proto.read_state(tmp_path / "s_iter_6.solverstate").current_step == state


def test_a_state_of_caffes_leaves_the_place_in_the_data(tmp_path):
    """Each loss is the sum of a batch, so it tells which batch it was. The numbers are BVLC Caffe 1.0's."""
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["x"] = np.arange(10, dtype=np.float32).reshape(10, 1)
    (tmp_path / "d.txt").write_text(f"{tmp_path}/d.h5\n")
    fixed = "inner_product_param { num_output: 1 bias_term: false weight_filler { type: 'constant' value: 1 } }"
    text = (
        layer("d", "HDF5Data", "", "x", f"hdf5_data_param {{ source: '{tmp_path}/d.txt' batch_size: 2 }}")
        + layer("fc", "InnerProduct", "x", "a", fixed + " param { lr_mult: 0 }")
        + layer("l", "Reduction", "a", "l", "loss_weight: 1")
    )
    solver, seen = caffe.SGDSolver(files(tmp_path, "momentum: 0.9", text)), []

    def step(count):
        for _ in range(count):
            solver.step(1)
            seen.append(float(solver.net.blobs["l"].data))

    solver.net.save(str(tmp_path / "w.caffemodel"))
    state = proto.State(iter=1, learned_net=str(tmp_path / "w.caffemodel"), history=[np.zeros((1, 1), np.float32)])
    proto.write_state(tmp_path / "caffes.solverstate", state)
    step(3)
    solver.restore(str(tmp_path / "caffes.solverstate"))
    assert solver.iter == 1
    step(4)
    assert seen == [1, 5, 9, 13, 17, 1, 5]
