"""A net of one-channel images, LeNet's kind, against the same layers in torch, channels_last, in turns.

    python tests/benchmarks/gray_net.py [--batch 64] [--rounds 41]

The test phase, and a training step's forward and backward.
"""

from __future__ import annotations

import argparse

import torch
from google.protobuf import text_format
from side_by_side import take_turns
from torch import nn

import sdcaffe
from sdcaffe import proto

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 64 dim: 1 dim: 28 dim: 28 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 16 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2"
  convolution_param { num_output: 48 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool2" top: "fc"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=41)
    args = parser.parse_args()
    param = proto.NetParameter()
    text_format.Parse(NET, param)
    images = torch.randn(args.batch, 1, 28, 28)
    rows = images.as_strided(images.shape, (784, 1, 28, 1))  # one channel lies alike in both formats; this says which
    layers = [nn.Conv2d(1, 16, 5), nn.MaxPool2d(2), nn.Conv2d(16, 48, 5), nn.MaxPool2d(2), nn.Flatten()]
    rival = nn.Sequential(*layers, nn.Linear(768, 10)).to(memory_format=torch.channels_last)
    for phase in (proto.TEST, proto.TRAIN):
        net = sdcaffe.Net(param, phase)

        def ours(net: sdcaffe.Net = net, train: bool = phase == proto.TRAIN) -> None:
            with torch.set_grad_enabled(train):
                top = net({"data": images})["fc"]
                if train:
                    top.sum().backward()

        def theirs(train: bool = phase == proto.TRAIN) -> None:
            with torch.set_grad_enabled(train):
                top = rival(rows)
                if train:
                    top.sum().backward()

        times = take_turns({"sdcaffe": ours, "rival": theirs}, args.rounds, 3)
        ratio = times.ratio("sdcaffe", "rival")
        print(
            f"{'training' if phase == proto.TRAIN else 'test'}: rival {times.median('rival') * 1000:.2f} ms, sdcaffe "
            f"{times.median('sdcaffe') * 1000:.2f} ms, ratio {ratio[0]:.2f} ({ratio[1]:.2f} to {ratio[2]:.2f})"
        )


if __name__ == "__main__":
    main()
