"""What recipes write: files that are current, parse, build, and have the sizes that theory gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from recipe_nets import FILES

from sdcaffe import Net, proto
from sdcaffe.layers import discover, fillers
from sdcaffe.paper.datasets import CIFAR100
from sdcaffe.paper.layers.kl_loss import Gradient
from sdcaffe.paper.mechanisms import Baseline, TwoBranches
from sdcaffe.paper.networks.resnet import ResNet
from sdcaffe.paper.text import Blob, NetText

ROOT = Path(__file__).parents[2]
NETS = [name for name in FILES if "solver" not in name]
SOLVERS = [name for name in FILES if "solver" in name]

discover()

# What each mechanism trains with.
LOSSES = {
    **dict.fromkeys(("baseline", "baseline_2n"), "loss"),
    "two_branch": "loss_a loss_b",
    **dict.fromkeys(("two_branch_mmd", "two_branch_mmd_paper"), "loss_a loss_b mmd"),
    **dict.fromkeys(("two_branch_kl", "two_branch_kl_hinton"), "loss_a loss_b kl"),
    "self_distilled": "loss_a loss_b kl mmd",
    "mu": "loss_a loss_b kl mmd",
    "separate_statistics": "loss_a loss_b kl mmd",
    **dict.fromkeys(("teacher_wrn28_10", "taught", "taught_printed"), "loss kl"),
    **dict.fromkeys(("peer_resnet32", "peer_wrn28_10", "peer", "peer_in_turn"), "loss peer_loss kl"),
    **dict.fromkeys(
        ("pad_normalized", "affine", "perspective", "thin_plate_spline", "random_erasing"), "loss_a loss_b kl mmd"
    ),
    **dict.fromkeys(("adversarial", "gaussian_mmd", "mixup"), "loss_a loss_b kl mmd"),
}


def parameters(depth: int, classes: int, width: int, projection: bool = False) -> int:
    """The closed form for a CIFAR ResNet: 3x3 convolutions, two numbers a BatchNorm channel, the last layer."""
    n = (depth - 2) // 6
    w = width
    convolutions = 27 * w + 9 * w * w * (2 * n) + (18 + 36 * (2 * n - 1)) * w * w + (72 + 144 * (2 * n - 1)) * w * w
    channels = w * (1 + 2 * n) + 2 * w * 2 * n + 4 * w * 2 * n
    if projection:
        convolutions += 2 * w * w + 8 * w * w
        channels += 2 * w + 4 * w
    return convolutions + 2 * channels + (4 * w + 1) * classes


def read(tmp_path: Path, source: str):
    path = tmp_path / "net.prototxt"
    path.write_text(source)
    return proto.read_net(path)


def test_prototxt_is_what_the_command_writes(tmp_path):
    subprocess.run([sys.executable, "-m", "sdcaffe.paper", str(tmp_path)], check=True, cwd=ROOT, capture_output=True)
    written = {str(p.relative_to(tmp_path)): p.read_text() for p in tmp_path.rglob("*.prototxt")}
    assert set(written) == set(FILES)
    stale = [name for name, text in written.items() if FILES[name] != text]
    assert not stale, "run `make prototxt`"


@pytest.mark.parametrize("name", list(FILES))
def test_lines_fit_and_are_plain(name):
    assert all(len(line) <= 120 and line == line.rstrip() for line in FILES[name].splitlines())


@pytest.mark.parametrize("name", NETS)
def test_nets_parse(name):
    net = proto.read_net(ROOT / name)
    assert net.name
    assert len(net.layer) > 10


@pytest.mark.parametrize(
    ("depth", "classes", "published"), [(20, 10, 0.27), (32, 10, 0.46), (56, 10, 0.85), (110, 10, 1.7)]
)
def test_parameter_counts_are_the_published_ones(depth, classes, published):
    net = NetText("")
    ResNet(depth, classes).build(net, Blob("data", 3))
    assert net.parameters == parameters(depth, classes, 16)
    assert net.parameters / 1e6 == pytest.approx(published, abs=0.05 if published > 1 else 0.006)


@pytest.mark.parametrize("projection", [False, True])
@pytest.mark.parametrize("width", [4, 16])
def test_counted_parameters_are_those_of_the_net(tmp_path, projection, width):
    network = ResNet(14, 10, width=width, projection=projection)
    text = NetText("counted")
    text.layer("data", "Input", [], ["data"], {"input_param": {"shape": {"dim": [2, 3, 32, 32]}}})
    network.build(text, Blob("data", 3))
    net = Net(read(tmp_path, text.text([])), proto.TRAIN)
    learned = sum(p.numel() for name, ps in net.params.items() if not name.endswith("_bn") for p in ps)
    assert learned == text.parameters == parameters(14, 10, width, projection)
    assert net.blob_shapes["pool"] == (2, 4 * width, 1, 1)
    assert net.blob_shapes["fc"] == (2, 10)


def test_the_shortcut_takes_every_second_pixel_and_zeros(tmp_path):
    text = NetText("shortcut")
    text.layer("data", "Input", [], ["data"], {"input_param": {"shape": {"dim": [2, 3, 32, 32]}}})
    ResNet(8, 10, width=8).build(text, Blob("data", 3))
    net = Net(read(tmp_path, text.text([])), proto.TRAIN)
    blobs = net.forward({"data": torch.rand(2, 3, 32, 32)}, keep=("res2_1", "res3_1_shortcut"))
    before, after = (blobs[name].detach().numpy() for name in ("res2_1", "res3_1_shortcut"))
    np.testing.assert_array_equal(after[:, :8], before[:, :, ::2, ::2])
    np.testing.assert_array_equal(after[:, 8:], np.zeros((2, 8, 16, 16)))


@pytest.mark.parametrize("name", [n for n in NETS if "train_val" in n])
def test_training_and_test_nets_share_their_parameters(name):
    """Both phases are read without data: what is tested is trained, and the losses are the phase's."""
    net = proto.read_net(ROOT / name)
    layers = {
        phase: [layer for layer in net.layer if not layer.include or layer.include[0].phase == phase]
        for phase in (proto.TRAIN, proto.TEST)
    }
    learned = {"Convolution", "InnerProduct", "Scale", "BatchNorm"}
    train, test = ([x.name for x in layers[p] if x.type in learned] for p in (proto.TRAIN, proto.TEST))
    mechanism = name.partition("train_val_")[2].removesuffix(".prototxt")
    if any(word in mechanism for word in ("teacher", "taught", "peer", "separate", "adversarial")):
        assert set(test) < set(train)
    else:
        assert train == test
    weights = {x.name: list(x.loss_weight) for x in layers[proto.TRAIN] if x.type.endswith("Loss")}
    assert set(weights) == set(LOSSES[mechanism].split())
    assert weights.get("kl", [1]) == [1]
    if mechanism not in ("mu", "gaussian_mmd") and not {"study2", "open_questions"} & {*name.split("/")}:
        assert weights.get("mmd", [0.0005]) == pytest.approx([0.0005])
    scored = [x.type for x in layers[proto.TEST] if x.type in ("SoftmaxWithLoss", "Accuracy")]
    assert scored == ["SoftmaxWithLoss", "Accuracy"] + ["Accuracy"] * ("imagenet" in name)


