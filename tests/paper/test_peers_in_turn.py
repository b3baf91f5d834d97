"""Mutual learning in turn: the example's two solvers against one net whose halves are updated by hand."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from sdcaffe import Net, proto

ROOT = Path(__file__).parents[2]
RATE, MOMENTUM, DECAY = 0.1, 0.9, 1e-4  # the solver's


@torch.no_grad()
def first_nesterov_step(items: Iterable) -> None:
    """Caffe's, with a history of zeros: h = r (g + d w), and w falls by (1 + m) h."""
    for item in items:
        w = item.tensor
        w -= (1 + MOMENTUM) * RATE * item.lr_mult * (w.grad + DECAY * item.decay_mult * w)


def test_the_peer_learns_on_the_same_batch_from_what_the_network_has_just_learned(tmp_path, monkeypatch):
    (tmp_path / "prototxt").symlink_to(ROOT / "prototxt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["peers_in_turn.py", "1", "1"])
    trained = runpy.run_path(str(ROOT / "examples" / "peers_in_turn.py"))
    both = {trained[name].net.params["fc"][0].data_ptr() for name in ("first", "second")}
    assert len(both) == 1

    torch.manual_seed(1)
    net = Net("prototxt/quickstart_taught/train_val_peer.prototxt", proto.TRAIN)  # here each KL reaches its own half
    learned = [item for item in net.learnable if item.tensor.requires_grad]
    halves = [[item for item in learned if item.layer.startswith("peer_") == peer] for peer in (False, True)]
    start = [item.tensor.detach().clone() for item in learned]
    batch, gradients = net.load(), []
    for half in halves:
        for item in learned:
            item.tensor.grad = None
        net.compute(batch).loss.backward()
        gradients.append([item.tensor.grad.clone() for item in halves[1]])
        first_nesterov_step(half)
    moved = [torch.linalg.norm(a - b) / torch.linalg.norm(a) for a, b in zip(*gradients, strict=True)]
    assert min(moved) > 0.01  # the peer would have learned something else at the same time

    for item, before in zip(learned, start, strict=True):
        got = trained["first"].net.params[item.layer][item.index].detach()
        assert not torch.equal(got, before), item.layer
        assert got.numpy() == pytest.approx(item.tensor.detach().numpy(), rel=1e-4, abs=1e-5), item.layer
