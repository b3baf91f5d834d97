"""A pass of a net in the test phase, in torch and by `engine`, against its ONNX file in ONNX Runtime by hand.

    OMP_NUM_THREADS=1 python tests/benchmarks/onnx_runtime.py [--net NET.prototxt --batch 1] [--rounds 31]

Without --net: LeNet at batch 1, ResNet-20 for CIFAR at 1 and 32, SqueezeNet 1.1 at 1. Processor time of one thread.
Prints the ratios to ONNX Runtime: of a Net in torch; of one that notices every change of its weights,
`Net(..., engine="onnxruntime")`; of one that nobody else writes to, as commands have it, `watched=False`; and what
preparing each takes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import torch
from side_by_side import take_turns

import sdcaffe
from sdcaffe.converters.onnx_export import export
from sdcaffe.paper.networks.resnet import ResNet
from sdcaffe.paper.text import Blob, NetText

FIRES = [(size, 4 * size) for size in (16, 16, 32, 32, 48, 48, 64, 64)]  # of SqueezeNet
WAYS = {"torch": None, "watched": True, "unwatched": False}


def layer(name: str, kind: str, bottoms: str, fields: str = "", top: str = "") -> str:
    words = "".join(f' bottom: "{bottom}"' for bottom in bottoms.split())
    return f'layer {{ name: "{name}" type: "{kind}"{words} top: "{top or name}" {fields} }}\n'


def given(*shape: int) -> str:
    return layer("data", "Input", "", f"input_param {{ shape {{ {' '.join(f'dim: {size}' for size in shape)} }} }}")


def conv(name: str, bottom: str, outputs: int, kernel: int, more: str = "", relu: bool = True) -> str:
    fields = f"convolution_param {{ num_output: {outputs} kernel_size: {kernel} {more} }}"
    return layer(name, "Convolution", bottom, fields) + (layer(f"{name}_relu", "ReLU", name, top=name) if relu else "")


def pool(name: str, bottom: str, fields: str) -> str:
    return layer(name, "Pooling", bottom, f"pooling_param {{ {fields} }}")


def product(name: str, bottom: str, outputs: int) -> str:
    return layer(name, "InnerProduct", bottom, f"inner_product_param {{ num_output: {outputs} }}")


def lenet() -> str:
    halved = "pool: MAX kernel_size: 2 stride: 2"
    text = given(1, 1, 28, 28) + conv("conv1", "data", 20, 5, relu=False) + pool("pool1", "conv1", halved)
    text += conv("conv2", "pool1", 50, 5, relu=False) + pool("pool2", "conv2", halved) + product("ip1", "pool2", 500)
    return text + layer("relu1", "ReLU", "ip1", top="ip1") + product("ip2", "ip1", 10) + layer("prob", "Softmax", "ip2")


def squeezenet() -> str:
    halved = "pool: MAX kernel_size: 3 stride: 2"
    text = given(1, 3, 227, 227) + conv("conv1", "data", 64, 3, "stride: 2") + pool("pool1", "conv1", halved)
    last = "pool1"
    for i, (narrow, wide) in enumerate(FIRES, 2):
        name = f"fire{i}"
        text += conv(f"{name}_squeeze", last, narrow, 1)
        text += conv(f"{name}_1x1", f"{name}_squeeze", wide, 1)
        text += conv(f"{name}_3x3", f"{name}_squeeze", wide, 3, "pad: 1")
        text += layer(name, "Concat", f"{name}_1x1 {name}_3x3")
        last = name
        if i in (3, 5):
            text += pool(f"pool{i}", name, halved)
            last = f"pool{i}"
    text += conv("conv10", last, 1000, 1) + pool("pool10", "conv10", "pool: AVE global_pooling: true")
    return text + layer("prob", "Softmax", "pool10")


def resnet20() -> str:
    net = NetText("ResNet-20")
    net.layer("data", "Input", [], ["data"], {"input_param": {"shape": {"dim": [1, 3, 32, 32]}}})
    net.layer("prob", "Softmax", [ResNet(20, 10).build(net, Blob("data", 3)).logits.name], ["prob"])
    return net.text([])


def measure(name: str, model: str, batch: int, rounds: int) -> None:
    nets = {way: sdcaffe.Net(model, sdcaffe.TEST) for way in WAYS}
    net = nets["torch"]
    with torch.no_grad():
        for part in net.layers.values():
            for i, blob in enumerate(part.blobs):
                if part.type == "BatchNorm":
                    blob.fill_(1 if i else 0)
                elif blob.dim() > 1:
                    blob.normal_(0, blob[0].numel() ** -0.5)
    (asked,) = net.inputs
    images = torch.randn(batch, *net.blob_shapes[asked][1:])
    took = {}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        weights, file = Path(folder, "w.caffemodel"), Path(folder, "n.onnx")
        net.save(weights)
        start = time.process_time()
        export(model, str(weights), str(file))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(str(file), options)
        took["the file"] = time.process_time() - start
        for way, watched in WAYS.items():
            nets[way].load_weights(weights)
            if watched is not None:
                nets[way].use_engine("onnxruntime", watched=watched)
            start = time.process_time()
            nets[way]({asked: images})
            took[way] = time.process_time() - start
    takes = session.get_inputs()[0].name

    def pass_of(own: sdcaffe.Net) -> Callable[[], None]:
        @torch.no_grad()
        def ours() -> None:
            own({asked: images})

        return ours

    def rival() -> None:
        session.run(None, {takes: images.numpy()})

    ways = {"ONNX Runtime": rival, **{way: pass_of(own) for way, own in nets.items()}}
    times = take_turns(ways, rounds, 20 if batch == 1 else 3, clock=time.process_time)
    print(f"{name}, {batch} images: ONNX Runtime {times.median('ONNX Runtime') * 1000:.3f} ms")
    for way in WAYS:
        ratio = times.ratio(way, "ONNX Runtime")
        print(
            f"  {way}: {times.median(way) * 1000:.3f} ms, ratio {ratio[0]:.2f} ({ratio[1]:.2f} to {ratio[2]:.2f}), "
            f"first pass {took[way]:.2f} s"
        )
    print(f"  writing and opening the file by hand: {took['the file']:.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=31)
    args = parser.parse_args()
    if args.net:
        measure(args.net, args.net, args.batch, args.rounds)
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, text, batch in (
            ("LeNet", lenet(), 1),
            ("ResNet-20", resnet20(), 1),
            ("ResNet-20", resnet20(), 32),
            ("SqueezeNet 1.1", squeezenet(), 1),
        ):
            path = Path(folder, "net.prototxt")
            path.write_text(text)
            measure(name, str(path), batch, args.rounds)


if __name__ == "__main__":
    main()
