from __future__ import annotations

import re
from pathlib import Path

import pytest
from layer_reports import PROTOTXT, build, convolution, data

from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.net import Net
from sdcaffe.tools.costs import LayerCost, costs, lines


def by_name(net: Net) -> dict[str, LayerCost]:
    return {layer.name: layer for layer in costs(net).layers}


def test_lenet_by_hand() -> None:
    """Caffe's LeNet on one 28 x 28 digit."""
    net = build(
        data(1, 1, 28, 28)
        + convolution("conv1", "data", 20, 5)
        + """layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
          pooling_param { kernel_size: 2 stride: 2 } }"""
        + convolution("conv2", "pool1", 50, 5)
        + """layer { name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2"
          pooling_param { kernel_size: 2 stride: 2 } }
        layer { name: "ip1" type: "InnerProduct" bottom: "pool2" top: "ip1" inner_product_param { num_output: 500 } }
        layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
        layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2" inner_product_param { num_output: 10 } }
        layer { name: "prob" type: "Softmax" bottom: "ip2" top: "prob" }"""
    )
    found = by_name(net)
    assert found["conv1"].parameters == 20 * 25 + 20
    assert found["conv2"].parameters == 50 * 20 * 25 + 50
    assert found["ip1"].parameters == 800 * 500 + 500
    assert found["conv1"].multiply_adds == 24 * 24 * 20 * 25
    assert found["conv2"].multiply_adds == 8 * 8 * 50 * 20 * 25
    assert found["ip1"].multiply_adds == 800 * 500
    assert found["pool1"].shapes == [(1, 20, 12, 12)]
    assert (found["relu1"].memory, found["ip1"].memory) == (0, 2000)
    total = costs(net)
    assert total.total("parameters") == 431080  # the figure known of this net
    assert total.total("multiply_adds") == 288000 + 1600000 + 400000 + 5000
    blobs = 784 + 20 * 24 * 24 + 20 * 12 * 12 + 50 * 8 * 8 + 50 * 4 * 4 + 500 + 10 + 10
    assert total.total("memory") == 4 * blobs
    assert total.batch == 1


