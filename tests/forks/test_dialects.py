"""As which fork a net is read: by its own fields, by --fork, or an error that names both."""

from __future__ import annotations

from pathlib import Path

import golden
import numpy as np
import pytest
import torch

import sdcaffe
from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.errors import SdcaffeError
from sdcaffe.layers.base import class_of

IN = 'layer { name: "in" type: "Input" top: "a" top: "b" input_param { shape { dim: 2 dim: 3 dim: 2 dim: 2 } } }\n'
LOSS = 'layer { name: "loss" type: "SmoothL1Loss" bottom: "a" bottom: "b" top: "loss" }\n'
BN = 'layer { name: "bn" type: "BN" bottom: "a" top: "bn" }\n'
MMD = 'layer { name: "mmd" type: "MMDLoss" bottom: "a" bottom: "b" top: "mmd" }\n'
PRIORS = (
    'layer { name: "prior" type: "PriorBox" bottom: "a" bottom: "b" top: "prior" prior_box_param { min_size: 1 } }\n'
)
ROIS = 'layer { name: "rois" type: "Input" top: "rois" input_param { shape { dim: 1 dim: 5 } } }\n' + (
    'layer { name: "pool" type: "ROIPooling" bottom: "a" bottom: "rois" top: "pool" '
    "roi_pooling_param { pooled_h: 1 pooled_w: 1 } }\n"
)
ENTROPY = 'layer { name: "entropy" type: "EntropyLoss" bottom: "a" bottom: "b" top: "entropy" }\n'
INTERP = 'layer { name: "interp" type: "Interp" bottom: "a" top: "interp" interp_param { zoom_factor: 2 } }\n'
OTHER_BN = 'layer { name: "bn2" type: "BN" bottom: "b" top: "bn2" bn_param { %s } }\n'


@pytest.fixture
def file(tmp_path):
    def written(*layers):
        path = tmp_path / "net.prototxt"
        path.write_text(IN + "".join(layers))
        return path

    return written


def loss_of(path, **options):
    net = sdcaffe.Net(proto.read_net(path, **options), sdcaffe.TRAIN)
    feeds = {name: np.ones(net.blob_shapes[name], np.float32) * (name == "a") for name in net.inputs}
    return float(net.compute(net.feed(feeds)).loss)


@pytest.mark.parametrize(
    ("layers", "fork", "weight"),
    [
        ((LOSS,), None, 0),
        ((LOSS, PRIORS), None, 1),
        ((LOSS, PRIORS, ROIS), None, 0),
        ((LOSS,), "SSD", 1),
        ((LOSS,), "ssd", 1),
        ((LOSS, PRIORS), "Fast-R-CNN", 0),
        ((LOSS.replace("}\n", "smooth_l1_loss_param { } }\n"), PRIORS), None, 0),
    ],
)
def test_what_smooth_l1_loss_weighs_where_nothing_is_written(file, layers, fork, weight):
    """12 differences of 1 in each of 2 items cost 1/2 each."""
    assert loss_of(file(*layers), fork=fork) == 12 * 0.5 * weight


def test_what_could_be_either_is_told(file, caplog):
    loss_of(file(LOSS))
    (message,) = [record.getMessage() for record in caplog.records if "SmoothL1Loss" in record.getMessage()]
    assert "Fast R-CNN" in message
    assert "--fork SSD" in message


@pytest.mark.parametrize(
    ("layers", "fork", "blobs"),
    [
        ((BN,), "SegNet", 2),
        ((BN,), "PSPNet", 4),
        ((BN,), "TSN", 4),
        ((BN, INTERP), None, 4),
        ((BN, OTHER_BN % "frozen: true"), None, 4),
        ((BN, OTHER_BN % "bn_mode: INFERENCE"), None, 2),
    ],
)
def test_whose_a_bare_bn_is(file, layers, fork, blobs):
    net = sdcaffe.Net(proto.read_net(file(*layers), fork=fork), sdcaffe.TEST)
    assert len(net.params["bn"]) == blobs


