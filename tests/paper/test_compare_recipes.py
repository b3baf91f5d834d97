"""What compare makes of the project's own solvers: which of the paper's runs each is."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdcaffe import layers, proto
from sdcaffe.graph.state import keep_layers, net_state
from sdcaffe.log import parse_log
from sdcaffe.paper import published
from sdcaffe.paper.compare.recognise import recognise
from sdcaffe.paper.compare.runs import TrainingRun

ROOT = Path(__file__).parents[2]
FILES = ROOT / "tests" / "goldens" / "files"


@pytest.fixture(autouse=True)
def known_layers() -> None:
    layers.discover()


BEYOND = {
    "affine": "self-distilled + affine",
    "perspective": "self-distilled + perspective",
    "thin_plate_spline": "self-distilled + thin plate spline",
    "random_erasing": "self-distilled + erasing",
    "adversarial": "self-distilled + adversarial branch",
    "gaussian_mmd": "two branches + KL + Gaussian MMD",
    "mixup": "self-distilled + mixup",
}
FURTHER = [ROOT / f"prototxt/cifar100/resnet32/solver_{name}.prototxt" for name in BEYOND]
SOLVERS = sorted(path for path in ROOT.glob("prototxt/*/*/solver*.prototxt") if path not in FURTHER)


@pytest.mark.parametrize("path", SOLVERS, ids=lambda path: str(path.relative_to(ROOT / "prototxt")))
def test_every_other_solver_of_the_project_is_one_of_the_papers_runs(path: Path) -> None:
    run = begun(path)
    assert run.reason == ""
    assert run.departures == []
    assert run.finished is False


@pytest.mark.parametrize("path", FURTHER, ids=list(BEYOND))
def test_recipes_beyond_the_paper_stand_for_none_of_its_values(path: Path) -> None:
    mechanism = BEYOND[path.stem.removeprefix("solver_")]
    run = begun(path)
    assert run.mechanism == mechanism
    assert run.reason.startswith(f"the paper has no ResNet-32 on CIFAR-100 trained {mechanism}")


def begun(path: Path) -> TrainingRun:
    """The run that a log shows whose head is that of a run of the solver."""
    solver = proto.read_solver(path)
    lines = "I20260423 01:02:03.000000 1 {}:1] {}\n{}"
    text = lines.format("solver.cpp", "Initializing solver from parameters: ", proto.text.format(solver))
    name = ""
    for phase in (proto.TRAIN, proto.TEST):
        net = proto.read_net(ROOT / solver.net)
        name = net.name
        stages = solver.train_state.stage if phase == proto.TRAIN else ()
        net.state.CopyFrom(net_state(phase, stages=stages))
        text += lines.format("net.cpp", "Initializing net from parameters: ", proto.text.format(keep_layers(net)))
    return recognise("log", parse_log(text + lines.format("solver.cpp", f"Solving {name}", "")), published.load())