def test_a_branch_weight_of_zero_leaves_the_loss_out(tmp_path):
    """The rows of the paper's Table 6 between baseline and self-distillation."""
    network = ResNet(8, 100)
    for kl, mmd, losses in ((0, 0, set()), (0, 0.0005, {"mmd"}), (1, 0, {"kl"})):
        text = TwoBranches("two branches", "two_branch", kl, mmd).train_val(network, CIFAR100, 64)
        names = {layer.name for layer in read(tmp_path, text).layer}
        assert names & {"kl", "mmd"} == losses
        assert ("split_feature" in names) == bool(mmd)
        assert {"loss_a", "loss_b"} <= names


def test_baseline_sees_one_branch(tmp_path):
    net = read(tmp_path, Baseline().train_val(ResNet(8, 100), CIFAR100, 64))
    assert [list(layer.top) for layer in net.layer if layer.type == "Distort"] == [["data"]]


# Batch size, weight decay, gamma, epochs of the drops, epochs: the recipes of the paper.
RECIPES = {
    "resnet32": (64, 1e-4, 0.1, (60, 120, 180), 200),
    "resnet32_projection": (64, 1e-4, 0.1, (60, 120, 180), 200),
    "resnet110": (64, 1e-4, 0.1, (60, 120, 180), 200),
    "preact_resnet18": (64, 1e-4, 0.1, (60, 120, 180), 200),
    "preact_resnet34": (64, 1e-4, 0.1, (60, 120, 180), 200),
    "wrn40_4": (128, 5e-4, 0.2, (60, 120, 180), 200),
    "wrn16_8": (128, 5e-4, 0.2, (60, 120, 180), 200),
    "wrn28_10": (128, 5e-4, 0.2, (60, 120, 180), 200),
    "densenet40": (64, 1e-4, 0.1, (150, 225), 300),
    "densenet100": (64, 1e-4, 0.1, (150, 225), 300),
}
PIXELS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}


