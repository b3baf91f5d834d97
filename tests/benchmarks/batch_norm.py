"""BatchNorm, Scale and ReLU before a convolution, against torch's batch norm and ReLU: forward and backward.

    python tests/benchmarks/batch_norm.py [--batch 64] [--rounds 51]

As many in a row as ResNet-32 has in each of its three stages, on channels_last images; the last line adds the stages
up. The convolutions between them, of one value a channel, are the same in both.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from side_by_side import Times, take_turns

import sdcaffe
from sdcaffe import proto

STAGES = {(16, 32): 11, (32, 16): 10, (64, 8): 10}  # channels and size -> how many batch norms

INPUT = 'layer {{ name: "in" type: "Input" top: "0" input_param {{ shape {{ {} }} }} }}'
LAYERS = """
layer {{ name: "bn{i}" type: "BatchNorm" bottom: "{i}" top: "{i}" }}
layer {{ name: "scale{i}" type: "Scale" bottom: "{i}" top: "{i}" scale_param {{ bias_term: true }} }}
layer {{ name: "relu{i}" type: "ReLU" bottom: "{i}" top: "{i}" }}
layer {{ name: "conv{i}" type: "Convolution" bottom: "{i}" top: "{next}" convolution_param {{
  num_output: {c} group: {c} kernel_size: 1 bias_term: false weight_filler {{ type: "msra" }} }} }}
"""


def ours(images: Tensor, seed: Tensor, count: int) -> Callable[[], None]:
    text = INPUT.format(" ".join(f"dim: {size}" for size in images.shape))
    text += "".join(LAYERS.format(i=i, next=i + 1, c=images.shape[1]) for i in range(count))
    message = proto.NetParameter()
    proto.text.parse(text, message, "net")
    net = sdcaffe.Net(message, sdcaffe.TRAIN)
    batch = net.feed({"0": images})

    def run() -> None:
        net.compute(batch).blobs[str(count)].backward(seed)

    return run


def rival(images: Tensor, seed: Tensor, count: int) -> Callable[[], None]:
    c = images.shape[1]
    net = nn.Sequential()
    for _ in range(count):
        net.extend([nn.BatchNorm2d(c), nn.ReLU(inplace=True), nn.Conv2d(c, c, 1, groups=c, bias=False)])
    net.to(memory_format=torch.channels_last)
    return lambda: net(images).backward(seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=51)
    args = parser.parse_args()
    torch.manual_seed(0)
    total: dict[str, list[float]] = {"rival": [0.0] * args.rounds, "sdcaffe": [0.0] * args.rounds}
    print(f"{torch.get_num_threads()} CPU threads, medians of {args.rounds} rounds")
    for (c, size), count in STAGES.items():
        images = torch.randn(args.batch, c, size, size).contiguous(memory_format=torch.channels_last).requires_grad_()
        seed = torch.randn_like(images)
        ways = {"rival": rival(images, seed, count), "sdcaffe": ours(images, seed, count)}
        times = take_turns(ways, args.rounds)
        show(f"{count} of {c} channels, {size}x{size}", times)
        for name, seconds in times.seconds.items():
            total[name] = [before + value for before, value in zip(total[name], seconds, strict=True)]
    show("all of ResNet-32", Times(total))


def show(what: str, times: Times) -> None:
    ratio = times.ratio("sdcaffe", "rival")
    print(
        f"{what}: {times.median('rival') * 1000:.2f} ms, sdcaffe {times.median('sdcaffe') * 1000:.2f} ms, "
        f"ratio {ratio[0]:.3f} ({ratio[1]:.2f} to {ratio[2]:.2f})"
    )


if __name__ == "__main__":
    main()
