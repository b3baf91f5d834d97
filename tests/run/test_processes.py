"""Two and four processes against one with the same global batch: same losses, same images, same MMD."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from process_groups import together
from process_nets import NORMALISED, PLAIN, SELF_DISTILLED, write

import sdcaffe
from sdcaffe import collectives, proto

WORLDS = (2, 4)
ONE_OF_TWO = [2, pytest.param(4, marks=pytest.mark.slow)]


def train(folder, iterations, blob=None, resume=None):
    """What each process has of a run: mean loss, and mean of `blob`, of every iteration; test scores; iteration."""
    os.chdir(folder)
    solver = sdcaffe.Solver(f"solver_{collectives.rank_and_world()[1]}.prototxt")
    blobs, compute = [], solver.net.compute

    def watched(batch):
        result = compute(batch)
        if blob is not None:
            blobs.append(float(collectives.averaged(result.blobs[blob].detach())))
        return result

    solver.net.compute = watched
    if resume is not None:
        solver.restore(resume)
    losses = []
    for _ in range(iterations):
        solver.step(1)
        losses.append(float(collectives.averaged(solver.losses[-1])))
    solver.test_all()
    solver.snapshot()
    solver.close()
    return losses, blobs, [value for _, value in solver.test_scores[0]], solver.iter


def weights_of(folder, world):
    path = folder / f"run_{world}_iter_50.caffemodel"
    return [blob for entry in proto.read_weights(path) for blob in entry.blobs]


def assert_trained_as_one(folder, worlds, net, more="", blob=None):
    """50 iterations of one process, and of each of `worlds` processes; returns what one process gave."""
    runs = {}
    for world in (1, *worlds):
        write(folder, world, net, more)
        runs[world] = together(world, train, folder, 50, blob)
        assert len({str(run) for run in runs[world]}) == 1, "processes disagree on what they share"
    losses, blobs, scores, _ = runs[1][0]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    for world in worlds:
        have = runs[world][0]
        np.testing.assert_allclose(have[0], losses, rtol=1e-5)
        np.testing.assert_allclose(have[1], blobs, rtol=1e-4)
        np.testing.assert_allclose(have[2], scores, rtol=1e-4, atol=1e-5)
        for a, b in zip(weights_of(folder, world), weights_of(folder, 1), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    return runs[1][0]


@pytest.mark.parametrize(
    "more", ["", pytest.param('iter_size: 2 clip_gradients: 1.5 regularization_type: "L1"', marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("world", ONE_OF_TWO)
def test_processes_train_as_one(tmp_path, world, more):
    assert_trained_as_one(tmp_path, (world,), PLAIN, more)


@pytest.mark.parametrize("world", ONE_OF_TWO)
def test_with_synchronised_batch_norm_too(tmp_path, world):
    assert_trained_as_one(tmp_path, (world,), NORMALISED, "sync_batch_norm: true")


def first_losses(folder):
    os.chdir(folder)
    solver = sdcaffe.Solver(f"solver_{collectives.rank_and_world()[1]}.prototxt")
    solver.step(3)
    own = [blob.clone().numpy() for blob in solver.net.params["bn"]]
    solver.test_all()
    spread = [blob.clone().numpy() for blob in solver.net.params["bn"]]
    solver.close()
    return own, spread


def test_without_it_each_has_its_own_statistics_and_tests_take_the_first_ones(tmp_path):
    write(tmp_path, 2, NORMALISED)
    (own0, spread0), (own1, spread1) = together(2, first_losses, tmp_path)
    assert not np.allclose(own0[0], own1[0], rtol=1e-3)
    for a, b, c in zip(own0, spread0, spread1, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


@pytest.mark.parametrize("world", ONE_OF_TWO)
def test_the_self_distilled_net_has_the_mmd_of_the_global_batch(tmp_path, world):
    _, mmd, _, _ = assert_trained_as_one(tmp_path, (world,), SELF_DISTILLED, blob="mmd")
    assert len(mmd) == 50
    assert min(mmd) > 1e-3


def mmd_of(a, b):
    from sdcaffe.paper.layers.mmd_loss import MeanDiscrepancy

    rank, world = collectives.rank_and_world()
    a, b = (part.chunk(world)[rank].clone().requires_grad_() for part in (a, b))
    loss = MeanDiscrepancy.apply(a, b)
    loss.backward()
    return [t.numpy() for t in (loss.detach(), a.grad / world, b.grad / world)]


@pytest.mark.parametrize("world", WORLDS)
def test_mmd_and_its_gradient_are_those_of_the_formula(world):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(24, 7, generator=generator, dtype=torch.float64) for _ in range(2))
    difference = a.numpy().mean(0) - b.numpy().mean(0)
    parts = together(world, mmd_of, a, b)
    for loss, _, _ in parts:
        np.testing.assert_allclose(loss, (difference**2).sum(), rtol=1e-12)
    for sign, k in ((1, 1), (-1, 2)):
        gradient = np.concatenate([part[k] for part in parts])
        np.testing.assert_allclose(gradient, np.tile(sign * 2 / 24 * difference, (24, 1)), rtol=1e-12)


def images(folder, batches):
    os.chdir(folder)
    solver = sdcaffe.Solver(f"solver_{collectives.rank_and_world()[1]}.prototxt")
    (layer,) = solver.net.data_layers
    seen = []
    for _ in range(batches):
        seen.append(layer.feed.order.indices(layer.cursor).tolist())
        solver.net.load()
    count = layer.feed.order.count
    solver.close()
    return seen, count


@pytest.mark.parametrize("other", ONE_OF_TWO)
def test_no_image_comes_twice_in_an_epoch_and_none_is_left_out(tmp_path, other):
    """A global batch of 28 does not divide the images: the batch over the end of an epoch takes from both."""
    epochs = {}
    for world in (1, other):
        write(tmp_path, world, PLAIN, batch=28)
        count = 2000
        parts = together(world, images, tmp_path, -(-2 * count // 28))
        assert {part[1] for part in parts} == {count}
        # the k-th images of every process are the k-th of the job
        sequence = np.stack([np.concatenate(seen) for seen, _ in parts], axis=1).ravel().tolist()
        epochs[world] = sequence[:count], sequence[count : 2 * count]
    assert count % 28
    for world in (1, other):
        assert [sorted(epoch) for epoch in epochs[world]] == [list(range(count))] * 2
        assert epochs[world] == epochs[1]


@pytest.mark.parametrize("others", [(1, 4), pytest.param((1, 2, 4), marks=pytest.mark.slow)])
def test_a_snapshot_goes_on_with_another_number_of_processes(tmp_path, others):
    for world in (1, *WORLDS):
        write(tmp_path, world, PLAIN)
    whole = together(1, train, tmp_path, 15)[0]
    together(2, train, tmp_path, 10)
    for world in others:
        losses, _, _, iteration = together(world, train, tmp_path, 5, None, "run_2_iter_10.solverstate")[0]
        assert iteration == 15
        assert losses == pytest.approx(whole[0][10:], rel=1e-5)


def draws(folder, resume=None):
    os.chdir(folder)
    solver = sdcaffe.Solver(f"solver_{collectives.rank_and_world()[1]}.prototxt")
    if resume is not None:
        solver.restore(resume)
    solver.step(1)
    solver.snapshot()
    solver.close()
    return torch.rand(4).tolist()


def test_processes_draw_apart_also_after_a_resume_with_more_of_them(tmp_path):
    for world in WORLDS:
        write(tmp_path, world, PLAIN)
    first = together(2, draws, tmp_path)
    more = together(4, draws, tmp_path, "run_2_iter_1.solverstate")
    again = together(4, draws, tmp_path, "run_2_iter_1.solverstate")
    assert len({tuple(values) for values in first + more}) == 6
    assert more == again


def of_a_dense_block(folder):
    os.chdir(folder)
    solver = sdcaffe.Solver("solver_2.prototxt")
    with pytest.raises(sdcaffe.SdcaffeError, match="write its layers out for sync_batch_norm"):
        solver.step(1)
    solver.close()


def test_a_layer_that_cannot_share_its_statistics_says_so(tmp_path):
    block = 'layer { name: "conv" type: "DenseBlock" bottom: "data" top: "conv" dense_block_param { layers: 1 growth: 2'
    head, _, tail = PLAIN.partition('layer { name: "conv"')
    net = head + block + " } }\n" + tail[tail.index('layer { name: "tanh"') :]
    write(tmp_path, 2, net, "sync_batch_norm: true test_initialization: false")
    together(2, of_a_dense_block, tmp_path)


def nothing_to_learn(folder):
    os.chdir(folder)
    solver = sdcaffe.Solver("solver_2.prototxt")
    solver.step(2)
    solver.close()
    return float(collectives.averaged(solver.losses[-1]))


def test_a_net_with_nothing_to_learn(tmp_path):
    net = 'layer { name: "h" type: "InnerProduct" bottom: "data" top: "h" param { lr_mult: 0 } param { lr_mult: 0 }'
    net += ' inner_product_param { num_output: 1 } }\nlayer { name: "s" type: "Silence" bottom: "h" }\n'
    loss = 'layer { name: "l" type: "Reduction" bottom: "h" top: "l" loss_weight: 1 }\n'
    write(tmp_path, 2, PLAIN.split('layer { name: "conv"')[0] + net.split("\n")[0] + "\n" + loss)
    assert together(2, nothing_to_learn, tmp_path) == [0, 0]
