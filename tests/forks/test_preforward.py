"""CAFFE-DACH's preforward passes in a solver, and the layers that work by them or carry blobs to the next pass."""

from __future__ import annotations

from collections import Counter

import h5py
import numpy as np
import pytest
import torch
from dach_recordings import cases
from fork_layers import fill, make, values

import sdcaffe
from sdcaffe.cli import main
from sdcaffe.errors import LayerError, SolverError

# ---------------------------------------------------------------- ClassLatch


@pytest.mark.parametrize("number", range(4))
def test_class_latch_as_recorded(number):
    """Row by row where nothing is drawn; else by which rows there may be."""
    case, steps = cases("class_latch")[number]
    body = f"class_latch_param {{ label_nmax: {case['classes']} latch_nmin: {case['least']} }}"
    layer = make("ClassLatch", body, [steps[0]["x"].shape, steps[0]["y"].shape], phase="TRAIN")
    ahead, latched = False, 0
    for (iteration, flag, count, exact), step in zip(case["steps"], steps, strict=True):
        layer.begin(iteration)
        if bool(flag) != ahead:
            ahead = bool(flag)
            layer.look_ahead(ahead)
        top = layer(torch.tensor(step["x"]), torch.tensor(step["y"])).numpy()
        if np.array_equal(step["top"], step["x"]):
            assert np.array_equal(top, step["x"])
        else:
            assert np.array_equal(top[:exact], step["top"][:exact])
            assert all(any(np.array_equal(row, one) for one in top[: exact or None]) for row in top)
            latched += 1
        assert int(layer.number_0) == count
    assert latched or case["least"] == 5


def latched(labels, passes, least=0, mode=False, tops=1):
    """The top of the pass behind `passes` preforward passes with the same labels; row i of pass p is 10 p + i."""
    body = f"class_latch_param {{ label_nmax: 2 latch_nmin: {least} latch_nmin: 9 latch_mode: {str(mode).lower()} }}"
    n = len(labels)
    layer = make("ClassLatch", body, [(n, 1), (n,)] * tops, phase="TRAIN", tops=tops)
    layer.look_ahead(True)
    for p in range(passes + 1):
        if p == passes:
            layer.look_ahead(False)
        x = torch.arange(n, dtype=torch.float64).reshape(n, 1) + 10 * p
        found = layer(*[x, torch.tensor(labels)] * tops)
    return found


def test_a_full_latch_gives_a_later_item_the_place_of_a_random_one_or_none():
    torch.manual_seed(0)
    seen = Counter(tuple(latched([0.0, 1.0], 3).flatten().tolist()) for _ in range(400))
    # items 0, 10 fill it; 20 takes the place of either, or of none
    assert set(seen) == {(0, 10), (20, 10), (0, 20)}
    assert abs(seen[0, 10] - 200) < 60
    assert abs(seen[20, 10] - 100) < 50


def test_what_is_missing_is_drawn_of_what_is_there():
    torch.manual_seed(0)
    seen = Counter(latched([1.0, 0.0, 1.0], 1).flatten().tolist()[0] for _ in range(10))
    assert set(seen) == {1.0}
    torch.manual_seed(0)
    third = Counter(latched([1.0, 0.0, 1.0], 2)[2].item() for _ in range(300))
    assert set(third) == {1, 11}
    assert abs(third[1] - 150) < 50


def test_latch_mode_waits_for_all_tops():
    plain, other = latched([0.0, 0.0], 1, tops=2)
    assert plain.flatten().tolist() == [0, 1]
    assert other.flatten().tolist() == [10, 11]  # it asks for more than 9 items, and takes the batch as it is
    both = latched([0.0, 0.0], 1, mode=True, tops=2)
    assert [top.flatten().tolist() for top in both] == [[10, 11], [10, 11]]


# ---------------------------------------------------------------- Param2Top, Bottom2Param


