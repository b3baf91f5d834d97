"""A run of millions of iterations, in as many sittings as one likes, and what it holds of memory and files.

`python tests/long_run.py FOLDER 2000000` goes on from the newest snapshot in FOLDER and may be ended at any time. The
net is one InnerProduct: it is trained, tested and, every 20,000 iterations, kept. Then a line is added to held.txt: the
iteration, the memory in KiB, the open files and the process. Every 200,000 the solver is closed, made anew and resumed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sdcaffe import Solver
from sdcaffe.log import silent

NET = """
layer { name: "made" type: "DummyData" top: "in" top: "wanted"
  dummy_data_param { shape { dim: 2 dim: 3 } shape { dim: 2 dim: 2 }
    data_filler { type: "constant" value: 1 } data_filler { type: "constant" value: 2 } } }
layer { name: "fc" type: "InnerProduct" bottom: "in" top: "fc"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "fc" bottom: "wanted" top: "loss" }
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.001 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.0005 random_seed: 2
test_iter: 10 test_interval: 10000 display: 1000 snapshot: 20000 snapshot_prefix: "run"
"""
KEPT, ANEW = 20_000, 200_000


def main(folder: Path, iterations: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    Path("net.prototxt").write_text(NET)
    Path("solver.prototxt").write_text(f"{SOLVER} max_iter: {iterations}")
    done = max((int(path.stem.rsplit("_", 1)[1]) for path in Path().glob("run_iter_*.solverstate")), default=0)
    with silent():
        while done < iterations:
            solver = Solver("solver.prototxt")
            if done:
                solver.restore(f"run_iter_{done}.solverstate")
            assert solver.iter == done
            for _ in range(ANEW // KEPT):
                solver.step(KEPT)
                for old in Path().glob(f"run_iter_{done}.*"):
                    old.unlink()
                done = solver.iter
                with open("held.txt", "a") as file:
                    file.write(f"{done} {_memory()} {len(os.listdir('/proc/self/fd'))} {os.getpid()}\n")
                if done >= iterations:
                    break
            solver.close()


def _memory() -> int:
    """What this process holds now, in KiB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
