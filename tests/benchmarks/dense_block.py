"""DenseNets of DenseBlock layers against the same nets written out: step time, and memory that activations take.

    python tests/benchmarks/dense_block.py [--net densenet100] [--batch 64] [--rounds 7]

The two take turns in one process. Memory is the largest resident set, of a process each, above what it holds before
the first step: activations, gradients and workspaces.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from side_by_side import take_turns
from training_step import largest_above_the_present, make_solver, show

FORMS = ("blocks", "written out")


def with_blocks(net: Any) -> None:
    """Put a DenseBlock in the place of each run of layers dense<b>_*."""
    layers = [type(layer).FromString(layer.SerializeToString()) for layer in net.layer]
    del net.layer[:]
    inside: dict[str, int] = {}
    for layer in layers:
        match = re.match(r"dense(\d+)_(\d+)", layer.name)
        if match is None:
            new = net.layer.add()
            new.CopyFrom(layer)
            if new.bottom and new.bottom[0].startswith("dense"):
                new.bottom[0] = new.bottom[0].split("_")[0]
            continue
        name = f"dense{match[1]}"
        if name not in inside:
            net.layer.add(name=name, type="DenseBlock", bottom=[layer.bottom[0]], top=[name])
            inside[name] = len(net.layer) - 1
        block = net.layer[inside[name]]
        block.dense_block_param.layers = int(match[2])
        if layer.type == "Convolution":
            block.dense_block_param.growth = layer.convolution_param.num_output
            block.dense_block_param.weight_filler.CopyFrom(layer.convolution_param.weight_filler)


def solver_of(form: str, args: argparse.Namespace) -> Any:
    change = with_blocks if form == "blocks" else None
    return make_solver(args.net, "baseline", args.batch, torch.device("cpu"), "fp32", change)


def memory(form: str, args: argparse.Namespace) -> float:
    command = [sys.executable, __file__, "--memory-of", form, "--net", args.net, "--batch", str(args.batch)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", choices=("densenet40", "densenet100"), default="densenet100")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory-of", choices=FORMS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory_of:
        solver = solver_of(args.memory_of, args)
        print(largest_above_the_present(lambda: solver.step(2)))
        return
    blocks, parts = (memory(form, args) for form in FORMS)
    print(
        f"{args.net}, {args.batch} images: memory {parts:.0f} MiB written out, {blocks:.0f} MiB in blocks, "
        f"{parts / blocks:.2f} times less",
        flush=True,
    )
    solvers = {form: solver_of(form, args) for form in FORMS}
    times = take_turns({form: lambda s=s: s.step(1) for form, s in solvers.items()}, args.rounds)
    print(
        f"step {times.median('written out') * 1000:.0f} ms written out, {times.median('blocks') * 1000:.0f} ms in "
        f"blocks, ratio {show(times.ratio('blocks', 'written out'))}"
    )


if __name__ == "__main__":
    main()