def test_param2top_fills_as_its_refills_say():
    shape = 'shape { dim: 3 } data_filler { type: "uniform" min: 1 max: 2 }'
    never, once, first, always = (
        make("Param2Top", f"param2top_param {{ {shape} {refill} }}", [], tops=2)
        for refill in ("data_refill: 0", "data_refill: 1 data_refill: 1", "data_refill: 1", "data_refill: 2")
    )
    for layer, filled in ((never, (0, 0)), (once, (1, 1)), (first, (1, 0)), (always, (1, 1))):
        tops = layer()
        again = layer()
        for top, more, blob, has in zip(tops, again, layer.blobs, filled, strict=True):
            assert bool((top >= 1).all()) == bool(has)
            assert torch.equal(more, blob)
            assert torch.equal(more, top) == (layer is not always)


def test_the_gradient_of_param2top_is_that_of_its_last_pass():
    layer = make("Param2Top", "param2top_param { num: 1 channels: 2 height: 1 width: 1 }", [])
    fill(layer, np.array([1.0, 2]))
    for slope in (3.0, 5.0):
        (layer() * slope).sum().backward()
    assert layer.blobs[0].grad.flatten().tolist() == [5, 5]


@pytest.mark.parametrize(
    ("kind", "body", "shapes", "word"),
    [
        ("Param2Top", "param2top_param { shape { dim: 2 } data_filler { value: 1 } }", [], "data_refill"),
        ("Param2Top", "param2top_param { shape { dim: 2 } num: 1 }", [], "not both"),
        ("Param2Top", "param2top_param { shape { dim: 2 } data_refill: 1 data_refill: 0 }", [], "for 1 tops"),
        ("Param2Top", "", [], "0 x shape"),
        ("ClassLatch", "", [(2, 3), (2,), (2, 3), (2,)], "two bottoms for each top"),
        ("ClassLatch", "class_latch_param { label_nmax: 0 }", [(2, 3), (2,)], "label_nmax"),
        ("ClassLatch", "", [(2, 3), (3,)], "labels for each"),
    ],
)
def test_what_cannot_be_is_named(kind, body, shapes, word):
    with pytest.raises(LayerError, match=word):
        make(kind, body, shapes)


# ---------------------------------------------------------------- in a solver


