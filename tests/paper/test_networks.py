"""The paper's networks: as many parameters as theory and the paper say, and the layers of the original papers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from recipe_nets import FILES, built, parsed
from torch.nn import functional as F

from sdcaffe import Net, proto
from sdcaffe.layers import fillers
from sdcaffe.paper.networks.alexnet import AlexNet
from sdcaffe.paper.networks.densenet import DenseNet
from sdcaffe.paper.networks.imagenet_resnet import ImageNetResNet18
from sdcaffe.paper.networks.preact_resnet import PreactResNet
from sdcaffe.paper.networks.wide_resnet import WideResNet
from sdcaffe.paper.recipes import CIFAR_NETWORKS
from sdcaffe.paper.text import Blob, NetText

BUILDERS = {name: build for _, name, build, _ in CIFAR_NETWORKS}


def resnet(depth: int, classes: int) -> int:
    """16, 32 and 64 wide, 2n layers each; 3x3 convolutions, 2 numbers a BatchNorm channel, the last layer."""
    n = (depth - 2) // 6
    convolutions = 432 + 2304 * 2 * n + 4608 + 9216 * (2 * n - 1) + 18432 + 36864 * (2 * n - 1)
    channels = 16 + 2 * n * (16 + 32 + 64)
    return convolutions + 2 * channels + 65 * classes


def preact_resnet(blocks: tuple[int, ...], classes: int) -> int:
    """A BatchNorm before each 3x3 convolution but the first and one at the end; 1x1 shortcuts, no BatchNorm there."""
    convolutions, channels, before = 27 * 64, 512, 64
    for width, n in zip((64, 128, 256, 512), blocks, strict=True):
        convolutions += 9 * before * width + 9 * width**2 * (2 * n - 1)
        convolutions += before * width if before != width else 0
        channels += before + width * (2 * n - 1)
        before = width
    return convolutions + 2 * channels + 513 * classes


def wide_resnet(depth: int, k: int, classes: int) -> int:
    n, w = (depth - 4) // 6, 16 * k
    convolutions = 432 + 9 * (16 * w + 2 * w * w + 8 * w * w) + 9 * (2 * n - 1) * (1 + 4 + 16) * w * w
    shortcuts = 16 * w + 2 * w * w + 8 * w * w
    channels = 16 + w + 2 * w + 4 * w + (2 * n - 1) * (w + 2 * w + 4 * w)
    return convolutions + shortcuts + 2 * channels + (4 * w + 1) * classes


def densenet(depth: int, classes: int, k: int = 12) -> int:
    """Layer j of all 3n reads 16 + jk channels; a transition keeps its channels."""
    n = (depth - 4) // 3
    read = 16 * 3 * n + k * 3 * n * (3 * n - 1) // 2
    first, second, last = 16 + k * n, 16 + 2 * k * n, 16 + 3 * k * n
    return 432 + 9 * k * read + first**2 + second**2 + 2 * (read + first + second + last) + (last + 1) * classes


# Network: the closed form by the number of classes, the paper's printed number of millions.
COUNTS = {
    "resnet32": (lambda c: resnet(32, c), "0.5"),
    "resnet110": (lambda c: resnet(110, c), "1.7"),
    "preact_resnet18": (lambda c: preact_resnet((2, 2, 2, 2), c), "11.2"),
    "preact_resnet34": (lambda c: preact_resnet((3, 4, 6, 3), c), "21.3"),
    "wrn40_4": (lambda c: wide_resnet(40, 4, c), "8.9"),
    "wrn16_8": (lambda c: wide_resnet(16, 8, c), "11.0"),
    "wrn28_10": (lambda c: wide_resnet(28, 10, c), "36.5"),
    "densenet40": (lambda c: densenet(40, c), "1.0"),
    "densenet100": (lambda c: densenet(100, c), "7.0"),
}


def test_every_network_of_the_paper_is_there():
    assert list(BUILDERS) == list(COUNTS)
    for folder in ("cifar10", "cifar100"):
        for name in COUNTS:
            kinds = ("train_val_baseline", "train_val_self_distilled", "solver_baseline", "solver_self_distilled")
            assert all(f"prototxt/{folder}/{name}/{kind}.prototxt" in FILES for kind in (*kinds, "deploy"))


@pytest.mark.parametrize("name", list(COUNTS))
def test_cifar_networks_have_the_published_number_of_parameters(name):
    """The paper's digits are those of 10 classes; 100 classes only make the last layer larger."""
    form, published = COUNTS[name]
    for classes in (10, 100):
        text = NetText("")
        BUILDERS[name](classes).build(text, Blob("data", 3))
        assert text.parameters == form(classes)
    assert f"{form(10) / 1e6:.1f}" == published