@pytest.mark.parametrize(("fork", "shape"), [(None, (1, 3, 1, 1)), ("PSPNet", (1, 3, 1, 1)), ("TSN", (1, 3))])
def test_pspnets_blobs_have_four_axes_and_tsns_two(file, fork, shape):
    net = sdcaffe.Net(proto.read_net(file(OTHER_BN % "frozen: true"), fork=fork), sdcaffe.TEST)
    assert [tuple(np.shape(blob)) for blob in net.blob_arrays()["bn2"]] == [shape] * 4


def test_a_bare_bn_alone_is_an_error_with_both_names(file, capsys):
    path = file(BN)
    with pytest.raises(SdcaffeError, match=r"net\.prototxt:2:20: .*SegNet.*PSPNet.*--fork"):
        proto.read_net(path)
    assert main(["summary", str(path)]) == 1
    assert "--fork SegNet or --fork PSPNet" in capsys.readouterr().err
    assert main(["summary", str(path), "--fork", "SegNet"]) == 0
    with pytest.raises(SdcaffeError):  # --fork was for that command alone
        proto.read_net(path)


def test_whose_mmd_loss_it_is(file):
    kinds = {}
    for layers, fork in (((MMD,), None), ((MMD, ENTROPY), None), ((MMD,), "Xlearn")):
        net = sdcaffe.Net(proto.read_net(file(*layers), fork=fork), sdcaffe.TRAIN)
        kinds[len(layers), fork] = "thuml" in type(net.layers["mmd"]).origin
    assert kinds == {(1, None): False, (2, None): True, (1, "Xlearn"): True}


def test_a_fork_that_nobody_knows(file):
    with pytest.raises(SdcaffeError, match=r'unknown fork "segnt"\. Did you mean "SegNet"'):
        proto.read_net(file(BN), fork="segnt")


def test_the_forks_are_listed(capsys):
    assert main(["layers", "--forks"]) == 0
    out = capsys.readouterr().out
    for words in ("SegNet", "alexgkendall/caffe-segnet", "PSPNet", "SSD", "MobileNet-YOLO"):
        assert words in out


def test_a_training_is_read_as_a_fork_and_goes_on_so(file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = (
        'layer { name: "in" type: "DummyData" top: "a" dummy_data_param { shape { dim: 2 dim: 3 dim: 2 dim: 2 } } }\n'
    )
    (tmp_path / "net.prototxt").write_text(data + BN)
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 1 snapshot_prefix: "net"'
    )
    assert main(["train", "solver.prototxt"]) == 1
    assert "SegNet" in capsys.readouterr().err
    assert main(["train", "solver.prototxt", "--fork", "PSPNet"]) == 0
    assert {layer.name: len(layer.blobs) for layer in proto.read_weights("net_iter_1.caffemodel")}["bn"] == 4


def test_ssds_smooth_l1_loss_gives_what_ssd_gave(tmp_path):
    """Without a loss_weight: the recording's gradient is that of weight 1."""
    recording = golden.read("smooth_l1", Path(__file__).parent / "recordings" / "ssd" / "layers")
    (tmp_path / "net.prototxt").write_text(recording.text("prototxt"))
    layer = next(one for one in proto.read_net(tmp_path / "net.prototxt", fork="SSD").layer if one.name == "x")
    assert list(layer.loss_weight) == [1]
    bottoms = [torch.from_numpy(values).requires_grad_() for values in recording.all("bottom").values()]
    made = class_of(layer)(layer, sdcaffe.TRAIN)
    made.setup([tuple(bottom.shape) for bottom in bottoms])
    loss = made(*bottoms)
    golden.close(loss, recording.all("top")[0])
    loss.backward()
    for i, expected in recording.all("bottom_diff").items():
        golden.close(bottoms[i].grad, expected)
