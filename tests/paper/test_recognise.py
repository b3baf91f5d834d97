"""What a run is told by is what it computes: names, order and what is written out of defaults change nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from compare_logs import BASELINE, CIFAR_100, DISTILLED, RESNET, SMALL, Log
from recipe_nets import parsed

from sdcaffe import layers, proto
from sdcaffe.graph.state import keep_layers, net_state
from sdcaffe.log import Run, parse_log
from sdcaffe.paper import published
from sdcaffe.paper.compare import compare
from sdcaffe.paper.compare.recognise import recognise
from sdcaffe.paper.compare.runs import TrainingRun
from sdcaffe.paper.datasets import CIFAR100
from sdcaffe.paper.mechanisms import Baseline, Mechanism, SeparateBranches
from sdcaffe.paper.networks.resnet import ResNet
from sdcaffe.paper.networks.wide_resnet import WideResNet
from sdcaffe.paper.teaching import Peer, Teacher

layers.discover()
VALUES = published.load()


def found(text: str) -> TrainingRun:
    return recognise("log", parse_log(text), VALUES)


def of_net(text: str, solver: str) -> TrainingRun:
    """The run of a net that is given whole."""
    nets = []
    for phase in (proto.TRAIN, proto.TEST):
        net = parsed(text)
        net.state.CopyFrom(net_state(phase))
        nets.append(proto.text.format(keep_layers(net)))
    return recognise("log", Run(net="someone's", solver_text=solver, nets=nets), VALUES)


def renamed(text: str) -> str:
    """The log with every layer and every blob called by a number."""
    names: dict[str, str] = {}

    def numbered(match: re.Match[str]) -> str:
        return f'{match[1]}: "{names.setdefault(match[2], f"n{len(names)}")}"'

    text = re.sub(r'(?m)\b(name|bottom|top): "([^"]*)"', numbered, text)
    return re.sub(r"(output #\d: )(\w+)", lambda match: match[1] + names[match[2]], text)


@pytest.mark.parametrize("log", [BASELINE, DISTILLED, replace(DISTILLED, mu=0.01), replace(DISTILLED, kl=None)])
def test_other_names_are_the_same_run(log: Log) -> None:
    run, plain = found(renamed(log.text())), found(log.text())
    assert (run.reason, run.departures) == ("", [])
    assert (run.network, run.data_set, run.mechanism, run.mu) == (
        plain.network,
        plain.data_set,
        plain.mechanism,
        plain.mu,
    )
    assert run.recipe is plain.recipe
    assert run.what == plain.what
    assert run.errors() == plain.errors()
    assert len(run.errors()) == 3


def test_the_name_of_the_net_decides_nothing() -> None:
    run = found(replace(BASELINE, net="AlexNet taught by WRN-28-10").text())
    assert (run.network, run.mechanism, run.reason) == ("ResNet-32", "baseline", "")


def test_what_is_written_out_of_defaults_changes_nothing() -> None:
    """Layers as Caffe's users write them: with each default, Split layers, and layers of their own for each phase."""
    text = RESNET.replace("num_output: 32 kernel_size: 3", "group: 1 engine: CAFFE num_output: 32 kernel_size: 3")
    text = text.replace('type: "BatchNorm"', f'{3 * "param { lr_mult: 0 } "} type: "BatchNorm"')
    text = text.replace("weight_filler", 'bias_filler { type: "constant" value: 0 } weight_filler')
    text = text.replace(
        'name: "fc" type: "InnerProduct" bottom: "pool"',
        'name: "s" type: "Split" bottom: "pool" top: "pool_0" top: "pool_1" }\n'
        'layer { name: "fc" type: "InnerProduct" bottom: "pool_1" param { lr_mult: 1 decay_mult: 1 }',
    )
    assert text.count("engine") == 10  # five blocks of two
    assert "pool_1" in text
    run, plain = found(replace(BASELINE, network=text).text()), found(BASELINE.text())
    assert (run.network, run.reason, run.departures) == ("ResNet-32", "", [])
    assert run.settings["net fingerprint"] == plain.settings["net fingerprint"]


WINDOW = 'top: "res3_2a"\n  convolution_param { num_output: 32 kernel_size: 3 pad: 1'
FIRST = 'name: "conv1_bn" type: "BatchNorm" bottom: "conv1" top: "conv1"'
FRACTION = " batch_norm_param { moving_average_fraction: 0.9 }"


@pytest.mark.parametrize(
    ("before", "after", "departure"),
    [
        (WINDOW, f"{WINDOW} dilation: 2", "Convolution dilation 2, not 1 in res3_2a"),
        (WINDOW, WINDOW.replace("32", "24"), "Convolution num_output 24, not 32 in res3_2a"),
        ("bias_term: false", "bias_term: true", "Convolution bias_term true, not false in 31 layers"),
        (FIRST, FIRST + FRACTION, "BatchNorm moving_average_fraction 0.9, not 0.999 in conv1_bn"),
        ("pool: AVE", "pool: MAX", "Pooling pool max, not ave in pool"),
        ("{ num_output: 100", "{ num_output: 20", "20 classes, not 100"),
        ('"res4_5b" bottom: "res4_4"', '"res4_5b" bottom: "res4_3"', "layers wired otherwise"),
    ],
)
def test_a_field_of_the_network_that_differs_is_named(before: str, after: str, departure: str) -> None:
    assert before in RESNET
    run = found(replace(BASELINE, network=RESNET.replace(before, after)).text())
    assert (run.network, run.mechanism, run.reason) == ("ResNet-32", "baseline", "")
    assert run.departures == [departure]