@pytest.mark.parametrize("classes", [10, 100])
def test_wide_networks_have_their_authors_exact_number(classes):
    """Known from public reimplementations of WRN-28-10."""
    assert wide_resnet(28, 10, classes) == {10: 36_479_194, 100: 36_536_884}[classes]


def test_imagenet_networks_have_the_published_number_of_parameters():
    convolutions = 96 * (3 * 121 + 1) + 256 * (48 * 25 + 1) + 384 * (256 * 9 + 1) + (384 + 256) * (192 * 9 + 1)
    connected = 4096 * (256 * 36 + 1) + 4096 * 4097 + 1000 * 4097
    for network, exact, published in (
        (AlexNet(), convolutions + connected, "61.0"),
        (ImageNetResNet18(), 11_689_512, "11.7"),  # torchvision's resnet18
    ):
        text = NetText("")
        network.build(text, Blob("data", 3))
        assert text.parameters == exact
        assert f"{exact / 1e6:.1f}" == published


def states(name: str) -> list[tuple[str, int]]:
    return [(name, phase) for phase in (proto.TRAIN, proto.TEST)]


@pytest.mark.parametrize(
    ("name", "phase"),
    [
        state
        for name in FILES
        if "train_val" in name and ("cifar100" in name or "imagenet" in name)
        for state in states(name)
    ],
)
def test_every_net_builds_with_the_parameters_its_title_counts(name, phase, monkeypatch):
    monkeypatch.setattr(fillers, "fill", lambda tensor, filler: None)  # no time for 60 million numbers
    imagenet = "imagenet" in name
    net = built(FILES[name], phase, size=256 if imagenet else 32)
    learned = {id(p.tensor): p.tensor.numel() for p in net.learnable if p.lr_mult}
    title = FILES[name].partition(" learned parameters")[0].rpartition(" ")[2]
    if "peer" not in name or phase == proto.TEST:
        assert sum(learned.values()) == int(title.replace(",", ""))
    if phase == proto.TEST:
        assert [out for out in net.outputs if out != "accuracy_top_5"] == ["accuracy", "loss"]


@pytest.mark.parametrize("name", [n for n in FILES if n.startswith("prototxt/cifar10/")])
def test_cifar10_differs_from_cifar100_in_what_it_must(name):
    other = FILES[name.replace("cifar10/", "cifar100/")]
    text = FILES[name]
    for ten, hundred in (
        ("CIFAR-10", "CIFAR-100"),
        ("cifar10", "cifar100"),
        ("num_output: 10 ", "num_output: 100 "),
        ("temperature: 2", "temperature: 3"),
        (
            "mean_value: 125.307 mean_value: 122.961 mean_value: 113.8575",
            "mean_value: 129.3105 mean_value: 124.0575 mean_value: 112.4295",
        ),
        (
            "std_value: 62.985 std_value: 62.0925 std_value: 66.708",
            "std_value: 68.1615 std_value: 65.382 std_value: 70.431",
        ),
        (
            "mean 125.307 122.961 113.8575; std 62.985 62.0925 66.708",
            "mean 129.3105 124.0575 112.4295; std 68.1615 65.382 70.431",
        ),
    ):
        text = text.replace(ten, hundred)
    assert text.splitlines()[1:] == other.splitlines()[1:]  # the first line counts parameters


