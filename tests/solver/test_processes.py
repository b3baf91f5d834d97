"""Two and four processes against one with the same global batch: same losses, same images, same MMD."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import sdcaffe
from sdcaffe import proto
from sdcaffe.log import parse_log

WORKER = """
import json, os, sys
import torch, torch.distributed as dist
import sdcaffe
from sdcaffe import processes

torch.set_num_threads(1)
task, folder = sys.argv[1:]
os.chdir(folder)
with processes.launched(torch.device("cpu")):
    rank, world = processes.rank_and_world()
    if task == "mmd":
        from sdcaffe.plugins.mmd_loss import MeanDiscrepancy

        features = torch.load("features.pt")
        a, b = (part.chunk(world)[rank].requires_grad_() for part in features)
        loss = MeanDiscrepancy.apply(a, b)
        loss.backward()
        torch.save([loss.detach(), a.grad / world, b.grad / world], f"mmd_{world}_{rank}.pt")
    elif task == "images":
        solver = sdcaffe.Solver(f"solver_{world}.prototxt")
        seen = []
        for _ in range(30):
            seen += solver.net.data_layers[0].feed.order.indices(solver.net.data_layers[0].cursor).tolist()
            solver.net.load()
        solver.close()
        json.dump(seen, open(f"seen_{world}_{rank}.json", "w"))
    else:
        solver = sdcaffe.Solver(f"solver_{world}.prototxt")
        losses = []
        if task == "resume":
            solver.restore("run_2_iter_10.solverstate")
        for _ in range(int(task) if task.isdigit() else 5):
            solver.step(1)
            losses.append(float(processes.averaged(solver.losses[-1])))
        solver.test_all()
        solver.snapshot()
        solver.close()
        if rank == 0:
            json.dump([losses, solver.test_scores, solver.iter], open(f"out_{world}.json", "w"))
"""

NET = """
name: "shared"
layer { name: "data" type: "Data" top: "x" top: "label" include { phase: TRAIN }
  data_param { source: "synthetic:train" batch_size: BATCH shuffle: true seed: 3 } }
layer { name: "data" type: "Data" top: "x" top: "label" include { phase: TEST }
  data_param { source: "synthetic:test" batch_size: 20 } }
layer { name: "normal" type: "Distort" bottom: "x" top: "data" distort_param { mean_value: 128 std_value: 64 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 6 kernel_size: 5 stride: 3 weight_filler { type: "msra" } } }
layer { name: "tanh" type: "TanH" bottom: "conv" top: "conv" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "aside" type: "InnerProduct" bottom: "conv" top: "aside" inner_product_param { num_output: 2 } }
layer { name: "quiet" type: "Silence" bottom: "aside" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }
"""
SOLVER = """
net: "net_{world}.prototxt" type: "Nesterov" base_lr: 0.02 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.001
max_iter: 50 display: 10 test_iter: 5 test_interval: 1000 snapshot_prefix: "run_{world}" solver_mode: CPU random_seed: 4
iter_size: {iter_size}
"""


def run(folder: Path, world: int, task: str, iter_size: int = 1) -> None:
    (folder / f"net_{world}.prototxt").write_text(NET.replace("BATCH", str(24 // world)))
    (folder / f"solver_{world}.prototxt").write_text(SOLVER.format(world=world, iter_size=iter_size))
    worker = folder / "worker.py"
    worker.write_text(WORKER)
    start = [sys.executable]
    if world > 1:
        start += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*start, str(worker), task, str(folder)], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]


def read(path: Path):
    import json

    return json.loads(path.read_text())


@pytest.mark.parametrize("iter_size", [1, 2])
def test_two_and_four_processes_train_as_one(tmp_path, iter_size):
    for world in (1, 2, 4):
        run(tmp_path, world, "50", iter_size)
    want, scores, _ = read(tmp_path / "out_1.json")
    alone = {entry.name: entry.blobs for entry in proto.read_weights(tmp_path / "run_1_iter_50.caffemodel")}
    assert want[-1] < want[0]
    for world in (2, 4):
        have, test_scores, _ = read(tmp_path / f"out_{world}.json")
        np.testing.assert_allclose(have, want, rtol=1e-5)
        np.testing.assert_allclose([v for _, v in test_scores[0]], [v for _, v in scores[0]], rtol=1e-4)
        for entry in proto.read_weights(tmp_path / f"run_{world}_iter_50.caffemodel"):
            for a, b in zip(entry.blobs, alone[entry.name], strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_no_image_comes_twice_in_an_epoch(tmp_path):
    seen = {}
    for world in (1, 2, 4):
        run(tmp_path, world, "images")
        parts = [read(tmp_path / f"seen_{world}_{rank}.json") for rank in range(world)]
        seen[world] = sorted(item for part in parts for item in part)
    assert len(set(seen[1])) == len(seen[1]) == 30 * 24
    assert seen[1] == seen[2] == seen[4]


def test_mmd_is_over_the_global_batch(tmp_path):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(24, 7, generator=generator, dtype=torch.float64) for _ in range(2))
    torch.save([a, b], tmp_path / "features.pt")
    difference = a.numpy().mean(0) - b.numpy().mean(0)
    for world in (2, 4):
        run(tmp_path, world, "mmd")
        parts = [torch.load(tmp_path / f"mmd_{world}_{rank}.pt") for rank in range(world)]
        for loss, _, _ in parts:
            np.testing.assert_allclose(loss, (difference**2).sum(), rtol=1e-12)
        for sign, k in ((1, 1), (-1, 2)):
            gradient = torch.cat([part[k] for part in parts])
            np.testing.assert_allclose(gradient, np.tile(sign * 2 / 24 * difference, (24, 1)), rtol=1e-12)


def test_a_snapshot_goes_on_with_another_number_of_processes(tmp_path):
    run(tmp_path, 1, "15")
    run(tmp_path, 2, "10")
    losses = {}
    for world in (1, 4):
        run(tmp_path, world, "resume")
        losses[world], _, iteration = read(tmp_path / f"out_{world}.json")
        assert iteration == 15
    assert losses[4] == pytest.approx(losses[1], rel=1e-5)


def test_torchrun_trains_from_the_command_line(tmp_path):
    run(tmp_path, 2, "images")  # writes the files
    text = SOLVER.format(world=2, iter_size=1).replace("max_iter: 50", "max_iter: 20")
    (tmp_path / "solver_2.prototxt").write_text(text)
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*start, "-m", "sdcaffe", "train", "solver_2.prototxt"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    log = parse_log(tmp_path / "run_2.log")
    assert [row.iteration for row in log.train] == [0, 10, 20]
    assert done.stderr.count("Starting Optimization") == 1
    assert (tmp_path / "run_2_iter_20.solverstate").exists()
    solver = sdcaffe.read_solver(tmp_path / "solver_2.prototxt")
    assert solver.max_iter == 20
