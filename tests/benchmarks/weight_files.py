"""Loading and saving a .caffemodel against reading and writing as many bytes, and how much memory it takes.

    python tests/benchmarks/weight_files.py [--rounds 9] [--net wide|deep]

`wide` is one product of 120 MB, `deep` 600 convolutions of 16 to 64 channels. Loading is timed up to the arrays, and up
to a net that holds them; memory is that of the latter. A file that is written is flushed to the disk and renamed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from google.protobuf import text_format

import sdcaffe
from sdcaffe import proto


def wide() -> str:
    fc = 'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 5000 } }'
    return f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 1 dim: 6000 }} }} }} {fc}'


def deep() -> str:
    layers = ['layer { name: "c0" type: "Input" top: "c0" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }']
    for i in range(1, 601):
        layers.append(
            f'layer {{ name: "c{i}" type: "Convolution" bottom: "c{i - 1}" top: "c{i}" '
            f"convolution_param {{ num_output: {(16, 32, 64)[i // 201]} kernel_size: 3 pad: 1 }} }}"
        )
    return " ".join(layers)


def timed(call: Callable[[], object]) -> tuple[float, int]:
    """Seconds, and the bytes by which the memory of this process grew at the most."""
    Path("/proc/self/clear_refs").write_text("5")
    before, start = status("VmRSS"), time.perf_counter()
    kept = call()
    seconds, peak = time.perf_counter() - start, status("VmHWM")
    del kept
    return seconds, peak - before


def status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--net", choices=("wide", "deep"), default="wide")
    args = parser.parse_args()
    param = proto.NetParameter()
    text_format.Parse(wide() if args.net == "wide" else deep(), param)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        bench(param, Path(folder), args.rounds)


def bench(param: proto.NetParameter, folder: Path, rounds: int) -> None:
    path = folder / "w.caffemodel"
    net = sdcaffe.Net(param, sdcaffe.TEST)
    net.save(path)
    data = path.read_bytes()

    def write() -> None:
        with open(folder / "copy.tmp", "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(folder / "copy.tmp", folder / "copy")

    ways: dict[str, Callable[[], object]] = {
        "read": path.read_bytes,
        "load": lambda: proto.read_weights(path),
        "net": lambda: sdcaffe.Net(param, sdcaffe.TEST, weights=str(path)),
        "write": write,
        "save": lambda: net.save(folder / "saved"),
    }
    taken: dict[str, list[tuple[float, int]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            taken[name].append(timed(way))
    seconds = {name: statistics.median(t for t, _ in found) for name, found in taken.items()}
    memory = {name: statistics.median(m for _, m in found) / len(data) for name, found in taken.items()}

    def ratio(ours: str, theirs: str) -> float:
        return statistics.median(a[0] / b[0] for a, b in zip(taken[ours], taken[theirs], strict=True))

    print(f"{len(data) / 1e6:.0f} MB; milliseconds: {', '.join(f'{n} {s * 1000:.0f}' for n, s in seconds.items())}")
    print(
        f"load against read: {ratio('load', 'read'):.2f}, with a net built and filled {ratio('net', 'read'):.2f}; "
        f"memory {memory['net']:.2f} of the file, net included"
    )
    print(f"save against write: {ratio('save', 'write'):.2f}; memory {memory['save']:.2f} of the file")


if __name__ == "__main__":
    main()