@pytest.mark.parametrize("name", [n for n in FILES if n.endswith("deploy.prototxt")])
def test_weights_go_from_every_mechanism_to_the_deploy_net(name):
    """Layers with parameters have the same names and the same sizes."""
    learned = ("Convolution", "InnerProduct", "Scale", "BatchNorm")
    sized = ("convolution_param", "inner_product_param", "batch_norm_param")

    def layers(text: str) -> dict[str, list]:
        return {
            layer.name: [getattr(layer, field) for field in sized]
            for layer in parsed(text).layer
            if layer.type in learned and (not layer.include or layer.include[0].phase == proto.TEST)
        }

    deployed = layers(FILES[name])
    for other, text in FILES.items():
        if other.startswith(name.removesuffix("deploy.prototxt") + "train_val"):
            assert layers(text) == deployed


def random_net(network, classes_top: str = "fc", size: int = 32) -> tuple[Net, torch.Tensor]:
    text = NetText("random")
    text.layer("data", "Input", [], ["data"], {"input_param": {"shape": {"dim": [3, 3, size, size]}}})
    network.build(text, Blob("data", 3))
    torch.manual_seed(0)
    net = Net(parsed(text.text([])), proto.TRAIN)
    for blobs in net.params.values():
        for blob in blobs:
            blob.data += 0.1 * torch.randn_like(blob)  # affine parts too
    return net.double(), torch.randn(3, 3, size, size, dtype=torch.float64)