@pytest.mark.parametrize("name", [n for n in SOLVERS if "/cifar10" in n])
def test_cifar_networks_train_as_the_paper_did(name):
    _, images, network, file = name.split("/")
    batch, decay, gamma, drops, epochs = RECIPES[network]
    solver = proto.read_solver(ROOT / name)
    epoch = 50_000 / batch
    assert list(solver.stepvalue) == [int(drop * epoch) for drop in drops]
    assert solver.max_iter == epochs * epoch
    assert (solver.type, solver.lr_policy) == ("Nesterov", "multistep")
    rates = (solver.base_lr, solver.gamma, solver.momentum, solver.weight_decay)
    assert rates == pytest.approx((0.1, gamma, 0.9, decay))
    net = proto.read_net(ROOT / solver.net)
    data = [layer.data_param for layer in net.layer if layer.type == "Data"]
    assert [(d.source, d.batch_size, d.shuffle) for d in data] == [
        (f"{images}:train", batch, True),
        (f"{images}:test", 100, False),
    ]
    assert data[1].batch_size * solver.test_iter[0] == 10_000
    for layer in net.layer:
        if layer.type == "Distort":
            distort = layer.distort_param
            assert (distort.pad, distort.crop_size, distort.mirror) == (4, 32, True)
            for values, fractions in zip((distort.mean_value, distort.std_value), PIXELS[images], strict=True):
                assert list(values) == pytest.approx([255 * x for x in fractions])
        if layer.type == "KLLoss" and "peer" not in file:
            assert layer.kl_loss_param.temperature == (2 if images == "cifar10" else 3)


# Images a step, the losses' weights and the KL convention of the second study's arms.
ARMS = {
    "baseline": (64, {"loss": 1}, None),
    "baseline_2n": (128, {"loss": 1}, None),
    "two_branch": (64, {"loss_a": 1, "loss_b": 1}, None),
    "two_branch_mmd": (64, {"loss_a": 1, "loss_b": 1, "mmd": 0.1}, None),
    "two_branch_mmd_paper": (64, {"loss_a": 1, "loss_b": 1, "mmd": 0.0005}, None),
    "two_branch_kl": (64, {"loss_a": 1, "loss_b": 1, "kl": 1}, "PRINTED"),
    "two_branch_kl_hinton": (64, {"loss_a": 1, "loss_b": 1, "kl": 1}, "HINTON"),
    "self_distilled": (64, {"loss_a": 1, "loss_b": 1, "kl": 1, "mmd": 0.1}, "HINTON"),
}


@pytest.mark.parametrize("arm", ARMS)
def test_the_arms_of_the_second_study(arm):
    batch, losses, gradient = ARMS[arm]
    solver = proto.read_solver(ROOT / f"prototxt/study2/solver_{arm}.prototxt")
    assert (solver.max_iter, list(solver.stepvalue)) == (3125, [1562, 2343])  # 40 epochs of 5,000 by 64; 50, 75 %
    rates = (solver.base_lr, solver.gamma, solver.momentum, solver.weight_decay)
    assert rates == pytest.approx((0.1, 0.1, 0.9, 5e-4))
    assert (solver.precision, solver.test_metrics, solver.test_iter[0]) == ("bf16", True, 100)
    net = proto.read_net(ROOT / solver.net)
    sources = [(layer.data_param.source, layer.data_param.batch_size) for layer in net.layer if layer.type == "Data"]
    assert sources == [("cifar100:train=50", batch), ("cifar100:test", 100)]
    trained = [layer for layer in net.layer if layer.type.endswith("Loss") and "TEST" not in str(layer.include)]
    assert {layer.name: (*layer.loss_weight, 1)[0] for layer in trained} == pytest.approx(losses)
    kl = [layer.kl_loss_param for layer in trained if layer.type == "KLLoss"]
    assert [(param.temperature, param.gradient) for param in kl] == ([(3, Gradient[gradient])] if gradient else [])
    widths = [layer.convolution_param.num_output for layer in net.layer if layer.type == "Convolution"]
    assert widths == [32, 32, 32, 64, 64, 128, 128]
    assert net.layer[[layer.name for layer in net.layer].index("conv1")].convolution_param.stride == [2]


