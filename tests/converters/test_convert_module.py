from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx_nets import ROOT, TINY, arrays, recorded_layer, recordings, write_net, write_recorded, write_weights
from torch import Tensor, nn

from sdcaffe.cli import main
from sdcaffe.converters import module_source
from sdcaffe.converters.module_source import convert
from sdcaffe.converters.module_text import class_name, is_identifier, prose, string
from sdcaffe.converters.weights import convert as convert_weights
from sdcaffe.errors import LayerError, SdcaffeError
from sdcaffe.layers.base import number, register
from sdcaffe.layers.scale import Scale
from sdcaffe.layers.softmax import Softmax
from sdcaffe.net import Net

DEPLOYS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "prototxt").rglob("deploy*.prototxt"))
SMALL = ("quickstart/", "cifar100/resnet32/", "cifar100/densenet40/", "cifar100/preact_resnet18/", "cifar100/wrn40_4/")
# Recordings of what the TEST phase of a deployed net has, but a module is not written for.
REFUSED = (
    "argmax",
    "argmax_val",
    "batch_reindex",
    "filter",
    "im2col",
    "lstm_static",
    "parameter",
    "rnn",
)


def module_of(path: Path) -> nn.Module:
    """The module that a file of source holds."""
    namespace: dict[str, Any] = {"__name__": "net"}
    exec(compile(path.read_text(), str(path), "exec"), namespace)
    (cls,) = [value for value in list(namespace.values())[-1:] if issubclass(value, nn.Module)]
    return cls().eval()