def reference_layers(net: Net):
    """Convolution, and BatchNorm with ReLU, by layer name, in plain torch."""

    def conv(x, name, stride=1):
        weight = net.params[name][0]
        return F.conv2d(x, weight, None, stride, weight.shape[2] // 2)

    def norm(x, name, relu=True):
        scale, bias = net.params[f"{name}_scale"]
        y = F.batch_norm(x, None, None, scale, bias, training=True, eps=1e-5)
        return y.relu() if relu else y

    def last(x, name):
        weight, bias = net.params[name]
        return F.linear(x.mean((2, 3)), weight, bias)

    return conv, norm, last


def logits(net: Net, image: torch.Tensor, top: str) -> np.ndarray:
    slot = net.assembled.inputs["data"]
    return net.compute({slot: image}, keep=(top,)).blobs[top].detach().numpy()


def preactivation_stages(x, conv, norm, prefix: str, blocks: tuple[int, ...]):
    """He et al., 2016: BN-ReLU-conv twice; the very first activation is before the branching."""
    for stage, count in enumerate(blocks, start=2):
        for block in range(1, count + 1):
            name = f"{prefix}{stage}_{block}"
            stride = 2 if stage > 2 and block == 1 else 1
            active = norm(x, f"{name}a")
            y = conv(norm(conv(active, f"{name}a", stride), f"{name}b"), f"{name}b")
            if block > 1:
                x = x + y
            elif stage == 2 and y.shape[1] == x.shape[1]:
                x = active + y
            else:
                x = conv(active, f"{name}_shortcut", stride) + y
    return x


def test_preactivation_resnet_is_the_one_of_he_et_al():
    net, image = random_net(PreactResNet(18, 10), size=16)
    conv, norm, last = reference_layers(net)
    x = preactivation_stages(conv(image, "conv1"), conv, norm, "res", (2, 2, 2, 2))
    expected = last(norm(x, "last"), "fc")
    np.testing.assert_allclose(logits(net, image, "fc"), expected.detach().numpy(), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("width", [1, 2])
def test_wide_resnet_is_the_one_of_zagoruyko_and_komodakis(width):
    net, image = random_net(WideResNet(16, width, 10))
    conv, norm, last = reference_layers(net)
    x = preactivation_stages(conv(image, "wide1"), conv, norm, "wide", (2, 2, 2))
    expected = last(norm(x, "wide_last"), "wide_fc")
    np.testing.assert_allclose(logits(net, image, "wide_fc"), expected.detach().numpy(), rtol=1e-8, atol=1e-9)


def test_densenet_is_the_one_of_huang_et_al():
    net, image = random_net(DenseNet(10, 10, growth=4))
    conv, norm, last = reference_layers(net)
    x = conv(image, "conv1")
    for block in (1, 2, 3):
        for layer in (1, 2):
            name = f"dense{block}_{layer}"
            x = torch.cat([x, conv(norm(x, name), name)], 1)
        if block < 3:
            x = F.avg_pool2d(conv(norm(x, f"transition{block}"), f"transition{block}"), 2)
    expected = last(norm(x, "last"), "fc")
    np.testing.assert_allclose(logits(net, image, "fc"), expected.detach().numpy(), rtol=1e-8, atol=1e-9)


def test_imagenet_resnet_is_the_one_of_he_et_al():
    net, image = random_net(ImageNetResNet18(10), size=64)
    conv, norm, last = reference_layers(net)
    x = F.max_pool2d(norm(conv(image, "conv1", 2), "conv1"), 3, 2, ceil_mode=True)
    for stage in (2, 3, 4, 5):
        for block in (1, 2):
            name = f"res{stage}_{block}"
            stride = 2 if stage > 2 and block == 1 else 1
            y = norm(conv(x, f"{name}a", stride), f"{name}a")
            y = norm(conv(y, f"{name}b"), f"{name}b", relu=False)
            shortcut = norm(conv(x, f"{name}_shortcut", 2), f"{name}_shortcut", relu=False) if stride > 1 else x
            x = (y + shortcut).relu()
    np.testing.assert_allclose(logits(net, image, "fc"), last(x, "fc").detach().numpy(), rtol=1e-8, atol=1e-9)


def test_shapes_at_the_published_sizes():
    """Krizhevsky et al., 2012: 55, 27, 13, 6; He et al., 2016: 112, 56, 28, 14, 7."""
    text = NetText("shapes")
    text.layer("data", "Input", [], ["data"], {"input_param": {"shape": {"dim": [1, 3, 224, 224]}}})
    ImageNetResNet18(10).build(text, Blob("data", 3))
    shapes = Net(parsed(text.text([])), proto.TEST).blob_shapes
    tops = ("conv1", "pool1", "res2_2", "res3_2", "res4_2", "res5_2")
    assert [shapes[name][1:3] for name in tops] == [(64, 112), (64, 56), (64, 56), (128, 28), (256, 14), (512, 7)]


def test_alexnet_has_the_published_sizes(monkeypatch):
    monkeypatch.setattr(fillers, "fill", lambda tensor, filler: None)
    net = built(FILES["prototxt/imagenet/alexnet/train_val_self_distilled.prototxt"], proto.TRAIN, size=256)
    shapes = net.blob_shapes
    assert shapes["data"] == (4, 3, 227, 227)
    tops = ("conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5")
    assert [shapes[name][1:3] for name in tops] == [
        (96, 55), (96, 27), (256, 27), (256, 13), (384, 13), (384, 13), (256, 13), (256, 6),
    ]  # fmt: skip
    assert net.params["conv2"][0].shape == (256, 48, 5, 5)
    assert shapes["feature_a"] == (2, 4096)
    assert shapes["logits_b"] == (2, 1000)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: PreactResNet(50, 10), "not 50"),
        (lambda: WideResNet(27, 10, 10), "not 27"),
        (lambda: DenseNet(41, 10), "not 41"),
    ],
)
def test_depths_that_there_are_not_are_refused(make, word):
    with pytest.raises(ValueError, match=word):
        make()
