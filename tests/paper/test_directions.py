"""Accuracies with units clamped are those that numpy computes in float64, unit by unit."""

from __future__ import annotations

import csv
import json

import h5py
import numpy as np
import pytest
import torch

from sdcaffe import Net, cli, proto
from sdcaffe.errors import DataError, WeightsError
from sdcaffe.paper.directions import Reliance, lines, measure, pooled, to_csv
from sdcaffe.paper.directions.clamps import Clamps

IMAGES, CHANNELS, FIRST, SECOND, CLASSES = 40, 3, 4, 6, 5
NET = """
name: "small"
layer { name: "data" type: "HDF5Data" top: "data" top: "label" hdf5_data_param { source: "list.txt" batch_size: 20 } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 4 kernel_size: 1 weight_filler { type: "msra" } bias_filler { type: "uniform" } } }
layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "conv1" }
layer { name: "scale1" type: "Scale" bottom: "conv1" top: "conv1" scale_param { bias_term: true } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "conv2" type: "Convolution" bottom: "conv1" top: "conv2"
  convolution_param { num_output: 6 kernel_size: 1 weight_filler { type: "msra" } bias_filler { type: "uniform" } } }
layer { name: "relu2" type: "ReLU" bottom: "conv2" top: "relu2" }
layer { name: "pool" type: "Pooling" bottom: "relu2" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "msra" } bias_filler { type: "uniform" max: 0.05 } } }
layer { name: "flat" type: "ReLU" bottom: "fc" top: "flat" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""


def write_data(images, labels):
    with h5py.File("data.h5", "w") as file:
        file["data"], file["label"] = images.astype(np.float32), labels.astype(np.float32)


@pytest.fixture
def blobs(tmp_path, monkeypatch):
    """A net on disk with weights, and these weights and its images in float64. It errs on a quarter of the images."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(7)
    images = random.normal(size=(IMAGES, CHANNELS, 1, 1)) * 2 + 0.3 * random.normal(size=(IMAGES, CHANNELS, 2, 2))
    images = images.astype(np.float32)
    write_data(images, np.zeros(IMAGES))
    (tmp_path / "list.txt").write_text("data.h5\n")
    (tmp_path / "net.prototxt").write_text(NET)
    net = Net("net.prototxt", proto.TEST)
    for name, params in net.params.items():
        for i, blob in enumerate(params):
            values = random.normal(size=blob.shape) * (0.1 if i == 1 and name != "bn1" else 1)
            blob.data.copy_(torch.from_numpy(np.abs(values) if name == "bn1" else values))
    net.save("net.caffemodel")
    arrays = {name: [b.detach().numpy().astype(np.float64) for b in params] for name, params in net.params.items()}
    net.close()
    arrays["images"] = [images.astype(np.float64)]
    labels = expected_logits(arrays, [])[0].argmax(1)
    labels[:10] = (labels[:10] + 1) % CLASSES
    write_data(images, labels)
    return arrays | {"labels": [labels]}


def expected(blobs, clamped, value=None, at="relu"):
    """The accuracy with units clamped, and the mean of every unit of the net that is left alone."""
    logits, means = expected_logits(blobs, clamped, value, at)
    return (logits.argmax(1) == blobs["labels"][0]).mean(), means


def expected_logits(blobs, clamped, value=None, at="relu"):
    """With the units `clamped` (0 to 3 of the first feature map, 4 to 9 of the second) at 0 or at value[unit]."""
    value = np.zeros(FIRST + SECOND) if value is None else value
    means = []

    def clamp(x, units):
        means.append(x.mean((0, 2, 3)))
        for channel, unit in enumerate(units):
            if unit in clamped:
                x[:, channel] = value[unit]
        return x

    def column(blob):
        return blob[:, None, None]

    x = np.einsum("nchw,oc->nohw", blobs["images"][0], blobs["conv1"][0][:, :, 0, 0]) + column(blobs["conv1"][1])
    mean, variance, weight = blobs["bn1"]
    x = (x - column(mean / weight)) / np.sqrt(column(variance / weight) + 1e-5)
    x = x * column(blobs["scale1"][0]) + column(blobs["scale1"][1])
    if at == "norm":
        x = clamp(x, range(FIRST))
    x = np.maximum(x, 0)
    if at == "relu":
        x = clamp(x, range(FIRST))
    x = np.einsum("nchw,oc->nohw", x, blobs["conv2"][0][:, :, 0, 0]) + column(blobs["conv2"][1])
    x = np.maximum(x, 0)
    if at == "relu":
        x = clamp(x, range(FIRST, FIRST + SECOND))
    return x.mean((2, 3)) @ blobs["fc"][0].T + blobs["fc"][1], np.concatenate(means)


