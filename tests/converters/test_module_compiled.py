"""Modules folded, scripted, traced and exported; judged by torch and by the net."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from onnx_nets import OTHERS, RECORDED, ROOT, SSD, arrays, write_net, write_recorded
from written import open_module

from sdcaffe import proto
from sdcaffe.converters.module_source import convert
from sdcaffe.net import Net

BLOCK = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 9 dim: 9 } } }
layer { name: "FIRST" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 6 kernel_size: 3 bias_term: false weight_filler { type: "msra" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "SECOND" type: "Convolution" bottom: "conv" top: "a"
  convolution_param { num_output: 6 kernel_size: 3 pad: 1 group: 6 weight_filler { type: "msra" } } }
layer { name: "bn2" type: "BatchNorm" bottom: "a" top: "b" }
layer { name: "up" type: "Deconvolution" bottom: "b" top: "up"
  convolution_param { num_output: 4 kernel_size: 2 stride: 2 weight_filler { type: "msra" } } }
layer { name: "scale3" type: "Scale" bottom: "up" top: "up" scale_param { bias_term: true } }
layer { name: "THIRD" type: "InnerProduct" bottom: "up" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "bn4" type: "BatchNorm" bottom: "fc" top: "fc_bn" }
layer { name: "scale4" type: "Scale" bottom: "fc_bn" top: "fc_bn" scale_param { bias_term: true } }
layer { name: "alone" type: "TanH" bottom: "fc_bn" top: "tanh" }
layer { name: "norm" type: "BatchNorm" bottom: "tanh" top: "y" }
layer { name: "scale5" type: "Scale" bottom: "y" top: "y" scale_param { bias_term: true } }
"""

NAMES = [
    ("conv1/7x7-s2", "branch-a", "fc-8"),
    ("a.b", "a.b.c", "a"),
    ("a-b", "a/b", "a_b"),
    ("1x1", "class", "None"),
    ("graph", "code", "save"),
    ("two words", "self", "forward"),
    ("", "_", "__"),
]


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("names", NAMES, ids=str)
def test_any_name_is_folded_scripted_traced_and_exported(names: tuple[str, ...], tmp_path: Path) -> None:
    text = BLOCK
    for word, name in zip(("FIRST", "SECOND", "THIRD"), names, strict=True):
        text = text.replace(word, name)
    model, weights = write_net(text, tmp_path)
    convert(model, tmp_path / "net.py", weights)
    module = open_module(tmp_path / "net.py")
    kinds = [type(part).__name__ for part in module.children()]
    assert kinds == ["Conv2d", "Conv2d", "ConvTranspose2d", "Linear", "BatchNorm1d", "Scale"]
    net = Net(model, proto.TEST, weights)
    x = torch.randn(3, 3, 9, 9)
    net.reshape({"data": x.shape})
    batch = torch.export.Dim("batch")
    with torch.no_grad():
        expected = net({"data": x})["y"]
        torch.jit.script(module).save(tmp_path / "scripted.ts")
        torch.jit.trace(module, x[:2]).save(tmp_path / "traced.ts")
        exported = torch.export.export(module, (x[:2],), dynamic_shapes=({0: batch},)).module()
        for made in (module, *(torch.jit.load(tmp_path / f"{n}.ts") for n in ("scripted", "traced")), exported):
            torch.testing.assert_close(made(x), expected, rtol=1e-4, atol=1e-5)


def test_no_fold_keeps_the_norms(tmp_path: Path) -> None:
    model, weights = write_net(BLOCK, tmp_path)
    convert(model, tmp_path / "net.py", weights, fold=False)
    kinds = [type(part).__name__ for part in open_module(tmp_path / "net.py").children()]
    assert kinds.count("BatchNorm2d") == 2
    assert kinds.count("BatchNorm1d") == 2
    assert kinds.count("Scale") == 4


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("name", ["mvn_across", "bn_psp_test", "denseblock_bc_test", "upsample_nearest_2"])
def test_layers_that_need_parts_of_their_own(name: str, tmp_path: Path) -> None:
    forks = ROOT / "tests" / "forks" / "recordings" / "others"
    recordings = RECORDED if name == "mvn_across" else forks
    model, weights = write_recorded([name], tmp_path, recordings)
    convert(model, tmp_path / "net.py", weights)
    module = open_module(tmp_path / "net.py")
    x = torch.from_numpy(arrays(name, "bottom", recordings)[0])
    expected = torch.from_numpy(arrays(name, "top", recordings)[0])
    with torch.no_grad():
        torch.jit.script(module).save(tmp_path / "scripted.ts")
        ways = {
            "script": torch.jit.load(tmp_path / "scripted.ts"),
            "trace": torch.jit.trace(module, x),
            "export": torch.export.export(module, (x,)).module(),
            "compile": torch.compile(module, backend="eager"),
        }
        for made in ways.values():
            torch.testing.assert_close(made(x), expected, rtol=1e-4, atol=1e-5)


OF_ANOTHER_PICTURE = {  # recording -> the bottom, and its axis, that is turned round for the trace
    "det_ssd": (1, 1),
    "proposal": (0, 3),
    "roi_pool_16": (1, 0),
    "yolo_detection": (0, 1),
    "yolov3_detection": (0, 3),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", OF_ANOTHER_PICTURE)
def test_what_was_traced_with_one_picture_detects_in_another(name: str, tmp_path: Path) -> None:
    recordings = SSD if name.startswith("det_") else OTHERS
    model, weights = write_recorded([name], tmp_path, recordings)
    convert(model, tmp_path / "net.py", weights)
    module = open_module(tmp_path / "net.py")
    given, expected = (list(map(torch.from_numpy, arrays(name, stem, recordings))) for stem in ("bottom", "top"))
    other = list(given)
    bottom, axis = OF_ANOTHER_PICTURE[name]
    other[bottom] = other[bottom].flip(axis)
    with torch.no_grad():
        torch.jit.script(module).save(tmp_path / "scripted.ts")
        torch.jit.trace(module, tuple(other), strict=False).save(tmp_path / "traced.ts")
        ways = [module, torch.jit.load(tmp_path / "scripted.ts"), torch.jit.load(tmp_path / "traced.ts")]
        if name.startswith("roi"):  # the others: test_module_exported
            ways.append(torch.export.export(module, tuple(other)).module())
        for made in ways:
            got = made(*given)
            values = [got] if isinstance(got, torch.Tensor) else list(got.values())
            for value, want in zip(values, expected, strict=True):
                torch.testing.assert_close(value.reshape(want.shape), want, rtol=1e-4, atol=1e-5)
