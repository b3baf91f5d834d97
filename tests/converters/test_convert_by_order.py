from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from onnx_nets import ROOT
from torch import nn

from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.converters.weights import convert
from sdcaffe.errors import WeightsError
from sdcaffe.layers import fillers
from sdcaffe.layers.base import register
from sdcaffe.layers.batch_norm import BatchNorm
from sdcaffe.layers.scale import Scale
from sdcaffe.net import Net

IMAGENET = ROOT / "prototxt" / "imagenet"


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """60 million normal numbers take their time, and all of them are replaced."""
    monkeypatch.setattr(fillers, "fill", lambda tensor, filler: tensor)


def torchvision_model(name: str) -> nn.Module:
    torch.manual_seed(7)
    model = getattr(torchvision.models, name)().eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
                module.num_batches_tracked.fill_(12345)
    return model


@pytest.mark.parametrize(
    ("name", "logits"), [("resnet18", "fc"), pytest.param("alexnet", "fc8", marks=pytest.mark.slow)]
)
def test_torchvisions_nets_come_and_go(name: str, logits: str, tmp_path: Path) -> None:
    model = torchvision_model(name)
    torch.save(model.state_dict(), tmp_path / "theirs.pth")
    deploy = IMAGENET / name / "deploy_torchvision.prototxt"
    net = Net(deploy)
    convert(tmp_path / "theirs.pth", tmp_path / "ours.caffemodel", net=net, by_order=True)
    net.load_weights(str(tmp_path / "ours.caffemodel"))
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        expected = model(x)
        got = net.forward({"data": x}, keep=[logits])
    assert (got[logits] - expected).abs().max() <= 1e-5 * expected.abs().max()
    torch.testing.assert_close(got["prob"], expected.softmax(1), rtol=1e-5, atol=1e-7)

    convert(tmp_path / "ours.caffemodel", tmp_path / "back.pth", like=tmp_path / "theirs.pth")
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert list(back) == list(model.state_dict())
    for key, tensor in model.state_dict().items():
        assert back[key].dtype == tensor.dtype
        assert torch.equal(back[key], tensor)


def test_the_papers_resnet_takes_torchvisions_weights_in_bgr(tmp_path: Path) -> None:
    model = torchvision_model("resnet18")
    torch.save(model.state_dict(), tmp_path / "theirs.pth")
    net = Net(IMAGENET / "resnet18" / "deploy.prototxt")
    convert(tmp_path / "theirs.pth", tmp_path / "bgr.caffemodel", net=net, by_order=True, reverse_channels=True)
    net.load_weights(str(tmp_path / "bgr.caffemodel"))
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model.conv1(x.flip(1))
        expected = model.relu(model.bn1(expected))
        torch.testing.assert_close(net.forward({"data": x}, keep=["conv1"])["conv1"], expected, rtol=1e-5, atol=1e-5)


@register("NormOfAPlugin", field="batch_norm_param")
class NormOfAPlugin(BatchNorm):
    """A BatchNorm under a type of its own."""


@register("ScaleOfAPlugin", field="scale_param")
class ScaleOfAPlugin(Scale):
    """A Scale under a type of its own."""


@pytest.mark.parametrize("kinds", [("BatchNorm", "Scale"), ("NormOfAPlugin", "ScaleOfAPlugin")])
def test_statistics_go_out_divided_by_their_weight(kinds: tuple[str, str], tmp_path: Path) -> None:
    net = proto.NetParameter()
    for name, kind in zip(("bn", "scale"), kinds, strict=True):
        net.layer.add(name=name, type=kind)
    two = torch.tensor([2.0, 4.0]).numpy()
    arrays = {"bn": [two, two * 3, two[:1]], "scale": [two, -two]}
    proto.write_weights(tmp_path / "a.caffemodel", net, arrays)
    torch.save(nn.Sequential(nn.BatchNorm2d(2)).state_dict(), tmp_path / "like.pt")
    convert(tmp_path / "a.caffemodel", tmp_path / "a.pt", like=tmp_path / "like.pt")
    state = {key: tensor.tolist() for key, tensor in torch.load(tmp_path / "a.pt", weights_only=True).items()}
    assert state == {
        "0.weight": [2, 4],
        "0.bias": [-2, -4],
        "0.running_mean": [1, 2],
        "0.running_var": [3, 6],
        "0.num_batches_tracked": 0,
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("alexnet", '"features.0", has weight 64x3x11x11, bias 64, but layer "conv1".*has weight 96x3x11x11, bias 96'),
        ("resnet18", '"conv1", has weight 64x3x7x7, but layer "conv1".*has weight 96x3x11x11, bias 96'),
    ],
)
def test_another_architecture_is_refused(name: str, message: str, tmp_path: Path) -> None:
    torch.save(getattr(torchvision.models, name)().state_dict(), tmp_path / "theirs.pth")
    with pytest.raises(WeightsError, match=message):
        convert(
            tmp_path / "theirs.pth",
            tmp_path / "a.caffemodel",
            net=Net(IMAGENET / "alexnet" / "deploy.prototxt"),
            by_order=True,
        )
    assert not (tmp_path / "a.caffemodel").exists()


def test_a_module_too_few_is_named(tmp_path: Path) -> None:
    state = torchvision.models.resnet18().state_dict()
    for key in ("fc.weight", "fc.bias"):
        del state[key]
    torch.save(state, tmp_path / "theirs.pth")
    net = Net(IMAGENET / "resnet18" / "deploy.prototxt")
    with pytest.raises(WeightsError, match=r'the net has 41 layers .* the state_dict has 40 modules .*; "fc" has no'):
        convert(tmp_path / "theirs.pth", tmp_path / "a.caffemodel", net=net, by_order=True)


def test_flags_that_do_not_go_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"a.weight": torch.ones(1)}, tmp_path / "a.pt")
    weights = ["convert", "weights", str(tmp_path / "a.pt"), str(tmp_path / "a.caffemodel")]
    for flags in (["--by-order"], ["--like", str(tmp_path / "a.pt")], ["--reverse-channels"]):
        assert main([*weights, *flags]) == 1
        assert capsys.readouterr().err.count("\n") == 1
