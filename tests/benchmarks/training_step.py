"""Step time of self-distilled ResNet-32 training against a hand-written PyTorch loop that does the same work.

    python tests/benchmarks/training_step.py [--rounds 9] [--steps 3] [--batch 64]

Both train on synthetic 32x32 images that lie in memory: random crop and mirror for two branches, ResNet-32 as one
batch of 2n in channels_last memory, cross entropy on both branches, KL and MMD, Nesterov. They take turns, a round
each, in one process; the figures are medians over rounds and the ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sdcaffe

MEAN, STD = (129.3, 124.1, 112.4), (68.2, 65.4, 70.4)


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride = 1 if inputs == outputs else 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))
        if self.stride == 2:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        return F.relu(x + y, inplace=True)


class Rival(nn.Module):
    """ResNet-32 as most would write it."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        widths = [16] * 6 + [32] * 5 + [64] * 5
        self.blocks = nn.Sequential(*(Block(a, b) for a, b in zip(widths, [*widths[1:], 64], strict=True)))
        self.fc = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        feature = self.blocks(F.relu(self.bn(self.conv(x)), inplace=True)).mean((2, 3))
        return feature, self.fc(feature)


def rival_step(images: Tensor, labels: Tensor, batch: int) -> Callable[[], None]:
    net = Rival(100).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True, foreach=True)
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (MEAN, STD))
    order = torch.randperm(len(images))
    cursor = 0

    def distorted(x: Tensor) -> Tensor:
        n = len(x)
        padded = F.pad(x, (4, 4, 4, 4))
        top, left = torch.randint(0, 9, (2, n, 1))
        rows, columns = top + torch.arange(32), left + torch.arange(32)
        columns = torch.where(torch.rand(n, 1) < 0.5, columns.flip(1), columns)
        image = torch.arange(n).reshape(n, 1, 1)
        return padded[image, :, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)

    def step() -> None:
        nonlocal cursor
        pick = order[torch.arange(cursor, cursor + batch) % len(order)]
        cursor += batch
        x, y = (images[pick].float() - mean) / std, labels[pick]
        both = torch.cat([distorted(x), distorted(x)]).contiguous(memory_format=torch.channels_last)
        feature, logits = net(both)
        (ha, hb), (za, zb) = feature.chunk(2), logits.chunk(2)
        la, lb = (F.log_softmax(z / 3, 1) for z in (za, zb))
        kl = F.kl_div(la, lb.detach(), reduction="batchmean", log_target=True)
        kl = kl + F.kl_div(lb, la.detach(), reduction="batchmean", log_target=True)
        mmd = (ha.mean(0) - hb.mean(0)).square().sum()
        loss = F.cross_entropy(za, y) + F.cross_entropy(zb, y) + kl + 0.0005 * mmd
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if not torch.isfinite(loss):
            raise RuntimeError("the rival diverged")

    return step


def sdcaffe_step(batch: int) -> Callable[[], None]:
    param = sdcaffe.read_solver("prototxt/cifar100/resnet32/solver_self_distilled.prototxt")
    net = sdcaffe.read_net(param.net)
    param.ClearField("net")
    for field in ("test_iter", "test_interval", "display", "snapshot"):
        param.ClearField(field)
    param.snapshot_after_train = False
    param.base_lr = 0.1
    for layer in net.layer:
        if layer.type == "Data":
            layer.data_param.source = "synthetic:train"
            layer.data_param.batch_size = batch
    param.net_param.CopyFrom(net)
    solver = sdcaffe.Solver(param, device="cpu")
    return lambda: solver.step(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=3, help="steps a round")
    parser.add_argument("--batch", type=int, default=64, help="images before the doubling")
    args = parser.parse_args()
    torch.manual_seed(0)
    from sdcaffe.data.synthetic import synthetic

    images, labels = synthetic("train")
    rivals = {
        "hand-written PyTorch": rival_step(torch.as_tensor(images), torch.as_tensor(labels).long(), args.batch),
        "sdcaffe": sdcaffe_step(args.batch),
    }
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for step in rivals.values():
        step()
        step()
    for _ in range(args.rounds):
        for name, step in rivals.items():
            start = time.perf_counter()
            for _ in range(args.steps):
                step()
            times[name].append((time.perf_counter() - start) / args.steps * 1000)
    print(f"self-distilled ResNet-32, n = {args.batch}, {torch.get_num_threads()} CPU threads, {args.rounds} rounds")
    for name, values in times.items():
        print(f"{name:24s} {statistics.median(values):8.1f} ms a step")
    ratios = [b / a for a, b in zip(*times.values(), strict=True)]
    print(f"ratio {statistics.median(ratios):.3f} (rounds from {min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
