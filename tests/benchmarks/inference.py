"""Test-phase images a second, against the same network in plain PyTorch with its batch norms folded.

    python tests/benchmarks/inference.py [--batch 100] [--rounds 9] [--device cuda]

Both have BatchNorm in the convolutions' weights, channels_last memory and no gradients, and take turns.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

sys.path.insert(0, str(Path(__file__).parent))
from rivals import ResNet32
from side_by_side import take_turns

import sdcaffe


class Folded(nn.Module):
    """ResNet-32 of convolutions with biases, ReLUs, additions and one product."""

    def __init__(self, net: ResNet32) -> None:
        super().__init__()
        self.stem = fuse_conv_bn_eval(net.stem[0], net.stem[1])
        self.pairs = nn.ModuleList()
        for block in net.blocks:
            pair = (fuse_conv_bn_eval(block.conv1, block.bn1), fuse_conv_bn_eval(block.conv2, block.bn2))
            self.pairs.append(nn.ModuleList(pair))
        self.fc = net.fc

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x), inplace=True)
        for first, second in self.pairs:
            y = second(F.relu(first(x), inplace=True))
            if first.stride[0] == 2:
                x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
            x = F.relu_(y.add_(x))
        return self.fc(x.mean((2, 3)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    device = torch.device(args.device)
    net = sdcaffe.Net("prototxt/cifar100/resnet32/deploy.prototxt", sdcaffe.TEST, device=device)
    folded = Folded(ResNet32(100).eval()).to(device, memory_format=torch.channels_last)
    (name,) = net.inputs
    images = torch.randn(args.batch, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def ours() -> None:
        net.forward({name: images})

    @torch.no_grad()
    def rival() -> None:
        folded(images)

    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    times = take_turns({"sdcaffe": ours, "rival": rival}, args.rounds, 3, wait)
    ratio = times.ratio("sdcaffe", "rival")
    print(
        f"ResNet-32, {args.batch} images: rival {times.median('rival') * 1000:.1f} ms, sdcaffe "
        f"{times.median('sdcaffe') * 1000:.1f} ms, ratio {ratio[0]:.3f} ({ratio[1]:.2f} to {ratio[2]:.2f})"
    )


if __name__ == "__main__":
    main()
