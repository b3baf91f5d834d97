"""A step of `sdcaffe.paper.SelfDistillation` against the same loss written by hand with autograd: time and memory.

    python tests/benchmarks/self_distillation.py [--batch 64] [--rounds 31]

Both train torchvision's ResNet-18 on pictures of 32x32 and 100 classes, and their gradients are compared first. By hand
the targets of the two divergences are detached, which is the convention "exact". The two take turns in one process;
`losses` are forward and backward from logits and features on. Memory is the largest resident set, of a process each,
above what it holds before the first step.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from sdcaffe.paper import SelfDistillation, kl, mmd

sys.path.insert(0, str(Path(__file__).parent))
from side_by_side import take_turns
from training_step import largest_above_the_present, show

WAYS = ("sdcaffe", "by hand")
CLASSES, FEATURES, TEMPERATURE, LAMBDA, MU = 100, 512, 3.0, 1.0, 5e-4


def losses_by_hand(logits: Tensor, feature: Tensor, labels: Tensor) -> Tensor:
    """Eq. 5 as one writes it: autograd makes every gradient."""
    (a, b), (feature_a, feature_b) = logits.chunk(2), feature.chunk(2)
    log_a, log_b = ((z / TEMPERATURE).log_softmax(1) for z in (a, b))
    divergence = functional.kl_div(log_a, log_b.detach(), reduction="batchmean", log_target=True)
    divergence = divergence + functional.kl_div(log_b, log_a.detach(), reduction="batchmean", log_target=True)
    discrepancy = (feature_a.mean(0) - feature_b.mean(0)).square().sum()
    entropy = functional.cross_entropy(a, labels) + functional.cross_entropy(b, labels)
    return entropy + LAMBDA * divergence + MU * discrepancy


def losses(logits: Tensor, feature: Tensor, labels: Tensor) -> Tensor:
    """The same of the package's functions."""
    (a, b), (feature_a, feature_b) = logits.chunk(2), feature.chunk(2)
    entropy = functional.cross_entropy(a, labels) + functional.cross_entropy(b, labels)
    return entropy + LAMBDA * kl(a, b, TEMPERATURE, "exact") + MU * mmd(feature_a, feature_b)


class ByHand(nn.Module):
    """A ResNet and its loss in one module."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def criterion(self, view_a: Tensor, view_b: Tensor, labels: Tensor) -> Tensor:
        seen: list[Tensor] = []
        handle = self.model.fc.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        logits = self.model(torch.cat([view_a, view_b]))
        handle.remove()
        return losses_by_hand(logits, seen[0], labels)


def make_step(way: str, batch: int) -> tuple[nn.Module, Callable[[], None]]:
    """The model, and what takes one step of it."""
    torch.manual_seed(1)
    model = torchvision.models.resnet18(num_classes=CLASSES)
    views = torch.randn(2, batch, 3, 32, 32)
    labels = torch.randint(CLASSES, (batch,))
    if way == "sdcaffe":
        wrapped: nn.Module = SelfDistillation(model, None, TEMPERATURE, LAMBDA, MU, "exact")
    else:
        wrapped = ByHand(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        result = wrapped.criterion(*views, labels)
        (result.loss if way == "sdcaffe" else result).backward()
        optimizer.step()

    return model, step


def make_losses(way: str, batch: int) -> Callable[[], None]:
    """What takes the losses of some logits and features, forward and backward."""
    torch.manual_seed(1)
    logits, feature = (torch.randn(2 * batch, n, requires_grad=True) for n in (CLASSES, FEATURES))
    labels = torch.randint(CLASSES, (batch,))
    function = losses if way == "sdcaffe" else losses_by_hand

    def step() -> None:
        logits.grad = feature.grad = None
        function(logits, feature, labels).backward()

    return step


def check_equal(batch: int) -> None:
    """Both ways give the same gradients from the same start."""
    gradients = []
    for way in WAYS:
        model, step = make_step(way, batch)
        step()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def memory(way: str, batch: int) -> float:
    command = [sys.executable, __file__, "--memory-of", way, "--batch", str(batch)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--memory-of", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory_of:
        _, step = make_step(args.memory_of, args.batch)
        print(largest_above_the_present(lambda: (step(), step())))
        return
    check_equal(args.batch)
    ours, theirs = (memory(way, args.batch) for way in WAYS)
    print(f"memory: {ours:.0f} MiB, {theirs:.0f} MiB by hand, ratio {ours / theirs:.3f}", flush=True)
    steps = take_turns({way: make_step(way, args.batch)[1] for way in WAYS}, args.rounds)
    alone = take_turns({way: make_losses(way, args.batch) for way in WAYS}, args.rounds, calls=20)
    for name, times in (("step", steps), ("losses", alone)):
        milliseconds = [1000 * times.median(way) for way in WAYS]
        print(
            f"{name}: {milliseconds[0]:.2f} ms, {milliseconds[1]:.2f} ms by hand, ratio {show(times.ratio(*WAYS))}"
            f" over {args.rounds} rounds"
        )


if __name__ == "__main__":
    main()
