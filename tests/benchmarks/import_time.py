"""Processor time of starting: what `import sdcaffe`, help and `from sdcaffe import Net` cost beside Python and torch.

    python tests/benchmarks/import_time.py [--rounds 21]

Each is a process of its own. They take turns. The first ones leave compiled modules behind, as an installation does.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from side_by_side import take_turns

WAYS = {
    "python": ["-c", "pass"],
    "import sdcaffe": ["-c", "import sdcaffe"],
    "sdcaffe --help": ["-m", "sdcaffe", "--help"],
    "import torch": ["-c", "import torch"],
    "from sdcaffe import Net": ["-c", "from sdcaffe import Net"],
}
SECONDS = {"import sdcaffe": 0.02, "sdcaffe --help": 0.15}  # at most, beyond Python's own start
RATIO = 1.2  # of `from sdcaffe import Net` to `import torch`, at most


def processor_time() -> float:
    """Seconds that all processes started from here have taken, in user and system mode."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def process(arguments: list[str]) -> Callable[[], None]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def run() -> None:
        subprocess.run([sys.executable, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    args = parser.parse_args()
    times = take_turns({name: process(code) for name, code in WAYS.items()}, args.rounds, clock=processor_time)
    start = times.median("python")
    print(f"python starts in {start:.3f} s, and imports torch in {times.median('import torch'):.2f} s")
    for name, limit in SECONDS.items():
        print(f"{name}: {times.median(name) - start:.3f} s beyond that (at most {limit})")
    ratio, least, largest = times.ratio("from sdcaffe import Net", "import torch")
    print(f"from sdcaffe import Net: {ratio:.3f} of import torch ({least:.2f} to {largest:.2f}; at most {RATIO})")


if __name__ == "__main__":
    main()
