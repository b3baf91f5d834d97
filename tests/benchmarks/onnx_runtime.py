"""A pass of a net in the test phase against the same net in ONNX Runtime, processor time of one thread.

    OMP_NUM_THREADS=1 python tests/benchmarks/onnx_runtime.py [--net prototxt/cifar10/resnet32/deploy.prototxt]
        [--batch 1] [--rounds 31]

Prints the ratio, what writing and opening the ONNX file takes, and after how many pictures that is won back. What a
checksum of all weights takes is what noticing every write to them would cost each pass.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import zlib
from pathlib import Path

import onnxruntime
import torch
from side_by_side import take_turns

import sdcaffe
from sdcaffe.converters.onnx_export import export


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", default="prototxt/cifar10/resnet32/deploy.prototxt")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=31)
    args = parser.parse_args()
    net = sdcaffe.Net(args.net, sdcaffe.TEST)
    with torch.no_grad():
        for layer in net.layers.values():
            for i, blob in enumerate(layer.blobs):
                if layer.type == "BatchNorm":
                    blob.fill_(1 if i else 0)
                elif blob.dim() > 1:
                    blob.normal_(0, blob[0].numel() ** -0.5)
    with tempfile.TemporaryDirectory() as folder:
        weights, model = Path(folder, "w.caffemodel"), Path(folder, "n.onnx")
        net.save(weights)
        start = time.process_time()
        exported = export(args.net, str(weights), str(model))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(model), options)
        opening = time.process_time() - start
    (name,) = net.inputs
    images = torch.randn(args.batch, *net.blob_shapes[name][1:])
    asked = session.get_inputs()[0].name

    @torch.no_grad()
    def ours() -> None:
        net({name: images})

    def rival() -> None:
        session.run(None, {asked: images.numpy()})

    def checksum() -> None:
        for blob in net.parameters():
            rows = blob.detach().permute(0, 2, 3, 1) if blob.dim() == 4 else blob.detach()  # as they lie in memory
            zlib.crc32(rows.contiguous().numpy())

    times = take_turns(
        {"net": ours, "ONNX Runtime": rival, "checksum": checksum}, args.rounds, 3, clock=time.process_time
    )
    a, b = times.median("net"), times.median("ONNX Runtime")
    ratio = times.ratio("net", "ONNX Runtime")
    print(
        f"{args.batch} images: ONNX Runtime {b * 1000:.2f} ms, sdcaffe {a * 1000:.2f} ms, ratio {ratio[0]:.2f} "
        f"({ratio[1]:.2f} to {ratio[2]:.2f}); outputs differ by {exported.agreement.difference:.0e}"
    )
    print(f"a checksum of its weights: {times.median('checksum') * 1000:.2f} ms")
    print(
        f"writing and opening the file {opening:.1f} s: won back after {opening / (a - b) * args.batch:.0f} images"
        if a > b
        else f"writing and opening the file {opening:.1f} s: never won back"
    )


if __name__ == "__main__":
    main()