@pytest.mark.parametrize(
    ("name", "crop", "base_lr", "decay"), [("alexnet", 227, 0.01, 5e-4), ("resnet18", 224, 0.1, 1e-4)]
)
@pytest.mark.parametrize("mechanism", ["baseline", "self_distilled"])
def test_imagenet_networks_train_on_crops_of_a_database(name, crop, base_lr, decay, mechanism):
    solver = proto.read_solver(ROOT / f"prototxt/imagenet/{name}/solver_{mechanism}.prototxt")
    assert (solver.base_lr, solver.weight_decay) == pytest.approx((base_lr, decay))
    assert (solver.type, solver.momentum) == ("Nesterov", pytest.approx(0.9))
    net = proto.read_net(ROOT / solver.net)
    data = [layer.data_param for layer in net.layer if layer.type == "Data"]
    assert [d.backend for d in data] == [proto.DataParameter.LMDB] * 2
    assert data[0].batch_size == 256
    assert data[1].batch_size * solver.test_iter[0] == 50_000
    distort = [layer.distort_param for layer in net.layer if layer.type == "Distort"]
    for param in distort:
        assert (param.pad, param.crop_size, param.mirror, list(param.std_value)) == (0, crop, True, [])
        assert list(param.mean_value) == [104, 117, 123]
    assert [layer.accuracy_param.top_k for layer in net.layer if layer.type == "Accuracy"] == [1, 5]
    temperatures = [layer.kl_loss_param.temperature for layer in net.layer if layer.type == "KLLoss"]
    assert temperatures == ([3] if mechanism == "self_distilled" else [])


@pytest.mark.parametrize("name", SOLVERS)
def test_solvers_name_their_net(name):
    solver = proto.read_solver(ROOT / name)
    assert solver.net in FILES
    assert solver.snapshot_prefix.startswith("runs/")
    assert solver.max_iter % solver.test_interval == 0  # so the last iteration is tested
    assert solver.max_iter % solver.snapshot == 0


# One of the larger networks is enough of each kind.
DEPLOYED = [
    n for n in NETS if "deploy" in n and not any(w in n for w in ("cifar10/", "28_10", "110", "34", "100/dens"))
]


@pytest.mark.parametrize("name", DEPLOYED)
def test_deploy_gives_probabilities_for_normalised_images(name, monkeypatch):
    if "imagenet" in name:  # a fast filler: 60 million normal numbers take their time
        monkeypatch.setattr(fillers, "fill", lambda tensor, filler: tensor.normal_(std=tensor[0].numel() ** -0.5))
    net = Net(ROOT / name, proto.TEST)
    for layer, blobs in net.params.items():
        if layer.endswith("_bn"):  # statistics as after training: mean 0, variance 1, collected once
            for blob, value in zip(blobs, (0, 1, 1), strict=True):
                blob.data.fill_(value)
    shape = net.blob_shapes["data"]
    size = 227 if "alexnet/deploy.prototxt" in name else 224 if "imagenet" in name else 32
    assert shape == (1, 3, size, size)
    with torch.no_grad():
        prob = net.forward({"data": torch.randn(shape)})["prob"]
    assert prob.shape == (1, 1000 if "imagenet" in name else 10 if "cifar10/" in name or "quickstart" in name else 100)
    assert prob.sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("depth", [2, 18, 34])
def test_other_depths_are_refused(depth):
    with pytest.raises(ValueError, match=f"not {depth}"):
        ResNet(depth, 10)