PSEUDO = """
layer {{ name: "data" type: "HDF5Data" top: "x" top: "y" hdf5_data_param {{ source: "data.txt" batch_size: 2 }} }}
layer {{ name: "last" type: "Param2Top" top: "last" param {{ name: "labels" }} param2top_param {{
  data_filler {{ value: -1 }} data_refill: 1 shape {{ dim: 2 }} }} }}
layer {{ name: "latch" type: "ClassLatch" bottom: "x" bottom: "last" top: "latched" class_latch_param {{
  label_nmax: 2 }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "{fed}" top: "ip" inner_product_param {{ num_output: 2
  weight_filler {{ type: "gaussian" std: 0.1 }} }} }}
layer {{ name: "keep" type: "Bottom2Param" bottom: "y" param {{ name: "labels" }} }}
layer {{ name: "homo" type: "HomoMeanLoss" bottom: "ip" bottom: "y" top: "homo" top: "spread" homo_mean_loss_param {{
  cluster_clipprop: 1 cluster_interval: 1 cluster_duration: 1 topdiff_clipprop: 1 cluster_activate: true }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "homo" bottom: "y" top: "loss" }}
"""
SOLVER = 'base_lr: 0.1 momentum: 0.9 lr_policy: "fixed" max_iter: {} snapshot: 1 snapshot_prefix: "net" random_seed: 3 '


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Six items of two classes, in batches of two, and how the solver begins."""
    monkeypatch.chdir(tmp_path)
    with h5py.File("data.h5", "w") as file:
        file["x"], file["y"] = values(6, 3).astype(np.float32), np.array([0, 1, 1, 0, 1, 1], np.float32)
    (tmp_path / "data.txt").write_text("data.h5\n")
    return tmp_path


def solver_of(folder, more, fed="x", iterations=4):
    (folder / "net.prototxt").write_text(PSEUDO.format(fed=fed))
    (folder / "solver.prototxt").write_text(f'net: "net.prototxt" {SOLVER.format(iterations)} {more}')
    return sdcaffe.Solver("solver.prototxt")


def test_preforward_passes_gather_the_means_of_their_batches(folder):
    solver = solver_of(folder, "preforward_iter: 3 preforward_interval: 2")
    ip, homo = solver.net.layers["ip"], solver.net.layers["homo"]
    weight, bias = (blob.detach().clone().numpy() for blob in ip.blobs)
    solver.step(1)
    x, y = values(6, 3).astype(np.float32) @ weight.T + bias, np.array([0, 1, 1, 0, 1, 1])
    assert homo.blobs[0].tolist() == [[2, 4]]
    for one in (0, 1):
        assert np.allclose(homo.blobs[1][0, one].detach(), x[y == one].mean(0), atol=1e-6)
    means = homo.blobs[1].clone()
    solver.step(1)  # without passes of its own: they are what they were
    assert torch.equal(homo.blobs[1], means)
    solver.step(1)
    assert homo.blobs[0].tolist() == [[2, 4]]
    assert not torch.equal(homo.blobs[1], means)
    solver.close()


def test_bottom2params_labels_come_out_of_param2top_in_the_next_pass(folder):
    solver = solver_of(folder, "")
    seen = []
    solver.net.layers["last"].register_forward_hook(lambda layer, bottoms, top: seen.append(top.tolist()))
    for _ in range(3):
        solver.step(1)
        assert solver.net.layers["keep"].blobs[0] is solver.net.layers["last"].blobs[0]
    assert seen == [[-1, -1], [0, 1], [1, 0]]
    solver.close()


def test_a_latch_feeds_items_of_the_class_whose_turn_it_is(folder):
    solver = solver_of(folder, "preforward_iter: 3 preforward_interval: 1", fed="latched")
    seen = []
    solver.net.layers["latch"].register_forward_hook(lambda layer, bottoms, top: seen.append(top.numpy()))
    solver.step(2)
    x, y = values(6, 3).astype(np.float32), np.array([0, 1, 1, 0, 1, 1])
    for iteration, top in enumerate((seen[3], seen[7])):
        for row in top:
            (at,) = np.flatnonzero((x == row).all(1))
            assert y[at] == iteration
    solver.close()


def test_preforward_termination_makes_passes_when_training_is_done(folder):
    counts = []
    for more in ("", "preforward_iter: 3", "preforward_iter: 3 preforward_termination: true"):
        solver = solver_of(folder, more, iterations=2)
        solver.solve()
        counts.append(solver.net.layers["homo"].blobs[0].tolist())
        solver.close()
    assert counts == [[[0, 0]], [[0, 0]], [[2, 4]]]


@pytest.mark.parametrize("interval", [1, 3])
def test_a_run_with_preforward_passes_resumes_bit_for_bit(folder, interval):
    more = f"preforward_iter: 4 preforward_interval: {interval} iter_size: 2"
    solver_of(folder, more, fed="latched", iterations=5).close()
    assert main(["train", "-solver", "solver.prototxt"]) == 0
    files = ["net_iter_5.caffemodel", "net_iter_5.solverstate"]
    whole = [(folder / file).read_bytes() for file in files]
    assert main(["train", "-solver", "solver.prototxt", "-snapshot", "net_iter_2.solverstate"]) == 0
    assert [(folder / file).read_bytes() for file in files] == whole


def test_preforward_settings_that_cannot_be_are_named(folder):
    solver = solver_of(folder, "preforward_iter: -1")
    with pytest.raises(SolverError, match="preforward_iter is -1"):
        solver.step(1)
    solver.close()
