"""Step time and memory of training against a hand-written PyTorch loop that does the same work.

    python tests/benchmarks/training_step.py [--net resnet32 ...] [--precision bf16] [--device cuda] [--rounds 7]

All train on 32x32 images that lie in memory, distorted, in channels_last memory, with Nesterov. They take turns in
one process; the figures are medians over rounds, and a ratio is the median of the rounds' ratios, with the least and
the largest. "2n" is a self-distilled step of n images against a baseline step of 2n, both sdcaffe's. Memory is the
largest resident set of a process that makes a few steps and nothing else, above what it holds before the first.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).parent))
from rivals import Rival
from side_by_side import take_turns

import sdcaffe

# Images before the doubling: the recipes' own, or as many as let a round take seconds on two cores.
BATCH = {"resnet32": 64, "preact_resnet18": 16, "wrn16_8": 8, "densenet40": 16}
MECHANISMS = {"baseline": False, "self_distilled": True}
STEPS_FOR_MEMORY = 3


def data(device: torch.device) -> tuple[Tensor, Tensor]:
    from sdcaffe.data.synthetic import synthetic

    images, labels = synthetic("train")
    return torch.as_tensor(images).to(device), torch.as_tensor(labels).long().to(device)


def make_solver(
    net_name: str,
    mechanism: str,
    batch: int,
    device: torch.device,
    precision: str,
    change: Callable[[Any], None] | None = None,
) -> sdcaffe.Solver:
    """The committed recipe on synthetic images, without tests and snapshots; `change` edits its NetParameter."""
    param = sdcaffe.read_solver(f"prototxt/cifar100/{net_name}/solver_{mechanism}.prototxt")
    net = sdcaffe.read_net(param.net)
    for field in ("net", "test_iter", "test_interval", "display", "snapshot"):
        param.ClearField(field)
    param.snapshot_after_train = False
    for layer in net.layer:
        if layer.type == "Data":
            layer.data_param.source = "synthetic:train"
            layer.data_param.batch_size = batch
    if change is not None:
        change(net)
    param.net_param.CopyFrom(net)
    param.precision = precision
    return sdcaffe.Solver(param, device=device)


def ours(net_name: str, mechanism: str, batch: int, device: torch.device, precision: str) -> Callable[[], None]:
    solver = make_solver(net_name, mechanism, batch, device, precision)
    return lambda: solver.step(1)


def rival(net_name: str, mechanism: str, batch: int, device: torch.device, precision: str) -> Callable[[], None]:
    return Rival(net_name, *data(device), batch, MECHANISMS[mechanism], precision)


WAYS = {"sdcaffe": ours, "rival": rival}


def show(ratio: tuple[float, float, float]) -> str:
    return "{:.3f} ({:.2f} to {:.2f})".format(*ratio)


def compare(net_name: str, args: argparse.Namespace) -> None:
    """Three table rows: baseline and self-distilled against the rival, self-distilled against the baseline of 2n."""
    batch, device = args.batch or BATCH[net_name], torch.device(args.device)
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    for mechanism in args.mechanism:
        ways = {name: make(net_name, mechanism, batch, device, args.precision) for name, make in WAYS.items()}
        times = take_turns(ways, args.rounds, args.steps, wait)
        memory = [peak(name, net_name, mechanism, batch, args) for name in WAYS] if args.memory else None
        print(
            f"{net_name:16s} {mechanism:15s} {batch:4d} {times.median('rival') * 1000:9.1f} "
            f"{times.median('sdcaffe') * 1000:9.1f}  {show(times.ratio('sdcaffe', 'rival')):22s}"
            + (f" {memory[1]:6.0f} {memory[0]:6.0f}  {memory[0] / memory[1]:.3f}" if memory else ""),
            flush=True,
        )
    if len(args.mechanism) == 2:
        ways = {
            "one": ours(net_name, "self_distilled", batch, device, args.precision),
            "two": ours(net_name, "baseline", 2 * batch, device, args.precision),
        }
        times = take_turns(ways, args.rounds, args.steps, wait)
        print(
            f"{net_name:16s} {'against 2n':15s} {batch:4d} {times.median('two') * 1000:9.1f} "
            f"{times.median('one') * 1000:9.1f}  {show(times.ratio('one', 'two'))}",
            flush=True,
        )


def peak(way: str, net_name: str, mechanism: str, batch: int, args: argparse.Namespace) -> float:
    """MiB that a process which trains this way needs on top of what it holds before the first step."""
    command = [sys.executable, __file__, "--peak", way, "--net", net_name, "--mechanism", mechanism]
    command += ["--batch", str(batch), "--precision", args.precision, "--device", args.device]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def print_peak(args: argparse.Namespace) -> None:
    device = torch.device(args.device)
    step = WAYS[args.peak](args.net[0], args.mechanism[0], args.batch, device, args.precision)
    used = largest_above_the_present(lambda: [step() for _ in range(STEPS_FOR_MEMORY)])
    print(torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else used)


def largest_above_the_present(work: Callable[[], object]) -> float:
    """MiB by which the resident set grew at most while `work` ran."""
    before = _resident()
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def data_share(args: argparse.Namespace) -> None:
    """How much of a self-distilled ResNet-32 step goes into the next batch and its distortion."""
    solver = make_solver("resnet32", "self_distilled", 64, torch.device(args.device), args.precision)
    net = solver.net
    distort = net.layers["distort"]

    def load() -> None:
        (images, _) = net.load().values()
        distort(images)

    times = take_turns({"step": lambda: solver.step(1), "data": load}, args.rounds, args.steps)
    print(
        f"data and distortion: {times.median('data') * 1000:.2f} ms of {times.median('step') * 1000:.1f} ms, "
        f"{100 * times.ratio('data', 'step')[0]:.1f} %"
    )


def where_time_goes(args: argparse.Namespace) -> None:
    """The share of convolutions and of the largest other operators in a step of each, by torch's profiler."""
    for name, make in WAYS.items():
        step = make(args.net[0], args.mechanism[-1], args.batch or BATCH[args.net[0]], torch.device("cpu"), "fp32")
        step()
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            step()
        times = Counter({event.key: event.self_cpu_time_total for event in profiled.key_averages()})
        whole = sum(times.values())
        convolutions = sum(time for key, time in times.items() if "conv" in key.lower())
        others = ", ".join(f"{key} {t / whole:.1%}" for key, t in times.most_common(8) if "conv" not in key.lower())
        print(f"{name}: convolutions {convolutions / whole:.1%} of {whole / 1e3:.0f} ms; {others}")


