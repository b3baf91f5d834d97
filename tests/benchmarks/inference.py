"""A pass of ResNet-32 in the test phase, against the same network in plain PyTorch.

    python tests/benchmarks/inference.py [--batch 100] [--rounds 9] [--device cuda]

A Net against a module with its batch norms folded; both have BatchNorm in the convolutions' weights. And pycaffe's Net,
whose arrays are written and read as a script does, against a module in evaluation as it is. All have no gradients, the
folded module channels_last memory; they take turns.
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
from sdcaffe import pycaffe

MODEL = "prototxt/cifar100/resnet32/deploy.prototxt"


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
    net = sdcaffe.Net(MODEL, sdcaffe.TEST, device=device)
    (name,) = net.inputs
    images = torch.randn(args.batch, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    plain = ResNet32(100).eval().to(device)
    folded = Folded(ResNet32(100).eval()).to(device, memory_format=torch.channels_last)
    if device.type == "cuda":
        pycaffe.set_mode_gpu()
    script = pycaffe.Net(MODEL, pycaffe.TEST)
    script.blobs[name].reshape(args.batch, 3, 32, 32)
    (output,) = script.outputs
    for blobs in script.params.values():
        if len(blobs) == 3:  # a BatchNorm's; without statistics the numbers overflow
            for blob, value in zip(blobs, (0, 1, 1), strict=True):
                blob.data[...] = value
    given = images.cpu().contiguous().numpy()

    @torch.no_grad()
    def ours() -> None:
        net.forward({name: images})

    @torch.no_grad()
    def rival() -> None:
        folded(images)

    def in_pycaffe() -> None:
        script.blobs[name].data[...] = given
        script.forward()[output].sum()

    @torch.no_grad()
    def module() -> None:
        logits, _ = plain(torch.from_numpy(given).to(device))
        logits.cpu().numpy().sum()

    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    ways = {"sdcaffe": ours, "folded module": rival, "pycaffe": in_pycaffe, "module": module}
    times = take_turns(ways, args.rounds, 3, wait)
    for way, other in (("sdcaffe", "folded module"), ("pycaffe", "module")):
        ratio = times.ratio(way, other)
        print(
            f"ResNet-32, {args.batch} images: {other} {times.median(other) * 1000:.1f} ms, {way} "
            f"{times.median(way) * 1000:.1f} ms, ratio {ratio[0]:.3f} ({ratio[1]:.2f} to {ratio[2]:.2f})"
        )


if __name__ == "__main__":
    main()
