"""Mutual learning in turn: the example's two solvers against one net whose halves are updated by hand."""

from __future__ import annotations

import runpy
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from sdcaffe import Net, proto

ROOT = Path(__file__).parents[2]
RATE, MOMENTUM, DECAY = 0.1, 0.9, 1e-4  # the solver's
ITERATIONS = 2


@torch.no_grad()
def nesterov_step(items: Iterable, histories: Iterable[torch.Tensor]) -> None:
    """Caffe's: h = r (g + d w) + m h, and w falls by (1 + m) h less m times the h before."""
    for item, h in zip(items, histories, strict=True):
        w, before = item.tensor, h.clone()
        h.mul_(MOMENTUM).add_(RATE * item.lr_mult * (w.grad + DECAY * item.decay_mult * w))
        w -= (1 + MOMENTUM) * h - MOMENTUM * before


def test_the_peer_learns_on_the_same_batch_from_what_the_network_has_just_learned(tmp_path, monkeypatch):
    folder = tmp_path / "prototxt" / "quickstart_taught"
    shutil.copytree(ROOT / "prototxt" / "quickstart_taught", folder)
    solver = folder / "solver_peer_in_turn.prototxt"
    solver.write_text(solver.read_text().replace("snapshot: 400", f"snapshot: {ITERATIONS}"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["peers_in_turn.py", str(ITERATIONS), "1"])
    trained = runpy.run_path(str(ROOT / "examples" / "peers_in_turn.py"))
    both = {trained[name].net.params["fc"][0].data_ptr() for name in ("first", "second")}
    assert len(both) == 1

    torch.manual_seed(1)
    net = Net("prototxt/quickstart_taught/train_val_peer.prototxt", proto.TRAIN)  # here each KL reaches its own half
    learned = [item for item in net.learnable if item.tensor.requires_grad]
    halves = [[item for item in learned if item.layer.startswith("peer_") == peer] for peer in (False, True)]
    histories = [[torch.zeros_like(item.tensor) for item in half] for half in halves]
    start = [item.tensor.detach().clone() for item in learned]
    for _ in range(ITERATIONS):
        batch, gradients = net.load(), []
        for half, history in zip(halves, histories, strict=True):
            for item in learned:
                item.tensor.grad = None
            net.compute(batch).loss.backward()
            gradients.append([item.tensor.grad.clone() for item in halves[1]])
            nesterov_step(half, history)
        moved = [torch.linalg.norm(a - b) / torch.linalg.norm(a) for a, b in zip(*gradients, strict=True)]
        assert min(moved) > 0.01  # the peer would have learned something else at the same time

    saved = Net(
        "prototxt/quickstart_taught/train_val_peer.prototxt",
        proto.TRAIN,
        f"runs/quickstart_taught/peer_in_turn_seed1_iter_{ITERATIONS}.caffemodel",
    )
    for item, before in zip(learned, start, strict=True):
        got = trained["first"].net.params[item.layer][item.index].detach()
        assert not torch.equal(got, before), item.layer
        assert torch.equal(got, saved.params[item.layer][item.index]), item.layer
        assert got.numpy() == pytest.approx(item.tensor.detach().numpy(), rel=1e-3, abs=1e-4), item.layer
    passes = 2 * ITERATIONS  # of each batch one in each half step, through both
    for name in ("conv1_bn", "peer_conv1_bn", "res4_1b_bn", "peer_res4_1b_bn"):
        *moments, count = trained["first"].net.params[name]
        assert count.item() == pytest.approx(sum(0.95**k for k in range(passes)), rel=1e-6)
        for got, expected in zip(moments, net.params[name], strict=False):
            scale = expected.abs().max().item()
            assert got.numpy() == pytest.approx(expected.numpy(), rel=1e-3, abs=1e-3 * scale), name