def resnet(blocks: int, classes: int) -> tuple[int, int, int]:
    """Parameters, statistics and multiply-adds of He et al.'s CIFAR ResNet of 6 n + 2 layers, shortcuts A."""
    sizes = [(16, 3, 32)] + [
        (width, width if k or width == 16 else width // 2, side)
        for width, side in ((16, 32), (32, 16), (64, 8))
        for k in range(2 * blocks)
    ]
    weights = sum(out * into * 9 for out, into, _ in sizes)
    products = sum(out * into * 9 * side * side for out, into, side in sizes)
    norms = sum(2 * out for out, _, _ in sizes)
    last = 64 * classes
    return weights + norms + last + classes, norms + len(sizes), products + last


def test_resnet_32_by_formula() -> None:
    """0.46 million parameters and 69 million multiply-adds for 10 classes, as published; here for 100."""
    parameters, _, products = resnet(5, 10)
    assert (round(parameters / 1e6, 2), round(products / 1e6)) == (0.46, 69)
    found = costs(Net(PROTOTXT / "cifar100" / "resnet32" / "deploy.prototxt"))
    totals = tuple(found.total(what) for what in ("parameters", "statistics", "multiply_adds"))
    assert totals == resnet(5, 100)


def test_convolutions_of_all_kinds() -> None:
    found = by_name(
        build(
            data(2, 8, 6, 6)
            + data(2, 8, 6, 6, name="other")
            + convolution("grouped", "data", 4, 3, "group: 4 bias_term: false")
            + convolution("strided", "data", 4, 3, "stride: 2 pad: 1")
            + convolution("up", "data", 6, 2, "stride: 2").replace('"Convolution"', '"Deconvolution"')
            + """layer { name: "both" type: "Convolution" bottom: "data" bottom: "other" top: "a" top: "b"
              convolution_param { num_output: 3 kernel_size: 1 } }"""
        )
    )
    assert (found["grouped"].parameters, found["grouped"].multiply_adds) == (4 * 2 * 9, 2 * 4 * 4 * 4 * 2 * 9)
    assert (found["strided"].shapes, found["strided"].multiply_adds) == ([(2, 4, 3, 3)], 2 * 4 * 9 * 8 * 9)
    assert (found["up"].shapes, found["up"].multiply_adds) == ([(2, 6, 12, 12)], 2 * 8 * 36 * 6 * 4)
    assert (found["up"].parameters, found["both"].parameters) == (8 * 6 * 4 + 6, 3 * 8 + 3)
    assert found["both"].multiply_adds == 2 * (2 * 3 * 36 * 8)


def test_recurrent_layers() -> None:
    """t 5 steps of n 2 streams, 3 inputs, d 4; LSTM: four gates, RNN: hidden and output; a static input once."""
    text = data(5, 2, 3, name="x") + data(5, 2, name="cont") + data(2, 6, name="static")
    layer = 'layer {{ name: "{0}" type: "{0}" {1} top: "{0}" recurrent_param {{ num_output: 4 }} }}'
    found = by_name(build(text + layer.format("LSTM", 'bottom: "x" bottom: "cont" bottom: "static"')))
    assert found["LSTM"].parameters == 16 * 3 + 16 + 16 * 6 + 16 * 4
    assert found["LSTM"].multiply_adds == 2 * (5 * (16 * 3 + 16 * 4) + 16 * 6)
    found = by_name(build(text + layer.format("RNN", 'bottom: "x" bottom: "cont"')))
    assert found["RNN"].parameters == 4 * 3 + 4 + 4 * 4 + 4 * 4 + 4
    assert found["RNN"].multiply_adds == 2 * 5 * (4 * 3 + 4 * 4 + 4 * 4)


def test_parameters_that_are_shared_or_frozen() -> None:
    net = build(
        data(1, 3)
        + """layer { name: "one" type: "InnerProduct" bottom: "data" top: "one"
          param { name: "w" } param { lr_mult: 0 } inner_product_param { num_output: 3 } }
        layer { name: "two" type: "InnerProduct" bottom: "one" top: "two"
          param { name: "w" } inner_product_param { num_output: 3 bias_term: false } }""",
        proto.TRAIN,
    )
    found = by_name(net)
    assert (found["one"].parameters, found["one"].frozen, found["two"].parameters) == (12, 3, 0)
    assert "parameters     12 (9 learned, 3 with lr_mult 0), 48 B" in lines(costs(net))


def test_memory_that_is_another_blobs_counts_once() -> None:
    net = build(
        data(2, 3, 4)
        + """layer { name: "flat" type: "Flatten" bottom: "data" top: "flat" }
        layer { name: "sigmoid" type: "Sigmoid" bottom: "flat" top: "flat" }
        layer { name: "a" type: "Power" bottom: "flat" top: "a" }
        layer { name: "b" type: "Silence" bottom: "flat" }"""
    )
    found = costs(net)
    assert [layer.name for layer in found.layers] == ["data", "flat", "sigmoid", "a", "b"]  # no split that was inserted
    assert [layer.memory for layer in found.layers] == [96, 0, 0, 96, 0]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.prototxt").write_text(
        'name: "small" '
        + data(10, 3, 8, 8)
        + convolution("conv", "data", 1000, 3)
        + 'layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" include { phase: TRAIN } }'
        + 'layer { name: "sum" type: "Reduction" bottom: "conv" top: "sum" include { stage: "s" min_level: 1 } }'
    )

    def shown(*flags: str) -> list[str]:
        assert main(["summary", str(tmp_path / "net.prototxt"), *flags]) == 0
        return capsys.readouterr().out.splitlines()

    found = shown()
    assert re.split(r"  +", found[0]) == ["layer", "type", "output", "parameters", "multiply-adds", "memory"]
    assert re.split(r"  +", found[3]) == ["conv", "Convolution", "10 x 1000 x 6 x 6", "28,000", "9,720,000", "1.4 MiB"]
    assert found[-4:] == [
        "net            small",
        "parameters     28,000, 109.4 KiB",
        "multiply-adds  9,720,000 for 10 images, 972,000 for one",
        "activations    1.4 MiB forward, in float32",
    ]
    assert "parameters     28,000 (besides 2,001 stored statistics), 109.4 KiB" in shown("--phase=TRAIN")
    last = shown("-stage", "s", "-level", "1")[4]
    assert re.split(r"  +", last) == ["sum", "Reduction", "scalar", "-", "-", "4 B"]