def build_times() -> None:
    for net_name in ("wrn28_10", "densenet100"):
        start = time.perf_counter()
        sdcaffe.Net(f"prototxt/cifar100/{net_name}/deploy.prototxt", sdcaffe.TRAIN)
        print(f"{net_name} built from prototxt in {time.perf_counter() - start:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", nargs="+", choices=sorted(BATCH), default=list(BATCH))
    parser.add_argument("--mechanism", nargs="+", choices=list(MECHANISMS), default=list(MECHANISMS))
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, help="images before the doubling")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=1, help="steps a round")
    parser.add_argument("--memory", action="store_true", help="peak memory as well, each in a process of its own")
    parser.add_argument("--profile", action="store_true", help="where a step's time goes, and nothing else")
    parser.add_argument("--peak", choices=list(WAYS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.manual_seed(0)
    if args.peak:
        print_peak(args)
        return
    if args.profile:
        where_time_goes(args)
        return
    where = (
        f"{torch.get_num_threads()} CPU threads" if args.device == "cpu" else torch.cuda.get_device_name(args.device)
    )
    print(f"{where}, {args.precision}, medians of {args.rounds} rounds")
    print(
        f"{'net':16s} {'mechanism':15s} {'n':>4s} {'rival ms':>9s} {'sdcaffe ms':>9s} {'ratio':22s}"
        + (f" {'rival':>6s} {'ours':>6s}  MiB ratio" if args.memory else "")
    )
    for net_name in args.net:
        compare(net_name, args)
    data_share(args)
    build_times()


if __name__ == "__main__":
    main()
