"""What a user does with a stranger's policy, rule, source and measure: prints what a test compares, as JSON."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np

import sdcaffe
from sdcaffe import proto
from sdcaffe.run import run

NET = """
name: "clock"
layer { name: "data" type: "Data" top: "x" top: "label" include { phase: TRAIN } transform_param { scale: 0.01 }
  data_param { source: "strange_clock:48" batch_size: 4 clock_bright: 100 } }
layer { name: "data" type: "Data" top: "x" top: "label" include { phase: TEST } transform_param { scale: 0.01 }
  data_param { source: "strange_clock:12" batch_size: 4 } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
SOLVER = """
net: "net.prototxt" type: "StrangeSign" sign_beta: 0.8 momentum: 0.95 base_lr: 0.01 lr_policy: "strange_wave"
wave_depth: 0.25 weight_decay: 0.001 max_iter: 12 display: 1 snapshot: 7 random_seed: 5 solver_mode: CPU
test_iter: 3 test_interval: 6 eval_type: "strange_worst"
"""


def arrays(prefix: str) -> list[np.ndarray]:
    """Weights, then history, of iteration 12."""
    entries = proto.read_weights(f"{prefix}_iter_12.caffemodel")
    state = proto.read_state(f"{prefix}_iter_12.solverstate")
    return [blob for entry in entries for blob in entry.blobs] + list(state.history)


def main() -> dict[str, object]:
    Path("net.prototxt").write_text(NET)
    Path("solver.prototxt").write_text(SOLVER)
    start = [p.detach().clone().tolist() for p in sdcaffe.Solver("solver.prototxt").net.parameters()]
    (whole,) = run("solver.prototxt")
    end = arrays("solver")
    for path in Path(".").glob("solver_iter_12.*"):
        path.unlink()
    (resumed,) = run("solver.prototxt", snapshot="solver_iter_7.solverstate")
    log = Path("solver.log").read_text()
    first = log.partition("Resuming")[0]
    return {
        "start": start,
        "end": [array.tolist() for array in end],
        "resumed alike": all(np.array_equal(a, b) for a, b in zip(arrays("solver"), end, strict=True)),
        "scores": [whole.scores[0], resumed.scores[0]],
        "rates": [float(rate) for rate in re.findall(r"Iteration \d+, lr = (\S+)", first)],
        "status": re.findall(r"Wave Status: Iteration (\d+), step = (\d+)", log),
        "current_step": proto.read_state("solver_iter_12.solverstate").current_step,
        "lines": re.findall(r"Test net output #\d: (\w+) = (\S+)", first),
    }


if __name__ == "__main__":
    json.dump(main(), sys.stdout)