@pytest.mark.parametrize(
    ("change", "departure"),
    [
        ({"solver": {"momentum": 0.8}}, "momentum 0.8, not 0.9"),
        ({"solver": {"base_lr": 0.05}}, "base_lr 0.05, not 0.1"),
        ({"solver": {"lr_policy": '"fixed"'}}, "learning rate fixed, not 60, 120, 180"),
        ({"solver": {"clip_gradients": 5}}, "clip_gradients 5, not none"),
        ({"solver": {"warmup_iter": 500}}, "warmup_iter 500, not 0"),
        ({"solver": {"ema_decay": 0.999}}, "ema_decay 0.999, not 0"),
        ({"solver": {"regularization_type": '"L1"'}}, "regularization L1, not L2"),
        ({"distortion": CIFAR_100.replace("pad: 4", "pad: 2")}, "pad 2, not 4"),
        ({"distortion": CIFAR_100.replace("mirror: true", "mirror: false")}, "no mirroring"),
        ({"distortion": CIFAR_100.replace("65.382", "60")}, "std_value 68.1615 60 70.431, not 68.1615 65.382 70.431"),
        ({"source": "cifar100_{}_small"}, 'data that may be a part of it ("small")'),
    ],
)
def test_a_field_of_the_solver_or_of_the_images_that_differs_is_named(change: dict, departure: str) -> None:
    run = found(replace(DISTILLED, **change).text())
    assert (run.network, run.data_set, run.mechanism, run.reason) == ("ResNet-32", "CIFAR-100", "self-distilled", "")
    assert run.departures == [departure]


def test_a_layer_more_is_named() -> None:
    dropout = 'layer { name: "drop" type: "Dropout" bottom: "pool" top: "pool" }'
    text = RESNET.replace('layer {\n  name: "fc"', f'{dropout}\nlayer {{\n  name: "fc"')
    run = found(replace(BASELINE, network=text).text())
    assert (run.network, run.departures) == ("ResNet-32", ["1 Dropout more"])


SOLVER = BASELINE.text().partition("parameters: \n")[2].partition("I2026")[0]


@pytest.mark.parametrize("depth", [26, 38])
def test_another_depth_is_another_network(depth: int) -> None:
    run = of_net(Baseline().train_val(ResNet(depth, 100), CIFAR100, 64), SOLVER)
    assert run.reason == "its network is none of the recipes', nor near one"
    assert (run.network, run.mechanism, run.data_set) == ("someone's", "baseline", "CIFAR-100")


@pytest.mark.parametrize(
    ("mechanism", "expected"),
    [
        (Teacher("", "", ResNet(110, 100)), ("teacher-to-student", "ResNet-110")),
        (Peer("", "", ResNet(110, 100), "peer_"), ("student-to-student", "ResNet-110")),
        (Peer("", "", WideResNet(16, 8, 100), "peer_"), ("student-to-student", "WRN-16-8")),
        (SeparateBranches("", "", kl_weight=0, mmd_weight=0), ("two branches", "")),
        (SeparateBranches("", "", kl_weight=1, mmd_weight=0), ("two branches + KL", "")),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else None,
)
def test_mechanisms_of_other_pairs_than_the_recipes(mechanism: Mechanism, expected: tuple[str, str]) -> None:
    run = of_net(mechanism.train_val(WideResNet(16, 8, 100), CIFAR100, 128), SOLVER)
    assert (run.network, run.mechanism, run.peer) == ("WRN-16-8", *expected)
    assert run.comparable


def test_a_loss_that_no_mechanism_has_is_told() -> None:
    extra = 'layer { name: "more" type: "EuclideanLoss" bottom: "fc" bottom: "fc" top: "more" }\n# losses'
    run = of_net(Baseline().train_val(ResNet(32, 100), CIFAR100, 64).replace("# losses", extra), SOLVER)
    assert run.reason.startswith("what its network is trained with is no mechanism known here: 1 EuclideanLoss, 1 Soft")
    assert not run.comparable


def test_a_stranger_s_net_and_its_self_distilled_form_are_runs_of_one_network(tmp_path: Path) -> None:
    """Their nets have other names; what they test is the same."""
    plain = replace(BASELINE, network=SMALL, net="SmallNet").text()
    distilled = replace(DISTILLED, network=SMALL, net="SmallNet self-distilled").text()
    for i, text in enumerate((plain, distilled)):
        (tmp_path / f"{i}.log").write_text(text)
    groups = compare([tmp_path]).other_groups
    assert [(g.runs[0].network, g.runs[0].mechanism) for g in groups] == [
        ("SmallNet", "baseline"),
        ("SmallNet", "self-distilled"),
    ]
