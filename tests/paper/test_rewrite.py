"""`sdcaffe self-distill`: baselines of many styles become self-distilled, or are refused with what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from recipe_nets import FILES, parsed, without_data
from rewriting import (
    ACCURACY,
    DATA,
    DISTORT,
    LOSS,
    PIXELS,
    TEST_ONLY,
    TRUNK,
    by_name,
    kept,
    rewritten,
    run,
)

import sdcaffe
from sdcaffe import Net, proto
from sdcaffe.errors import GraphError
from sdcaffe.layers.base import Layer, register
from sdcaffe.paper.rewrite import Settings, self_distilled
from sdcaffe.proto.printing import net_text

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests" / "goldens" / "files"
# The second study's self-distilled net has the gradient of Hinton et al., which the rewrite does not give.
# The quickstart's teacher is trained as a baseline alone.
ELSEWHERE = ("/study2/", "/quickstart_teacher/")
BASELINES = [n for n in FILES if n.endswith("train_val_baseline.prototxt") and not any(e in n for e in ELSEWHERE)]


@pytest.mark.parametrize("name", BASELINES)
def test_the_committed_self_distilled_nets_are_the_baselines_rewritten(name):
    baseline = parsed(FILES[name])
    softer = any(images in name for images in ("cifar100", "study", "imagenet"))  # the study's are CIFAR-100's
    result = self_distilled(baseline, Settings(temperature=3 if softer else 2))
    assert result.net == parsed(FILES[name.replace("baseline", "self_distilled")])
    assert kept(result.net, proto.TEST) == kept(baseline, proto.TEST)
    assert baseline == parsed(FILES[name])  # the given net stays as it was


def test_from_python_by_name_or_message():
    path = ROOT / "prototxt/cifar10/resnet32/train_val_baseline.prototxt"
    expected = parsed(FILES["prototxt/cifar10/resnet32/train_val_self_distilled.prototxt"])
    baseline = sdcaffe.read_net(path)
    for net in (path, str(path), baseline):
        assert sdcaffe.self_distill(net, temperature=2) == expected
    assert baseline == sdcaffe.read_net(path)
    with pytest.raises(GraphError, match="mu must be"):
        sdcaffe.self_distill(path, mmd_weight=-1)


@pytest.mark.parametrize("name", [*BASELINES, *(n for n in FILES if "teacher" in n and "solver" not in n)])
def test_printed_nets_read_back_the_same(name):
    net = parsed(FILES[name])
    text = net_text(net, ["A comment."])
    assert parsed(text) == net
    assert text.startswith("# A comment.\nname: ")
    assert max(map(len, text.splitlines())) <= 120


def test_printed_nets_keep_odd_names_settings_and_rules():
    text = r"""name: "a \"b\" \\ c" force_backward: true state { stage: "x" }
    layer { name: "in\"put" type: "Input" top: "t\\op" include { phase: TEST stage: "x" } exclude { min_level: 2 }
      loss_weight: 0.1 loss_weight: 1e-5 input_param { shape { dim: 1 dim: 2 } shape { } } }"""
    net = parsed(text)
    assert parsed(net_text(net, [])) == net


def test_a_transforming_data_layer_hands_its_distortion_to_distort():
    net = rewritten(DATA + TRUNK + ACCURACY % TEST_ONLY + LOSS)
    layers = by_name(net)
    assert list(layers)[:3] == ["data", "distort", "both"]
    assert list(layers["data"].top) == ["image", "label"]
    assert not layers["data"].HasField("transform_param")
    param = layers["distort"].distort_param
    assert (param.pad, param.crop_size, param.mirror) == (0, 28, True)
    assert list(param.mean_value) == [104, 117, 123]
    assert list(param.std_value) == [128]
    assert list(layers["both"].top) == ["data"]
    assert (list(layers["split_feature"].bottom), list(layers["split_logits"].bottom)) == (["ip1"], ["ip2"])
    assert kept(net, proto.TEST) == kept(parsed(DATA + TRUNK + ACCURACY % TEST_ONLY + LOSS), proto.TEST)
    built, result = run(net)
    assert built.blob_shapes["data"] == (8, 3, 28, 28)
    assert set(built.loss_weights) == {"loss_a", "loss_b", "kl", "mmd"}
    result.loss.backward()


@pytest.fixture
def recorded(tmp_path, monkeypatch) -> Path:
    """A working folder with the recorded database: 40x40 images."""
    shutil.copytree(RECORDED, tmp_path / "files")
    monkeypatch.chdir(tmp_path / "files")
    return tmp_path / "files"


@pytest.mark.parametrize(
    "means", ['mean_file: "mean.binaryproto" scale: 0.0078125', "mean_value: 104 mean_value: 117 mean_value: 123", ""]
)
def test_both_branches_see_what_the_data_layer_would_have_given(recorded, means):
    """Each image of each branch is some crop of the image, less the mean where it stood, maybe mirrored."""
    transform = f"transform_param {{ crop_size: 30 mirror: true {means} }}"
    source = 'data_param { source: "lmdb_raw" batch_size: 8 backend: LMDB }'
    data = f'layer {{ name: "data" type: "Data" top: "data" top: "label" {transform} {source} }}\n'
    net = Net(rewritten(data + TRUNK + LOSS), proto.TRAIN)
    torch.manual_seed(0)
    both = net.compute(net.load(), keep=("data",)).blobs["data"].detach().numpy()
    net.close()
    whole = transform.replace("crop_size: 30 mirror: true", "")
    plain = f'layer {{ name: "data" type: "Data" top: "data" top: "label" {whole} {source} }}\n'
    images = Net(parsed(plain), proto.TRAIN)
    pixels = images.forward(keep=("data",))["data"].numpy()
    images.close()
    height, width = pixels.shape[2:]
    drawn = []
    for i, image in enumerate(both):
        windows = [
            (top, left, flip)
            for top in range(height - 29)
            for left in range(width - 29)
            for flip in (1, -1)
            if np.allclose(pixels[i % 8, :, top : top + 30, left : left + 30][:, :, ::flip], image, atol=1e-4)
        ]
        assert len(windows) == 1
        drawn += windows
    assert len(both) == 16
    assert len(set(drawn)) > 8
    assert {flip for _, _, flip in drawn} == {1, -1}


def test_a_data_layer_of_both_phases_stays_whole_in_the_test_phase():
    both = DATA.split("layer")[1].replace("include { phase: TRAIN }", "")
    baseline = parsed("layer" + both + TRUNK + LOSS)
    net = self_distilled(baseline, Settings()).net
    assert kept(net, proto.TEST) == kept(baseline, proto.TEST)
    assert list(by_name(net)["data"].top) == ["image", "label"]


def test_a_distort_layer_gets_a_second_top_whatever_brings_the_pixels():
    baseline = parsed(PIXELS + DISTORT + TRUNK + LOSS)
    net = self_distilled(baseline, Settings()).net
    phi = by_name(net)["phi"]
    assert list(phi.top) == ["data_a", "data_b"]
    assert phi.distort_param == baseline.layer[1].distort_param
    assert kept(net, proto.TEST) == kept(baseline, proto.TEST)


def test_temperature_lambda_and_mu_are_as_asked():
    net = rewritten(DATA + TRUNK + LOSS, temperature=4, kl_weight=2, mmd_weight=0.01)
    layers = by_name(net)
    assert layers["kl"].kl_loss_param.temperature == 4
    assert list(layers["kl"].loss_weight) == [2]
    assert list(layers["mmd"].loss_weight) == pytest.approx([0.01])
    without = by_name(rewritten(DATA + TRUNK + LOSS, kl_weight=0, mmd_weight=0))
    assert not {"kl", "mmd", "split_feature"} & set(without)
    assert {"loss_a", "loss_b"} <= set(without)


AUXILIARY = """
layer { name: "aux_ip" type: "InnerProduct" bottom: "conv1" top: "aux_ip" inner_product_param { num_output: 5 } }
layer { name: "aux" type: "SoftmaxWithLoss" bottom: "aux_ip" bottom: "label" top: "aux" loss_weight: 0.3 }
"""


def test_auxiliary_losses_stand_beside_the_heaviest_and_other_labels_need_a_choice():
    text = DATA + TRUNK + AUXILIARY + LOSS + ACCURACY % ""
    other = text.replace('bottom: "aux_ip" bottom: "label"', 'bottom: "aux_ip" bottom: "kind"')
    with pytest.raises(GraphError, match=r'2 softmax losses \("aux" reads "aux_ip", "loss" reads "ip2"\).*--logits'):
        rewritten(other)
    net = rewritten(text)
    assert net == rewritten(text, logits="ip2")
    layers = by_name(net)
    assert list(layers["kl"].bottom) == ["logits_a", "logits_b"]
    assert list(layers["split_logits"].bottom) == ["ip2"]
    assert list(layers["mmd"].bottom) == ["feature_a", "feature_b"]
    assert list(layers["aux_a"].bottom) == ["aux_ip_a", "label"]
    assert kept(net, proto.TEST) == kept(parsed(text), proto.TEST)
    built, _ = run(net)
    assert built.loss_weights == pytest.approx(
        {"aux_a": 0.3, "aux_b": 0.3, "loss_a": 1, "loss_b": 1, "kl": 1, "mmd": 0.0005}
    )
    assert {"accuracy_a", "accuracy_b"} <= set(built.outputs)
    by_auxiliary = by_name(rewritten(text, logits="aux_ip"))
    assert list(by_auxiliary["split_feature"].bottom) == ["conv1"]


def test_the_branches_losses_add_up_to_those_of_two_batches():
    """CE of each branch is what the baseline has on it; Eq. 5 adds them."""
    torch.manual_seed(0)
    net = rewritten(DATA + TRUNK + LOSS, kl_weight=0, mmd_weight=0)
    _, result = run(net, keep=("ip2",))
    scores = result.blobs["ip2"].detach().double()
    losses = [
        -half.log_softmax(1).gather(1, torch.arange(4).reshape(-1, 1)).mean() for half in (scores[:4], scores[4:])
    ]
    assert result.loss.item() == pytest.approx(sum(x.item() for x in losses), rel=1e-5)


def test_explicit_splits_are_seen_through():
    splits = """
    layer { name: "split_label" type: "Split" bottom: "label" top: "label_0" top: "label_1" }
    layer { name: "split_ip2" type: "Split" bottom: "ip2" top: "ip2_0" top: "ip2_1" }
    layer { name: "accuracy" type: "Accuracy" bottom: "ip2_0" bottom: "label_0" top: "accuracy" }
    layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2_1" bottom: "label_1" top: "loss" }
    """
    text = DATA + TRUNK + splits
    net = rewritten(text)
    layers = by_name(net)
    assert list(layers["split_feature"].bottom) == ["ip1"]
    assert list(layers["split_logits"].bottom) == ["ip2_1"]
    assert list(layers["loss_b"].bottom) == ["logits_b", "label_1"]
    assert kept(net, proto.TEST) == kept(parsed(text), proto.TEST)
    run(net)[1].loss.backward()


def test_labels_cut_from_one_blob_stay_single():
    several = """
    layer { name: "cut" type: "Slice" bottom: "label" top: "kind" top: "size" slice_param { axis: 0 slice_point: 2 } }
    layer { name: "hush" type: "Silence" bottom: "kind" bottom: "size" }
    """
    layers = by_name(rewritten(DATA + several + TRUNK + LOSS))
    assert list(layers["cut"].bottom) == ["label"]
    assert "cut_a" not in layers


def test_a_loss_of_images_alone_is_counted_for_each_branch():
    """An autoencoder beside the classifier: means over n, added, as the cross-entropies are."""
    decoder = """
    layer { name: "code" type: "InnerProduct" bottom: "ip1" top: "code" inner_product_param { num_output: 2352 } }
    layer { name: "flat" type: "Flatten" bottom: "data" top: "flat" }
    layer { name: "rebuilt" type: "EuclideanLoss" bottom: "code" bottom: "flat" top: "rebuilt" loss_weight: 0.1 }
    """
    layers = by_name(rewritten(DATA + TRUNK + decoder + LOSS))
    assert list(layers["rebuilt_b"].bottom) == ["code_b", "flat_b"]
    assert list(layers["rebuilt_b"].loss_weight) == pytest.approx([0.1])


def test_names_that_are_taken_are_left_alone():
    text = DATA.replace('"label"', '"logits_a"') + TRUNK.replace('"conv1"', '"kl"') + LOSS.replace("label", "logits_a")
    net = rewritten(text)
    layers = by_name(net)
    assert {"kl", "kl_2"} <= set(layers)
    assert list(layers["kl_2"].bottom) == ["logits_a_2", "logits_b"]
    run(net)


def test_weights_go_either_way():
    """Layers with parameters keep names and sizes."""
    baseline = Net(without_data(parsed(DATA + TRUNK + LOSS), proto.TRAIN, 4, 28), proto.TRAIN)
    distilled, _ = run(rewritten(DATA + TRUNK + LOSS))
    assert {n: [b.shape for b in bs] for n, bs in baseline.params.items()} == {
        n: [b.shape for b in bs] for n, bs in distilled.params.items()
    }


POOLED = """
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 5 kernel_size: 3 } }
layer { name: "ip2" type: "Pooling" bottom: "conv1" top: "ip2" pooling_param { pool: AVE global_pooling: true } }
"""


def between(layer: str) -> str:
    """The trunk with a layer of top "inner" between its two InnerProducts."""
    before, name, behind = TRUNK.partition('layer { name: "ip2"')
    return before + layer + name + behind.replace('bottom: "ip1"', 'bottom: "inner"')


ONCE = DISTORT.replace('"data"', '"once"').replace("phi", "first")
MIXED = 'layer { name: "mix" type: "Eltwise" bottom: "data" bottom: "pixels" top: "mix" }'
PAIRS = 'layer { name: "pair" type: "Slice" bottom: "ip1" top: "inner" top: "rest" slice_param { axis: 0 } }\n'
FIXED = 'layer { name: "flat" type: "Reshape" bottom: "ip1" top: "inner" reshape_param { shape { dim: 4 dim: 8 } } }\n'
INNER = 'layer { name: "inner" type: "%s" bottom: "ip1" top: "inner" '
ATTACK = """layer { name: "attack" type: "Adversarial" bottom: "data" bottom: "loss" top: "attacked"
  adversarial_param { epsilon: 1 } }"""
GIVEN = 'layer { name: "given" type: "Concat" bottom: "ip1" bottom: "label" top: "inner" }\n'
HALF = 'layer { name: "half" type: "Power" bottom: "loss" top: "half" }'
STAGED = DATA.replace("include { phase: TRAIN }", 'include { phase: TRAIN stage: "a" }')
STILL = DATA.replace("crop_size: 28", "").replace("mirror: true", "")
TWO_TOPS = DISTORT.replace('top: "data"', 'top: "data" top: "x"')
DISTILLED = FILES["prototxt/quickstart/train_val_self_distilled.prototxt"]


@register("ShuffledForRewrite")
class Shuffled(Layer):
    """A plugin's layer that looks at other images of the batch, and says so."""

    @classmethod
    def mixes_items(cls, layer_param):
        return True