def clamps(**options):
    made = Clamps(proto.read_net("net.prototxt"), **options)
    made.load_weights("net.caffemodel")
    return made


# Batches of 20 images: at the first clamp one holds 20 * 4 * 2 * 2 values and 20 labels.
@pytest.mark.parametrize("memory", [0, 4 * 20 * 17, 2**30])
def test_every_single_unit_and_many_together(blobs, memory):
    made = clamps(memory=memory)
    assert made.units == FIRST + SECOND
    sets = [[], *([unit] for unit in range(10)), [0, 5, 9], [1, 2, 3, 4], list(range(10))]
    got = []
    for which in sets:
        made.clamp(which)
        got.append(made.score(2))
    want = [expected(blobs, which)[0] for which in sets]
    assert len(set(want)) > 4
    assert got == pytest.approx(want)


def test_clamped_to_the_mean(blobs):
    made = clamps()
    made.use_means(2)
    _, means = expected(blobs, [])
    np.testing.assert_allclose(np.concatenate(made.means), means, rtol=1e-4)
    for which in ([], [3], [0, 1, 8], list(range(10))):
        made.clamp(which)
        assert made.score(2) == pytest.approx(expected(blobs, which, means)[0])


def test_at_batch_norm_the_clamp_is_behind_its_scale_and_before_the_relu(blobs):
    made = clamps(at="BatchNorm")
    assert made.units == FIRST
    made.use_means(2)
    _, means = expected(blobs, [], at="norm")
    np.testing.assert_allclose(made.means[0], means, rtol=1e-4)
    for which in ([0], [1, 3], [0, 1, 2, 3]):
        made.clamp(which)
        assert made.score(2) == pytest.approx(expected(blobs, which, means, at="norm")[0])


def test_a_layer_by_name(blobs):
    made = clamps(after=["relu2"])
    made.clamp([0, 4])
    assert made.score(2) == pytest.approx(expected(blobs, [FIRST, FIRST + 4])[0])


def test_points_follow_random_orders_that_are_the_same_for_every_net(blobs):
    found = measure(clamps(), "a", batches=2, points=5, orders=3, seed=11)
    again = measure(clamps(), "b", batches=2, points=5, orders=3, seed=11)
    assert found.clamped == [0, 2, 4, 6, 8, 10]
    np.testing.assert_array_equal(found.accuracies, again.accuracies)
    for row in range(3):
        order = np.random.default_rng([11, row]).permutation(10).tolist()
        want = [expected(blobs, order[:count])[0] for count in found.clamped]
        assert found.accuracies[row].tolist() == pytest.approx(want)


def test_the_area_is_the_trapezoid_rule():
    found = Reliance("a", 4, [0, 1, 4], np.array([[1.0, 0.5, 0.0], [1.0, 0.7, 0.2]]))
    assert found.area == pytest.approx(0.25 * (1 + 0.6) / 2 + 0.75 * (0.6 + 0.1) / 2)
    assert lines([found])[-1].split() == ["area", "46.25", "±", "12.37"]
    assert "60.00 ± 14.14" in lines([found])[5]
    assert list(csv.DictReader(to_csv([found]).splitlines()))[4] == {
        "net": "a", "trained": "", "order": "1", "units": "4", "clamped": "1", "accuracy": "0.7",
    }  # fmt: skip


def test_nets_trained_alike_are_one(tmp_path):
    def net(name, trained, *orders):
        return Reliance(name, 2, [0, 1, 2], np.array(orders), trained)

    nets = [
        net("a1", "plain", [0.9, 0.5, 0.1], [0.9, 0.7, 0.1]),
        net("a2", "plain", [0.8, 0.4, 0.2], [0.8, 0.4, 0.2]),
        net("b1", "taught", [1.0, 0.9, 0.1], [1.0, 0.9, 0.1]),
    ]
    plain, taught = pooled(nets)
    assert (plain.name, plain.rows, taught.name) == ("plain, 2 nets", "nets", "b1")
    np.testing.assert_allclose(plain.accuracies, [[0.9, 0.6, 0.1], [0.8, 0.4, 0.2]])
    text = [line.split() for line in lines(nets)]
    assert text[5] == ["50%", "50.00", "±", "14.14", "90.00"]  # 60 and 40
    assert text[7] == ["area", "50.00", "±", "7.07", "72.50"]  # (0.75 + 0.35) / 2 and (0.6 + 0.3) / 2; 0.95 and 0.5
    assert text[-3:] == [["a1", "90.00", "55.00"], ["a2", "80.00", "45.00"], ["b1", "100.00", "72.50"]]
    assert pooled(nets[:2]) == nets[:2]  # nothing to hold them against
    assert pooled(nets[1:]) == nets[1:]


