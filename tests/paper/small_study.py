"""Solver files where `sdcaffe reproduce` looks for them, of nets that train in a moment."""

from __future__ import annotations

from pathlib import Path

_NET = """
name: "{name}"
layer {{ name: "data" type: "Data" top: "image" top: "label" include {{ phase: TRAIN }}
  data_param {{ source: "synthetic:train" batch_size: 10 shuffle: true }} }}
layer {{ name: "data" type: "Data" top: "image" top: "label" include {{ phase: TEST }}
  data_param {{ source: "synthetic:test" batch_size: 10 }} }}
layer {{ name: "distort" type: "Distort" bottom: "image" top: "data"
  distort_param {{ pad: 4 crop_size: 32 mirror: true mean_value: 128 std_value: 64 }} }}
layer {{ name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param {{ num_output: {channels} kernel_size: 4 stride: 4 weight_filler {{ type: "msra" }} }} }}
layer {{ name: "fc" type: "InnerProduct" bottom: "conv1" top: "fc"
  inner_product_param {{ num_output: 10 weight_filler {{ type: "msra" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }}
layer {{ name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include {{ phase: TEST }} }}
"""
_SOLVER = """
net: "{net}" type: "Nesterov" base_lr: 0.01 lr_policy: "fixed" momentum: 0.9 max_iter: {iterations} display: 1
snapshot: 4 snapshot_prefix: "runs/{place}/{name}" test_iter: 2 test_interval: 4 solver_mode: CPU random_seed: 1
"""

TABLE_6 = ("baseline", "two_branch", "two_branch_mmd", "two_branch_kl", "self_distilled")
FOLDER = "study2"
STUDY = (
    "baseline", "baseline_2n", "two_branch", "two_branch_mmd", "two_branch_mmd_paper", "two_branch_kl",
    "two_branch_kl_hinton", "self_distilled",
)  # fmt: skip


def write(folder: Path, place: str, name: str, *, channels: int = 2, iterations: int = 8, more: str = "") -> Path:
    """A net and its solver; `place` is the folder below prototxt/ and runs/, `more` ends the solver."""
    net = folder / "prototxt" / place / f"train_val_{name}.prototxt"
    net.parent.mkdir(parents=True, exist_ok=True)
    net.write_text(_NET.format(name=f"small {place} {name}".replace("_", " "), channels=channels))
    solver = net.with_name(f"solver_{name}.prototxt")
    source = net.relative_to(folder)
    solver.write_text(_SOLVER.format(net=source, place=place, name=name, iterations=iterations) + more)
    return solver


def write_study(folder: Path) -> None:
    """The solvers of the study; each net is larger than the one before."""
    for i, name in enumerate(STUDY):
        write(folder, FOLDER, name, channels=2 + i)