def clean(path: Path, *, long_names: bool = False) -> None:
    """Fails unless ruff, with this project's rules, finds nothing to say and nothing to lay out in another way.

    Names may be so long that a line does not fit whatever one does.
    """
    ruff = [sys.executable, "-m", "ruff"]
    config = ["--config", str(ROOT / "pyproject.toml"), "--no-cache", str(path)]
    runs = [["check", "--ignore", "E501"]] if long_names else [["check"], ["format", "--diff"]]
    for run in runs:
        done = subprocess.run([*ruff, *run, *config], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def close(got: Tensor, expected: Tensor, steep: float = 1.0) -> None:
    """Within 1e-5; probabilities of logits as large as `steep` within so many times that, as e^x is as steep."""
    assert got.shape == expected.shape
    assert (got - expected).abs().max() <= 1e-5 * steep * expected.abs().max()


@pytest.mark.parametrize(
    "name",
    [n if any(s in n for s in SMALL) else pytest.param(n, marks=pytest.mark.slow) for n in DEPLOYS if "ssd" not in n],
)
def test_every_deploy_net_has_a_module_with_its_outputs(name: str, tmp_path: Path) -> None:
    weights = write_weights(ROOT / name, tmp_path / "net.caffemodel")
    convert(ROOT / name, tmp_path / "net.py", weights, fold=False)
    text = (tmp_path / "net.py").read_text()
    assert "sdcaffe" not in text.replace("Written by sdcaffe", "").replace("`sdcaffe convert module --weights`", "")
    clean(tmp_path / "net.py")
    convert_weights(weights, tmp_path / "same.pt")
    renamed = dict(re.findall(r'^    #   "(.+)": (\w+)$', text, re.MULTILINE))  # the table in the file
    same, state = (torch.load(tmp_path / file, weights_only=True) for file in ("same.pt", "net.pt"))
    layers = [key.rpartition(".") for key in same]
    assert list(state) == [f"{renamed.get(layer, layer)}.{blob}" for layer, _, blob in layers]
    assert all(map(torch.equal, state.values(), same.values()))
    assert set(renamed) == {layer for layer, _, _ in layers if not layer.isidentifier()}
    assert renamed or (tmp_path / "same.pt").read_bytes() == (tmp_path / "net.pt").read_bytes()
    module = module_of(tmp_path / "net.py")
    module.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
    net = Net(ROOT / name, weights=weights)
    x = torch.randn(2, *net.blob_shapes["data"][1:])
    logits = next(layer.bottom[0] for layer in net.param.layer if layer.type == "Softmax")
    with torch.no_grad():
        expected = net.forward({"data": x}, keep=["prob", logits])
        close(module(x), expected["prob"], steep=max(1.0, float(expected[logits].abs().max())))


# ---------------------------------------------------------------- layer types


@pytest.mark.parametrize("name", [name for name in recordings() if name not in REFUSED])
def test_a_recorded_layer_gives_caffes_numbers(name: str, tmp_path: Path) -> None:
    model, weights = write_recorded([name], tmp_path)
    convert(model, tmp_path / "net.py", weights)
    module = module_of(tmp_path / "net.py")
    module.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
    with torch.no_grad():
        got = module(*map(torch.from_numpy, arrays(name, "bottom")))
    got = [got] if isinstance(got, Tensor) else list(got.values())
    for value, expected in zip(got, arrays(name, "top"), strict=True):
        close(value, torch.from_numpy(expected))


def test_all_recorded_layers_in_one_module_are_clean(tmp_path: Path) -> None:
    model, weights = write_recorded([name for name in recordings() if name not in REFUSED], tmp_path)
    convert(model, tmp_path / "net.py", weights)
    clean(tmp_path / "net.py", long_names=True)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_written_is_said_by_name_and_type(name: str, tmp_path: Path) -> None:
    model, weights = write_recorded([name], tmp_path)
    kind = recorded_layer(name).type
    with pytest.raises(LayerError, match=rf'prototxt:\d+:\d+: layer "{name}" \({kind}\): .* cannot be written as a'):
        convert(model, tmp_path / "net.py", weights)
    assert not (tmp_path / "net.py").exists()


WIDE = """
layer { name: "a" type: "Input" top: "a" top: "b"
  input_param { shape { dim: 2 dim: 4 dim: 5 dim: 7 } shape { dim: 2 dim: 4 dim: 3 dim: 3 } } }
layer { name: "wide" type: "Pooling" bottom: "a" top: "wide"
  pooling_param { pool: MAX kernel_size: 3 pad: 2 stride: 2 } }
layer { name: "wide_ave" type: "Pooling" bottom: "a" top: "wide_ave"
  pooling_param { pool: AVE kernel_h: 3 kernel_w: 2 pad_h: 2 pad_w: 1 } }
layer { name: "cut" type: "Crop" bottom: "a" bottom: "b" top: "cut" crop_param { axis: 2 offset: 1 offset: 3 } }
layer { name: "sum" type: "Eltwise" bottom: "cut" bottom: "b" top: "sum" eltwise_param { coeff: -0.5 coeff: -1 } }
layer { name: "slope" type: "PReLU" bottom: "sum" top: "sum" prelu_param { channel_shared: true } }
layer { name: "up" type: "Deconvolution" bottom: "sum" top: "up"
  convolution_param { num_output: 2 kernel_size: 4 stride: 2 pad: 1 group: 2 weight_filler { type: "xavier" } } }
layer { name: "distort" type: "Distort" bottom: "a" top: "normal" distort_param { mean_value: 2 std_value: 4 } }
layer { name: "order" type: "Permute" bottom: "normal" top: "order" permute_param { order: 0 order: 2 order: 3 } }
layer { name: "flat" type: "Flatten" bottom: "order" top: "flat" }
layer { name: "first" type: "InnerProduct" bottom: "flat" top: "first" param { name: "w" }
  inner_product_param { num_output: 140 bias_term: false weight_filler { type: "xavier" } } }
layer { name: "second" type: "InnerProduct" bottom: "first" top: "second" param { name: "w" }
  inner_product_param { num_output: 140 bias_term: false } }
layer { name: "back" type: "InnerProduct" bottom: "second" top: "back"
  inner_product_param { num_output: 3 transpose: true weight_filler { type: "xavier" } } }
layer { name: "depthwise" type: "DepthwiseConvolution" bottom: "b" top: "depthwise"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "six" type: "ReLU6" bottom: "depthwise" top: "depthwise" }
layer { name: "gate" type: "Sigmoid" bottom: "depthwise" top: "gate" }
layer { name: "mean" type: "Reduction" bottom: "gate" top: "mean" reduction_param { operation: MEAN axis: 2 } }
layer { name: "excited" type: "Scale" bottom: "b" bottom: "mean" top: "excited" scale_param { axis: 0 } }
layer { name: "halves" type: "Slice" bottom: "excited" top: "left" top: "right" }
layer { name: "both" type: "Eltwise" bottom: "left" bottom: "right" top: "both" eltwise_param { operation: MAX } }
"""


def test_a_net_of_odd_layers(tmp_path: Path) -> None:
    model, weights = write_net(WIDE, tmp_path)
    convert(model, tmp_path / "net.py", weights)
    clean(tmp_path / "net.py")
    module = module_of(tmp_path / "net.py")
    module.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
    assert module.first.weight is module.second.weight
    net = Net(model, weights=weights)
    a, b = torch.randn(2, 4, 5, 7), torch.randn(2, 4, 3, 3)
    with torch.no_grad():
        got, expected = module(a, b), net.forward({"a": a, "b": b})
    assert list(got) == net.outputs == ["back", "both", "up", "wide", "wide_ave"]
    for name in net.outputs:
        close(got[name], expected[name])


def test_a_module_trains(tmp_path: Path) -> None:
    """Statistics move by what Caffe's fraction leaves, and every parameter gets a gradient."""
    text = TINY.replace(
        'top: "conv" }\nlayer { name: "scale"',
        'top: "conv"\n  batch_norm_param { moving_average_fraction: 0.75 } }\nlayer { name: "scale"',
    )
    model, _ = write_net(text, tmp_path)
    convert(model, tmp_path / "net.py")
    module = module_of(tmp_path / "net.py").train()
    x = torch.randn(8, 3, 8, 8)
    module(x)[:, 0].sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    mean = module.conv(x).mean((0, 2, 3))
    torch.testing.assert_close(module.bn.running_mean, 0.25 * mean)


def test_a_train_val_is_written_as_it_is_deployed(tmp_path: Path) -> None:
    for name in ("deploy", "train_val_baseline"):
        convert(ROOT / "prototxt" / "quickstart" / f"{name}.prototxt", tmp_path / f"{name}.py")
    deploy, module = (module_of(tmp_path / f"{name}.py") for name in ("deploy", "train_val_baseline"))
    module.load_state_dict(deploy.state_dict())
    pixels = torch.randint(0, 256, (2, 3, 32, 32)).float()
    with torch.no_grad():  # of bytes, to logits; and of normalised pixels, to probabilities
        close(module(pixels).softmax(1), deploy((pixels - 127.5) / 63.75))


# ---------------------------------------------------------------- names


HOSTILE = [
    '"""\\nimport os; os.system("touch executed")\\n"""',
    'x"); __import__("os").system("touch executed"); ("',
    "a\\\\",
    "__import__",
    "class",
    "a\\nb",
    "{0}{self}{x.__class__}",
    "/etc/a.b/c",
    "\\303\\251\\360\\237\\230\\200",
    "1x1/reduce",
    "self",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_of_a_prototxt_becomes_code(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = name.replace('"', '\\"')
    model, weights = write_net(
        f'name: "{text}"\n'
        f'layer {{ name: "in" type: "Input" top: "{text}" input_param {{ shape {{ dim: 2 dim: 3 }} }} }}\n'
        f'layer {{ name: "{text}" type: "InnerProduct" bottom: "{text}" top: "{text}2"'
        ' inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }\n'
        f'layer {{ name: "p" type: "TanH" bottom: "{text}2" top: "{text}3" }}\n'
        f'layer {{ name: "q" type: "ReLU" bottom: "{text}2" top: "{text}4" }}\n',
        tmp_path,
    )
    convert(model, tmp_path / "net.py", weights)
    clean(tmp_path / "net.py", long_names=True)
    assert (tmp_path / "net.py").read_text().isascii()
    net = Net(model, weights=weights)
    module = module_of(tmp_path / "net.py")
    module.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
    x = torch.randn(2, 3)
    with torch.no_grad():
        got, expected = module(x), net.forward({net.inputs[0]: x})
    assert list(got) == net.outputs
    for output in net.outputs:
        close(got[output], expected[output])
    assert not (tmp_path / "executed").exists()


def test_literals_are_what_they_stand_for() -> None:
    for text in ('a"b', "a\\", '\\"', "\n\r\t\0", "é😀\ud800", "'", '"""', "{x}"):
        literal = string(text)
        assert literal.isascii()
        assert "\n" not in literal
        assert eval(literal) == text
    assert prose('a"""\n\\ é b') == "a b"
    assert [is_identifier(name) for name in ("a1", "é", "1a", "class", "__a", "a b", "")] == [True] + [False] * 6
    assert class_name("ResNet-18 ImageNet", ()) == "ResNet18ImageNet"
    assert [class_name(name, ("Scale",)) for name in ("", "18", "None", "scale")] == [
        "Net",
        "Net18",
        "NoneNet",
        "ScaleNet",
    ]
    assert [number(v) for v in (3, float(np.float32(0.1)), 1e-5, 2.0, float("inf"))] == [
        "3",
        "0.1",
        "1e-05",
        "2.0",
        'float("inf")',
    ]


@pytest.mark.parametrize("name", ["forward", "train", "../../a", "weights..a", "", "__class__", "a.training", "graph"])
def test_a_name_that_no_attribute_can_have_is_written_otherwise(name: str, tmp_path: Path) -> None:
    model, weights = write_net(TINY.replace('name: "fc" ', f'name: "{name}" '), tmp_path)
    convert(model, tmp_path / "net.py", weights)
    (key,) = {key for key in torch.load(tmp_path / "net.pt", weights_only=True) if key.endswith("weight")} - {
        "conv.weight",
        "up.weight",
    }
    assert is_identifier(key.removesuffix(".weight"))
    assert f"#   {string(name)}: {key.removesuffix('.weight')}\n" in (tmp_path / "net.py").read_text()


# ---------------------------------------------------------------- mistakes


def test_a_module_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, weights = write_net(TINY, tmp_path)
    monkeypatch.setattr("sdcaffe.converters.module_source.TOLERANCE", 0)
    with pytest.raises(SdcaffeError, match=r'the module and the net differ by .* in "prob": no file is written'):
        convert(model, tmp_path / "net.py", weights)
    assert sorted(os.listdir(tmp_path)) == ["net.caffemodel", "net.prototxt"]


STEEP = """input: "data" input_shape { dim: 1 dim: 3 }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 3 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }"""


@register("SoftmaxOfAPlugin", field="softmax_param")
class SoftmaxOfAPlugin(Softmax):
    """Probabilities, under a type of its own."""


@pytest.mark.parametrize("kind", ["Softmax", "SoftmaxOfAPlugin"])
@pytest.mark.parametrize(("added", "written"), [(1e-3, True), (1e-1, False)])
def test_probabilities_are_held_to_what_their_logits_are_known_to(
    kind: str, added: float, written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a logit of 400 float32 knows 3e-5, and 1e-5 of it is 4e-3: two nets may differ by that in a probability."""
    (tmp_path / "net.prototxt").write_text(STEEP.replace("Softmax", kind))
    net = Net(tmp_path / "net.prototxt")
    with torch.no_grad():
        net.params["fc"][0].zero_()
        net.params["fc"][1].copy_(torch.tensor([400.0, 400.0, 0.0]))
    net.save(tmp_path / "net.caffemodel")
    source_of = module_source.source_of

    def other(*arguments: Any) -> tuple[str, str]:
        text, name = source_of(*arguments)
        changed = text.replace("self.fc(data)", f"self.fc(data) + data.new_tensor([{added}, 0, 0])")
        assert changed != text
        return changed, name

    monkeypatch.setattr(module_source, "source_of", other)
    if written:
        convert(tmp_path / "net.prototxt", tmp_path / "net.py", tmp_path / "net.caffemodel")
    else:
        with pytest.raises(SdcaffeError, match=r'differ by .* in "prob": no file is written'):
            convert(tmp_path / "net.prototxt", tmp_path / "net.py", tmp_path / "net.caffemodel")
    assert (tmp_path / "net.py").exists() == (tmp_path / "net.pt").exists() == written


def test_neither_file_is_written_where_one_cannot_be(tmp_path: Path) -> None:
    model, weights = write_net(TINY, tmp_path)
    (tmp_path / "net.py").write_text("old")
    (tmp_path / "net.pt").mkdir()
    with pytest.raises(SdcaffeError, match=r"net\.pt: cannot be written"):
        convert(model, tmp_path / "net.py", weights)
    assert (tmp_path / "net.py").read_text() == "old"
    assert not list(tmp_path.glob("*.tmp"))


def test_commands_that_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    write_net(TINY, tmp_path)
    for arguments, code, message in (
        (["net.prototxt", "net.txt"], 2, '"net.txt" does not end in .py'),
        (["none.prototxt", "net.py"], 1, "none.prototxt: No such file or directory"),
        (["net.caffemodel", "net.py"], 1, "net.caffemodel: is a binary file"),
        (["net.prototxt", "net.py", "--weights", "net.prototxt"], 1, "net.prototxt: "),
        (["net.prototxt", "none/net.py"], 1, "none/net.py: cannot be written: No such file or directory"),
    ):
        assert main(["convert", "module", *arguments]) == code
        error = capsys.readouterr().err
        assert error.startswith(f"sdcaffe: error: {message}")
        assert error.count("\n") == 1
    assert sorted(os.listdir()) == ["net.caffemodel", "net.prototxt"]


# What imports torch.distributed first: older versions of torch write a file when they are imported.
_FULL_DISK = """
import resource, sys, sdcaffe.collectives
from sdcaffe.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
sys.exit(main(sys.argv[1:]))
"""


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    write_net(TINY, tmp_path)
    (tmp_path / "net.py").write_text("the old one")
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, "convert", "module", "net.prototxt", "net.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (1, "sdcaffe: error: net.py: cannot be written: File too large\n")
    assert (tmp_path / "net.py").read_text() == "the old one"
    assert sorted(os.listdir(tmp_path)) == ["net.caffemodel", "net.prototxt", "net.py"]


SHARED_NAME = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "a" inner_product_param { num_output: 3
  weight_filler { type: "constant" value: FIRST } bias_filler { type: "constant" value: FIRST } } }
layer { name: "fc" type: "InnerProduct" bottom: "a" top: "b" inner_product_param { num_output: 3
  weight_filler { type: "constant" value: SECOND } bias_filler { type: "constant" value: SECOND } } }
layer { name: "act" type: "Sigmoid" bottom: "b" top: "p" }
"""


def test_layers_of_one_name_leave_with_the_weights_that_caffe_gives_them(tmp_path, caplog):
    """BVLC Caffe 1.0 gives these probabilities: the first layer takes the file's last entry, the other its filler."""
    for name, first, second in (("saved", "1", "2"), ("other", "7", "0.01")):
        (tmp_path / f"{name}.prototxt").write_text(SHARED_NAME.replace("FIRST", first).replace("SECOND", second))
    Net(tmp_path / "saved.prototxt").save(tmp_path / "saved.caffemodel")
    convert(tmp_path / "other.prototxt", tmp_path / "m.py", tmp_path / "saved.caffemodel")
    module = module_of(tmp_path / "m.py")
    module.load_state_dict(torch.load(tmp_path / "m.pt", weights_only=True))
    got = module(torch.tensor([[0.1, 0.2, 0.3], [-1, 2, 0.5]])).detach()
    np.testing.assert_allclose(got, np.repeat([[0.5264752], [0.5399149]], 3, 1), rtol=1e-6)
    assert "fc#2 keep what their fillers gave them" in caplog.text


TIES = """
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 8 dim: 32 dim: 32 } } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 } }
layer { name: "n" type: "BatchNorm" bottom: "c" top: "n" }
layer { name: "s" type: "Scale" bottom: "n" top: "s" scale_param { bias_term: true } }
layer { name: "p" type: "Pooling" bottom: "s" top: "p" top: "mask" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "u" type: "Upsample" bottom: "p" bottom: "mask" top: "u" upsample_param { scale: 2 } }
"""


def net_of_ties(folder, spread):
    """Pixels that a 3 x 3 window moves by about `spread`, in a net whose Upsample goes by their maxima."""
    path, weights = folder / "net.prototxt", folder / "net.caffemodel"
    path.write_text(TIES)
    net = Net(str(path), 1)
    random = np.random.RandomState(0)
    with torch.no_grad():
        for layer in net.layers.values():
            for blob in layer.blobs:
                values = random.uniform(0.5, 1, tuple(blob.shape)) * (spread if blob.dim() == 4 else 1)
                blob.copy_(torch.tensor(values) if blob.numel() > 1 else torch.ones(1))
    net.save(weights)
    return str(path), str(weights)


def test_maxima_that_rounding_exchanges_are_no_difference(tmp_path, capsys):
    path, weights = net_of_ties(tmp_path, 1e-6)
    target = tmp_path / "net.py"
    assert main(["convert", "module", path, str(target), "--weights", weights, "--no-fold"]) == 0
    assert "float64; in float32 rounding changes which" in capsys.readouterr().out
    module = module_of(target)
    module.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
    x = torch.rand(1, 8, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    blobs = {key: value.double() for key, value in module.double().state_dict().items()}
    c = torch.nn.functional.conv2d(x, blobs["c.weight"], blobs["c.bias"], padding=1)
    view = (1, 8, 1, 1)
    n = (c - blobs["n.running_mean"].view(view)) / (blobs["n.running_var"].view(view) + float(np.float32(1e-5))).sqrt()
    s = n * blobs["s.weight"].view(view) + blobs["s.bias"].view(view)
    pooled, places = torch.nn.functional.max_pool2d(s, 2, return_indices=True)
    wanted = torch.nn.functional.max_unpool2d(pooled, places, 2)
    assert torch.allclose(module(x), wanted, rtol=1e-10)
    capsys.readouterr()
    plain = net_of_ties(tmp_path, 1.0)
    assert main(["convert", "module", plain[0], str(target), "--weights", plain[1], "--no-fold"]) == 0
    assert "float64" not in capsys.readouterr().out


def test_another_module_is_refused_whatever_the_net_chooses(tmp_path, monkeypatch):
    path, weights = net_of_ties(tmp_path, 1e-6)
    written = Scale.to_source

    def doubled(self, builder, *bottoms):
        found = written(self, builder, *bottoms)
        return dataclasses.replace(found, text=f"2 * {found.text}")

    monkeypatch.setattr(Scale, "to_source", doubled)
    with pytest.raises(SdcaffeError, match="the module and the net differ"):
        convert(path, str(tmp_path / "net.py"), weights, fold=False)
    assert not (tmp_path / "net.py").exists()


def test_a_net_whose_numbers_are_not_finite_cannot_be_compared(tmp_path):
    path, weights = net_of_ties(tmp_path, float("nan"))
    with pytest.raises(SdcaffeError, match='the net itself gives numbers in "u" that are not finite'):
        convert(path, str(tmp_path / "net.py"), weights)
