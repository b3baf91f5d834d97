"""`test`, `extract-features` and `classify` against the same work by hand: Pillow, lmdb, numpy and ONNX Runtime.

    OMP_NUM_THREADS=1 python tests/benchmarks/commands.py [--rounds 5]

ResNet-20 for CIFAR on 50 batches of 100 images in an LMDB, and SqueezeNet 1.1 on 100 JPEGs, in this process. The rival
has its ONNX file ready. Processor time of one thread: of the whole, and of all but the start, which is what 50 batches,
or 100 pictures, take more than 10. For so few pictures `classify` would stay in torch, so it is told to prepare.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import lmdb
import numpy as np
import onnxruntime
import torch
from onnx_runtime import resnet20, squeezenet
from PIL import Image
from side_by_side import take_turns

import sdcaffe
from sdcaffe import cli, proto
from sdcaffe.converters.onnx_export import export

BATCH, FEW, MANY = 100, 10, 50
PICTURES, SOME = 100, 10
DATA = f"""
layer {{ name: "images" type: "Data" top: "data" top: "label" transform_param {{ scale: 0.0078125 }}
  data_param {{ source: "images" batch_size: {BATCH} backend: LMDB }} }}
"""
SCORE = 'layer { name: "accuracy" type: "Accuracy" bottom: "prob" bottom: "label" top: "accuracy" }\n'


def with_weights(text: str, name: str) -> None:
    """NAME.prototxt, its weights, and its ONNX file."""
    Path(f"{name}.prototxt").write_text(text)
    net = sdcaffe.Net(f"{name}.prototxt", sdcaffe.TEST)
    with torch.no_grad():
        for layer in net.layers.values():
            for i, blob in enumerate(layer.blobs):
                if layer.type == "BatchNorm":
                    blob.fill_(1 if i else 0)
                elif blob.dim() > 1:
                    blob.normal_(0, blob[0].numel() ** -0.5)
    net.save(f"{name}.caffemodel")
    export(f"{name}.prototxt", f"{name}.caffemodel", f"{name}.onnx")


def session(name: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(f"{name}.onnx", options)


def images() -> None:
    """An LMDB of as many images of CIFAR's size as the longer run takes, and JPEGs of 256x256."""
    random = np.random.default_rng(0)
    with lmdb.open("images", map_size=1 << 30) as database, database.begin(write=True) as writing:
        for i in range(BATCH * MANY):
            datum = proto.Datum(channels=3, height=32, width=32, label=int(random.integers(10)))
            datum.data = random.bytes(3 * 32 * 32)
            writing.put(f"{i:08d}".encode(), datum.SerializeToString())
    for folder, count in (("few", SOME), ("many", PICTURES)):
        Path(folder).mkdir()
        for i in range(count):
            pixels = random.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((256, 256)).save(f"{folder}/{i:03d}.jpg")


def said(words: list[str]) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as errors:
        code = cli.main(words)
    assert code == 0, errors.getvalue()


def batches(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    found = []
    with lmdb.open("images", readonly=True, lock=False) as database, database.begin() as reading:
        datums = (proto.Datum.FromString(value) for _, value in reading.cursor())
        for _ in range(count):
            some = [next(datums) for _ in range(BATCH)]
            pixels = np.stack([np.frombuffer(datum.data, np.uint8).reshape(3, 32, 32) for datum in some])
            found.append((pixels.astype(np.float32) * 0.0078125, np.array([datum.label for datum in some])))
    return found


def test(count: int) -> None:
    said(["test", "scored.prototxt", "--weights", "resnet20.caffemodel", "--iterations", str(count)])


def test_by_hand(count: int) -> None:
    running = session("resnet20")
    right = [running.run(None, {"data": data})[0].argmax(1) == labels for data, labels in batches(count)]
    np.mean(right)


def extract(count: int) -> None:
    shutil.rmtree("features", ignore_errors=True)
    said(["extract-features", "resnet20.caffemodel", "scored.prototxt", "prob", "features", str(count), "lmdb"])


def extract_by_hand(count: int) -> None:
    shutil.rmtree("by_hand", ignore_errors=True)
    running, i = session("resnet20"), 0
    with lmdb.open("by_hand", map_size=1 << 30) as database, database.begin(write=True) as writing:
        for data, _ in batches(count):
            for row in running.run(None, {"data": data})[0]:
                datum = proto.Datum(channels=len(row), height=1, width=1, float_data=row.tolist())
                writing.put(f"{i:010d}".encode(), datum.SerializeToString())
                i += 1


def folder_of(count: int) -> str:
    return "few" if count == SOME else "many"


def classify(count: int) -> None:
    net = ["squeezenet.prototxt", "squeezenet.caffemodel"]
    said(["classify", *net, folder_of(count), "--mean", "104,117,123", "--engine", "onnxruntime"])


def classify_by_hand(count: int) -> None:
    running, mean = session("squeezenet"), np.array([104, 117, 123], np.float32)
    rows = csv.writer(io.StringIO())
    for path in sorted(Path(folder_of(count)).iterdir()):
        pixels = np.asarray(Image.open(path).convert("RGB").resize((227, 227), Image.Resampling.BILINEAR), np.float32)
        scores = running.run(None, {"data": (pixels - mean).transpose(2, 0, 1)[None]})[0].ravel()
        best = scores.argsort()[::-1][:5]
        rows.writerow([path, *(f"{n} {scores[n]:.4f}" for n in best)])


Work = Callable[[int], None]


def measure(name: str, ours: Work, rival: Work, few: int, many: int, rounds: int) -> None:
    runs = {"sdcaffe": ours, "by hand": rival}
    ways = {f"{who} {count}": partial(run, count) for who, run in runs.items() for count in (few, many)}
    times = take_turns(ways, rounds, clock=time.process_time)
    whole = times.ratio(f"sdcaffe {many}", f"by hand {many}")
    more = {who: np.subtract(times.seconds[f"{who} {many}"], times.seconds[f"{who} {few}"]) for who in runs}
    ratios = more["sdcaffe"] / more["by hand"]
    print(
        f"{name}: by hand {times.median(f'by hand {many}'):.2f} s, ratio {whole[0]:.2f} ({whole[1]:.2f} to "
        f"{whole[2]:.2f}); without the start {np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        images()
        with_weights(resnet20(), "resnet20")
        with_weights(squeezenet(), "squeezenet")
        text = Path("resnet20.prototxt").read_text()
        first, last = text.index("layer"), text.index("layer", text.index("layer") + 5)
        Path("scored.prototxt").write_text(text[:first] + DATA + text[last:] + SCORE)
        measure("test", test, test_by_hand, FEW, MANY, rounds)
        measure("extract-features", extract, extract_by_hand, FEW, MANY, rounds)
        measure("classify", classify, classify_by_hand, SOME, PICTURES, rounds)
    sys.stdout.flush()
    os._exit(0)  # no waiting for readers


if __name__ == "__main__":
    main()