def test_other_weights_are_measured_on_their_own(blobs, tmp_path):
    """conv1 stands before the first clamp: what it made for other weights is forgotten."""
    made = clamps()
    first = made.score(2)
    net = Net("net.prototxt", proto.TEST, ["net.caffemodel"])
    net.params["conv1"][0].data.zero_()
    net.save("other.caffemodel")
    net.close()
    blobs["conv1"][0][:] = 0
    made.load_weights("other.caffemodel")
    made.clamp([])
    assert made.score(2) == pytest.approx(expected(blobs, [])[0])
    assert made.score(2) < first


def test_the_command(blobs, tmp_path, capsys):
    (tmp_path / "other.caffemodel").write_bytes((tmp_path / "net.caffemodel").read_bytes())
    command = ["directions", "net.prototxt", "--weights", "net.caffemodel", "other.caffemodel"]
    flags = ["--iterations", "2", "--orders", "2", "--points", "2"]
    assert cli.main([*command, *flags, "-o", "a.svg", "--csv", "a.csv", "--json", "a.json"]) == 0
    assert "10 units" in capsys.readouterr().out
    content = json.loads((tmp_path / "a.json").read_text())
    assert [(net["net"], net["trained"]) for net in content] == [("net", "small"), ("other", "small")]
    assert content[0]["accuracy"][0][0] == pytest.approx(expected(blobs, [])[0])
    assert content[0]["accuracy"][1][-1] == pytest.approx(expected(blobs, range(10))[0])
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 1 + 2 * 2 * 3
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    assert cli.main([*command, *flags, "--json", "-"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == content
    assert "10 units" in printed.err


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        ([], 2, "name the weights"),
        (["--weights", "net.caffemodel", "-o", "a.bmp"], 2, "must end in one of"),
        (["--weights", "net.caffemodel", "--seed", "-1"], 2, "0 or more"),
        (["--weights", "net.caffemodel", "--layer", "relu3"], 1, 'no layer "relu3"; it has data, conv1'),
        (["--weights", "net.caffemodel", "--layer", "flat"], 1, 'the top of layer "flat" is no feature map'),
        (["--weights", "none.caffemodel"], 1, "none.caffemodel"),
        (["--weights", "net.caffemodel", "--csv", "no/folder.csv"], 2, "no/folder.csv cannot be written"),
        (["--weights", "net.caffemodel", "--json", "net.caffemodel"], 2, "net.caffemodel would be overwritten"),
        (["--weights", "net.caffemodel", "--csv", "a", "--json", "a"], 2, "it is written already"),
    ],
)
def test_mistakes(blobs, flags, code, message, capsys):
    assert cli.main(["directions", "net.prototxt", *flags]) == code
    assert message in capsys.readouterr().err


def test_weights_of_another_net(blobs):
    other = proto.NetParameter(layer=[proto.LayerParameter(name="x", type="Bias")])
    proto.write_weights("other.caffemodel", other, {"x": [np.zeros(2, np.float32)]})
    with pytest.raises(WeightsError, match='has no weights for layer "'):
        clamps().load_weights("other.caffemodel")


def test_a_net_without_such_layers_or_without_an_accuracy(blobs):
    net = proto.read_net("net.prototxt")
    kept = [layer for layer in net.layer if layer.type != "Accuracy"]
    del net.layer[:]
    net.layer.extend(kept)
    with pytest.raises(DataError, match="no output that is an accuracy"):
        Clamps(net).score(1)
    kept = [layer for layer in net.layer if layer.type not in ("BatchNorm", "Scale")]
    del net.layer[:]
    net.layer.extend(kept)
    with pytest.raises(DataError, match="no BatchNorm layer whose top is a feature map"):
        Clamps(net, at="BatchNorm")


def test_a_net_with_inputs(blobs):
    net = proto.read_net("net.prototxt")
    data = net.layer[0]
    data.CopyFrom(proto.LayerParameter(name="data", type="Input", top=["data", "label"]))
    data.input_param.shape.add(dim=(20, 3, 2, 2))
    data.input_param.shape.add(dim=(20,))
    with pytest.raises(DataError, match=r"has inputs \(data, label\); give one with data layers"):
        Clamps(net)
