"""Several runs at once in one process against the same runs one after another: updates a second.

    python tests/benchmarks/together.py [--net resnet32] [--runs 4] [--iterations 200] [--device cuda] [--rounds 7]

All runs train the self-distilled recipe on 32x32 images that lie in memory. The two ways take turns; the figures are
medians over rounds and the ratio is the median of the rounds' ratios, above 1 where runs at once are faster.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from side_by_side import take_turns
from training_step import BATCH, make_solver, show

import sdcaffe
from sdcaffe.run import together


def steps(solver: sdcaffe.Solver, iterations: int) -> Iterator[None]:
    for _ in range(iterations):
        solver.step(1)
        yield


def failed(run: object, error: Exception) -> None:
    raise error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", choices=sorted(BATCH), default="resnet32")
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=200, help="updates of each run a round")
    parser.add_argument("--batch", type=int, help="images before the doubling")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    logging.disable()
    device = torch.device(args.device)
    batch = args.batch or BATCH[args.net]
    solvers = [make_solver(args.net, "self_distilled", batch, device, "fp32") for _ in range(args.runs)]

    def at_once() -> None:
        runs = [together.Run(str(i), steps(s, args.iterations), device) for i, s in enumerate(solvers)]
        together.take_turns(runs, failed)

    def one_by_one() -> None:
        for i, solver in enumerate(solvers):
            together.take_turns([together.Run(str(i), steps(solver, args.iterations), device)], failed)

    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    times = take_turns({"one": one_by_one, "all": at_once}, args.rounds, 1, wait)
    updates = args.runs * args.iterations
    print(
        f"{args.net}, {args.runs} runs, {batch} images: {updates / times.median('one'):.1f} updates/s one after "
        f"another, {updates / times.median('all'):.1f} at once, ratio {show(times.ratio('one', 'all'))}"
    )


if __name__ == "__main__":
    main()
