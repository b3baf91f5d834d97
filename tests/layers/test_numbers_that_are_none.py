"""Numbers without meaning in a layer or a filler are told by the file, the place and the field, not by torch."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from sdcaffe.cli import main

INPUT = 'layer { name: "b" type: "DummyData" top: "b" dummy_data_param { shape { dim: 4 dim: 2 dim: 3 dim: 3 } } }\n'
SIZES = ("nan", "inf", "-inf", "0", "-1")
OWNERS = {
    "inner_product_param { num_output: 2 weight_filler": "InnerProduct",
    "inner_product_param { num_output: 2 bias_filler": "InnerProduct",
    "convolution_param { num_output: 2 kernel_size: 1 weight_filler": "Convolution",
    "scale_param { filler": "Scale",
    "prelu_param { filler": "PReLU",
}
FILLERS = [
    *[("gaussian", "std", value) for value in ("nan", "inf", "-inf", "-1")],
    *[("gaussian", "mean", value) for value in ("nan", "inf", "-inf")],
    *[("uniform", field, value) for field, value in itertools.product(("min", "max"), ("nan", "inf", "-inf"))],
    ("uniform", "min", "2"),
    ("uniform", "max", "-1"),
    ("uniform", "min", "-3e38 max: 3e38"),
]
LAYERS = [
    *[("BatchNorm", f"batch_norm_param {{ eps: {value} }}", "eps") for value in ("-inf", "0", "-1")],
    *[("BatchNorm", f"batch_norm_param {{ use_global_stats: true eps: {value} }}", "eps") for value in ("-inf", "-1")],
    *[("BN", f"bn_param {{ eps: {value} }}", "eps") for value in ("-inf", "0", "-1")],
    *[("BN", f"bn_param {{ var_eps: {value} }}", "var_eps") for value in ("-inf", "0", "-1")],
    *[("PriorBox", f"prior_box_param {{ min_size: {value} }}", "min_size") for value in SIZES],
    *[("PriorBox", f"prior_box_param {{ min_size: 2 max_size: {value} }}", "max_size") for value in SIZES],
    *[("PriorBox", f"prior_box_param {{ min_size: 2 aspect_ratio: {value} }}", "aspect_ratio") for value in SIZES],
]


def complaint(layer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """The error for a net of that layer, and the line of the file with what stands above the caret."""
    path = tmp_path / "net.prototxt"
    path.write_text(INPUT + layer)
    assert main(["time", "-model", str(path), "-iterations", "1", "-phase", "TRAIN"]) == 1
    line, shown, caret = capsys.readouterr().err.splitlines()[-3:]
    assert line.startswith(f"sdcaffe: error: {path}:2:")
    assert "Error:" not in line.removeprefix("sdcaffe: error: ")
    return line, shown[caret.index("^") :]


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize(("kind", "field", "value"), FILLERS)
def test_of_a_filler(
    owner: str, kind: str, field: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filler = f'{owner} {{ type: "{kind}" {field}: {value} }} }}'
    layer = f'layer {{ name: "x" type: "{OWNERS[owner]}" bottom: "b" top: "t" {filler} }}'
    line, place = complaint(layer, tmp_path, capsys)
    assert f"{kind} filler" in line
    assert place.startswith((f"{field}: ", "max: 3e38"))


@pytest.mark.parametrize(("kind", "param", "field"), LAYERS)
def test_of_a_layer(kind: str, param: str, field: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bottoms = 'bottom: "b" bottom: "b"' if kind == "PriorBox" else 'bottom: "b"'
    _, place = complaint(f'layer {{ name: "x" type: "{kind}" {bottoms} top: "t" {param} }}', tmp_path, capsys)
    assert place.startswith(f"{field}: ")


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "3e38"])
@pytest.mark.parametrize(
    "layer",
    [
        'type: "Exp" exp_param { shift: VALUE }',
        'type: "Power" power_param { shift: VALUE }',
        'type: "Threshold" threshold_param { threshold: VALUE }',
        'type: "ReLU" relu_param { negative_slope: VALUE }',
        'type: "Scale" scale_param { filler { type: "constant" value: VALUE } }',
    ],
)
def test_what_caffe_computes_with_is_computed_with(layer: str, value: str, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(INPUT + f'layer {{ name: "x" bottom: "b" top: "t" {layer.replace("VALUE", value)} }}')
    assert main(["time", "-model", str(path), "-iterations", "1", "-phase", "TEST"]) == 0
