"""How large the gradient of each of the paper's losses is beside cross-entropy's, as nets begin and as they end.

`python -m sdcaffe.paper.gradients`, in a clone, measures every net below whose weights are there, on training images,
and writes reference_logs/gradients.csv, from which the page of results is made. It trains nothing.
"""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sdcaffe import Net, proto
from sdcaffe.layers import discover
from sdcaffe.log import silent
from sdcaffe.paper.layers.kl_loss import SoftenedDivergence
from sdcaffe.paper.layers.mmd_loss import MeanDiscrepancy
from sdcaffe.paper.recipes import RECIPES

CSV = Path("reference_logs/gradients.csv")
TEMPERATURES = (1.0, 2.0, 3.0, 4.0)
BATCHES, SEED = 10, 1
HEAD = ("net", "state", "images", "cross_entropy", "mmd", *(f"kl_{t:g}" for t in TEMPERATURES))
_KEPT = ("logits_a", "logits_b", "feature_a", "feature_b")


@dataclass(frozen=True)
class Place:
    """A two-branch net of a folder of prototxt/, and the weights at which it is looked at; None: as it begins."""

    folder: str
    state: str
    weights: str | None = None


PLACES = (
    Place("study2", "start"),
    Place("study2", "end of baseline", "runs/study2/baseline_seed1_iter_3125.caffemodel"),
    Place("study2", "end of two branches", "runs/study2/two_branch_seed1_iter_3125.caffemodel"),
    Place("study2", "end of KL of Hinton", "runs/study2/two_branch_kl_hinton_seed1_iter_3125.caffemodel"),
    Place("study2", "end of self-distilled", "runs/study2/self_distilled_seed1_iter_3125.caffemodel"),
    Place("cifar100/resnet32", "start"),
    Place("cifar100/resnet32", "baseline", "reference_logs/{}/baseline_iter_*.caffemodel"),
    Place("cifar100/resnet32", "self-distilled", "reference_logs/{}/self_distilled_iter_*.caffemodel"),
)


def sizes(net: Net) -> dict[str, float]:
    """Of one batch: the norm of the gradient of all that the net learns, for each loss by itself.

    `cross_entropy` is of the sum of both branches', `mmd` at mu = 1, `kl_T` as the paper prints its gradient, at
    lambda = 1 and temperature T. The net is the self-distilled one, in its training phase.
    """
    made = net.compute(net.load(), _KEPT).blobs
    logits_a, logits_b, feature_a, feature_b = (made[name] for name in _KEPT)
    losses = {"cross_entropy": made["loss_a"] + made["loss_b"]}
    losses["mmd"] = MeanDiscrepancy.apply(feature_a.flatten(1), feature_b.flatten(1))
    for t in TEMPERATURES:
        losses[f"kl_{t:g}"] = SoftenedDivergence.apply(logits_a, logits_b, t, 1.0, 1 / len(logits_a))
    learned: list[Tensor] = [item.tensor for item in net.learnable if item.tensor.requires_grad]
    return {name: _norm(loss, learned) for name, loss in losses.items()}


def _norm(loss: Tensor, learned: list[Tensor]) -> float:
    """Of the gradient; what the loss does not depend on adds nothing."""
    gradients = torch.autograd.grad(loss, learned, retain_graph=True, allow_unused=True)
    return math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients if gradient is not None))


def measured(place: Place) -> dict[str, str] | None:
    """A line of the file: the mean norm of cross-entropy's gradient, and the mean share of it that each other has.

    None where there are no weights.
    """
    recipe = next(r for r in RECIPES if r.folder == place.folder and r.mechanism.file == "self_distilled")
    found = _weights(place.weights)
    if place.weights and found is None:
        return None
    torch.manual_seed(SEED)
    with silent():
        net = Net(recipe.net_file, proto.TRAIN, weights=found)
        try:
            every = [sizes(net) for _ in range(BATCHES)]
        finally:
            net.close()
    state = place.state if found is None or "_seed" in found else f"{place.state}, iteration {_iteration(found):,}"
    line = {"net": recipe.title, "state": state, "images": str(BATCHES * recipe.schedule.batch_size)}
    line["cross_entropy"] = f"{statistics.fmean(each['cross_entropy'] for each in every):.4g}"
    for name in HEAD[4:]:
        line[name] = f"{statistics.fmean(each[name] / each['cross_entropy'] for each in every):.4g}"
    return line


def _weights(pattern: str | None) -> str | None:
    """The newest file of a pattern: of finished runs first, else of those under way."""
    if pattern is None:
        return None
    for folder in ("runs/cifar100/resnet32", "unfinished"):
        paths = sorted(Path().glob(pattern.format(folder)), key=lambda path: _iteration(str(path)))
        if paths:
            return str(paths[-1])
    return None


def _iteration(path: str) -> int:
    return int(path.rpartition("_iter_")[2].partition(".")[0])


def lines() -> Iterator[dict[str, str]]:
    for place in PLACES:
        line = measured(place)
        if line is not None:
            print(line["net"], line["state"])
            yield line


def main() -> None:
    discover()
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, HEAD, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines())
    with proto.atomic_write(CSV) as written:
        written.write(file.getvalue().encode())


if __name__ == "__main__":
    main()