# A net, settings, and words of the refusal.
REFUSED: dict[str, tuple[str, dict, str]] = {
    "no softmax loss": (DATA + TRUNK, {}, "no SoftmaxWithLoss"),
    "unknown logits": (DATA + TRUNK + LOSS, {"logits": "fc"}, 'logits "fc".*"ip2"'),
    "unknown feature": (DATA + TRUNK + LOSS, {"feature": "pool"}, 'feature "pool"'),
    "label as feature": (DATA + TRUNK + LOSS, {"feature": "label"}, 'feature "label"'),
    "pooled logits": (DATA + POOLED + LOSS, {}, r'"ip2" \(Pooling\).*--feature'),
    "two branches already": (PIXELS + TWO_TOPS + TRUNK + LOSS, {}, "2 tops.*give the baseline"),
    "self-distilled already": (DISTILLED, {}, "give the baseline"),
    "no distortion": (STILL + TRUNK + LOSS, {}, "would be equal.*Distort"),
    "no transformer": (PIXELS.replace('"pixels"', '"data"') + TRUNK + LOSS, {}, 'Distort layer behind "data"'),
    "two images": (
        PIXELS.replace('top: "label"', "") + DATA + MIXED + TRUNK.replace('bottom: "data"', 'bottom: "mix"') + LOSS,
        {},
        'depend on .*"pixels".*Distort',
    ),
    "two distortions": (
        PIXELS + ONCE + DISTORT.replace("pixels", "once") + TRUNK + LOSS,
        {},
        "one of 2 Distort layers",
    ),
    "stages": (STAGED + TRUNK + LOSS, {}, "stages or levels"),
    "across the batch": (DATA + between(PAIRS) + LOSS, {}, r'"pair" \(Slice\) works across the images'),
    "fixed batch": (DATA + between(FIXED) + LOSS, {}, r'"flat" \(Reshape\) works across'),
    "each image several times": (
        DATA + between(INNER % "Tile" + "tile_param { axis: 0 tiles: 2 } }") + LOSS,
        {},
        r'"inner" \(Tile\) works across',
    ),
    "a softmax over the batch": (
        DATA + between(INNER % "Softmax" + "softmax_param { axis: 0 } }") + LOSS,
        {},
        "works across",
    ),
    "the best image": (DATA + between(INNER % "ArgMax" + "argmax_param { axis: 0 } }") + LOSS, {}, "works across"),
    "axes exchanged": (
        DATA + between(INNER % "Permute" + "permute_param { order: 1 order: 0 } }") + LOSS,
        {},
        "works across",
    ),
    "a plugin's layer": (DATA + between(INNER % "ShuffledForRewrite" + "}") + LOSS, {}, "works across"),
    "attacked already": (DATA + TRUNK + LOSS + ATTACK, {}, r'"attack" \(Adversarial\) reads "loss"'),
    "a loss that is read": (DATA + TRUNK + LOSS + HALF, {}, r'"half" \(Power\) reads "loss"'),
    "labels inside": (PIXELS + DISTORT + between(GIVEN) + LOSS, {}, 'reads "inner"'),
    "temperature": (DATA + TRUNK + LOSS, {"temperature": 0.0}, "temperature"),
    "mu": (DATA + TRUNK + LOSS, {"mmd_weight": -1.0}, "mu must be"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_cannot_be_rewritten_right_is_refused_with_what_to_do(case):
    text, settings, words = REFUSED[case]
    with pytest.raises(GraphError, match=words):
        rewritten(text, **settings)


def test_logits_of_a_convolution_are_logits():
    """N x K x 1 x 1, as a net has them whose last layer is a 1x1 convolution of the pooled image."""
    last = """
    layer { name: "last" type: "Convolution" bottom: "ip2" top: "scores"
      convolution_param { num_output: 7 kernel_size: 1 weight_filler { type: "msra" } } }
    """
    net = rewritten(DATA + POOLED + last + LOSS.replace("ip2", "scores"))
    assert list(by_name(net)["split_feature"].bottom) == ["ip2"]
    built, result = run(net, keep=("logits_a", "logits_b", "kl"))
    a, b = (result.blobs[name].detach().double().flatten(1).div(3).log_softmax(1) for name in ("logits_a", "logits_b"))
    assert built.blob_shapes["logits_a"] == (4, 7, 1, 1)
    expected = ((a.exp() - b.exp()) * (a - b)).sum().item() / 4
    assert result.blobs["kl"].item() == pytest.approx(expected, rel=1e-4, abs=1e-9)
    result.loss.backward()


def test_a_pooled_net_takes_a_named_feature_or_none():
    text = DATA + POOLED + LOSS
    assert list(by_name(rewritten(text, feature="conv1"))["split_feature"].bottom) == ["conv1"]
    assert "mmd" not in by_name(rewritten(text, mmd_weight=0))