def summary(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[list[str]]:
    assert main(["summary", *map(str, arguments)]) == 0
    return [re.split(r"  +", line) for line in capsys.readouterr().out.splitlines()]


def test_no_data_set_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """CIFAR is known to be 32x32; what a database holds is not, but may be said."""
    monkeypatch.setenv("SDCAFFE_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("a data set is fetched"))
    net = PROTOTXT / "cifar100" / "resnet32" / "train_val_baseline.prototxt"
    assert summary(capsys, net, "--phase=TRAIN")[2][:3] == ["data", "Data", "64 x 3 x 32 x 32, 64"]
    (tmp_path / "net.prototxt").write_text(
        """layer { name: "d" type: "Data" top: "x" top: "y" data_param { source: "gone" batch_size: 4 } }
        layer { name: "i" type: "Input" top: "z" input_param { shape { dim: 1 dim: 2 } } }"""
    )
    rows = summary(capsys, tmp_path / "net.prototxt", "--shape", "x=8,3,20,30", "--shape", "z=5,6")
    assert [row[:3] for row in rows[2:4]] == [["d", "Data", "8 x 3 x 20 x 30, 8"], ["i", "Input", "5 x 6"]]
    assert main(["summary", str(tmp_path / "net.prototxt"), "--shape", "gone=1,2"]) == 1
    assert 'no layer brings a blob "gone" to give a shape; there are x, z' in capsys.readouterr().err


def test_an_onnx_file_and_weights_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One convolution of 2 to 3 channels and 3x3 on 8x8: 54 + 3 numbers, 3 * 36 * 18 products."""
    text = data(1, 2, 8, 8) + convolution("conv", "data", 3, 3, 'bias_filler { type: "constant" value: 1 }')
    (tmp_path / "net.prototxt").write_text(text)
    model = tmp_path / "net.caffemodel"
    build(text).save(model)
    assert main(["export", str(tmp_path / "net.prototxt"), str(model), "-o", str(tmp_path / "net.onnx")]) == 0
    capsys.readouterr()
    row = summary(capsys, tmp_path / "net.onnx")[3]
    assert row[1:5] == ["Convolution", "1 x 3 x 6 x 6", "57", "1,944"]
    assert summary(capsys, model)[2:] == [
        ["conv", "Convolution", "3 x 2 x 3 x 3, 3", "57", "228 B"],
        [""],
        ["numbers", "57, 228 B"],
    ]
    build(text).save(tmp_path / "net.caffemodel.h5")
    assert summary(capsys, tmp_path / "net.caffemodel.h5")[2][:4] == ["conv", "-", "3 x 2 x 3 x 3, 3", "57"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('layer { name: "d" type: "Data" top: "d" data_param { source: "gone" batch_size: 1 } }', "gone: "),
        (
            data(1, 2, 3, 3) + convolution("c", "data", 1, 5),
            'net.prototxt:2:41: layer "c" (Convolution): the kernel does not fit',
        ),
        ("layer {", "net.prototxt:"),
        (
            '\nlayer { name: "p" type: "Poling" top: "p" }',
            'net.prototxt:2:19: unknown layer type "Poling" in layer "p"',
        ),
    ],
)
def test_mistakes(text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.prototxt").write_text(text)
    assert main(["summary", str(tmp_path / "net.prototxt")]) == 1
    assert message in capsys.readouterr().err


def test_a_net_whose_data_are_elsewhere_is_told_the_flag_that_goes_without(tmp_path, capsys):
    net = tmp_path / "net.prototxt"
    net.write_text("""layer { name: "d" type: "Data" top: "data" top: "label" transform_param { crop_size: 5 }
      data_param { source: "nowhere" batch_size: 2 backend: LMDB } }
    layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 3 } }""")
    assert main(["summary", str(net)]) == 1
    assert "--shape BLOB=N,C,H,W" in capsys.readouterr().err
    rows = summary(capsys, net, "--shape", "data=2,3,5,5")
    assert any(row[:1] == ["fc"] for row in rows)
