"""The forks' batch norms against numpy: NVIDIA's, GENet's and SKNet's, and BN in three dialects."""

from __future__ import annotations

import fork_reference as reference
import numpy as np
import pytest
import torch
from fork_layers import fill, gradients_agree, make, net_param, run, values
from torch.nn import functional as F

import sdcaffe
from sdcaffe import proto
from sdcaffe.errors import LayerError, WeightsError

C = 3
SHAPE = (4, C, 3, 2)
X = 2 * values(*SHAPE) + 1
SCALE, SHIFT = np.array([0.5, -1.5, 2.0]), np.array([1.0, 0.25, -2.0])
MEAN, VARIANCE = np.array([0.5, -0.25, 1.5]), np.array([1.5, 0.75, 2.5])
BATCH_MEAN, BIASED, UNBIASED = reference.statistics(X)
TIGHT = {"rtol": 1e-9, "atol": 1e-11}


def close(found, expected):
    assert np.allclose(np.reshape(np.asarray(found.detach()), np.shape(expected)), expected, **TIGHT)


def by(mean, variance, eps, scale=SCALE, shift=SHIFT):
    return reference.batch_norm(X, mean, variance, scale, shift, eps)


def weights_file(path, net, blobs):
    """A .caffemodel with these blobs of layer "bn", in the order and the shapes of some fork."""
    proto.write_weights(path, net, {"bn": [np.asarray(blob, np.float32) for blob in blobs]})
    return str(path)


def small_net(type_name, body, scale_layer=False, phase=sdcaffe.TEST, weights=None):
    behind = 'layer { name: "s" type: "Scale" bottom: "bn" top: "s" scale_param { bias_term: true } }'
    text = f"""
    layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ dim: 4 dim: 3 dim: 3 dim: 2 }} }} }}
    layer {{ name: "bn" type: "{type_name}" bottom: "x" top: "bn" {body} }} {behind if scale_layer else ""}"""
    return sdcaffe.Net(net_param(text), phase, weights=weights)


# ---- NVIDIA ----

NVIDIA = "batch_norm_param { moving_average_fraction: 0.75 eps: 0.001 scale_bias: true }"
EPS = float(np.float32(0.001))


def nvidia(body=NVIDIA, phase="TEST"):
    layer = make("BatchNorm", body, [SHAPE], phase=phase)
    return fill(layer, MEAN, VARIANCE, [1], SCALE, SHIFT)


def test_nvidia_in_testing():
    layer = nvidia()
    close(torch.tensor(run(layer, X)), by(MEAN, VARIANCE, EPS))
    assert gradients_agree(layer, X)


def test_nvidia_in_training():
    layer = nvidia(phase="TRAIN")
    close(layer(torch.tensor(X)), by(BATCH_MEAN, BIASED, EPS))
    close(layer.blobs[0], 0.75 * MEAN + 0.25 * BATCH_MEAN)
    close(layer.blobs[1], 0.75 * VARIANCE + 0.25 * UNBIASED)
    assert layer.blobs[2].tolist() == [1]
    assert [blob.requires_grad for blob in layer.blobs] == [False] * 3 + [True] * 2
    assert gradients_agree(nvidia(phase="TRAIN"), X)


def test_the_first_batch_makes_nvidias_statistics():
    layer = make("BatchNorm", NVIDIA, [SHAPE], phase="TRAIN")
    assert [blob.tolist() for blob in layer.blobs][2:] == [[1], [1] * C, [0] * C]
    layer(torch.tensor(X))
    close(layer.blobs[0], BATCH_MEAN)
    close(layer.blobs[1], UNBIASED)


def test_nvidia_with_stored_statistics_in_training():
    layer = nvidia(NVIDIA.replace("eps", "use_global_stats: true eps"), "TRAIN")
    close(layer(torch.tensor(X)), by(MEAN, VARIANCE, EPS))
    close(layer.blobs[0], MEAN)
    assert gradients_agree(layer, X)


def test_nvidias_least_eps_and_fillers():
    body = 'eps: 1e-9 engine: CUDNN scale_filler { type: "constant" value: 3 } bias_filler { value: 2 }'
    layer = make("BatchNorm", f"batch_norm_param {{ {body} }}", [SHAPE])
    assert layer.eps == 1e-5
    assert [blob.tolist() for blob in layer.blobs][3:] == [[3] * C, [2] * C]


def test_nvidia_of_one_axis_is_one_channel():
    layer = make("BatchNorm", NVIDIA, [(6,)], phase="TRAIN")
    x = values(6)
    mean, biased, _ = reference.statistics(x.reshape(1, 1, 6))
    fill(layer, [0], [0], [1], [2], [3])
    close(layer(torch.tensor(x)), 2 * (x - mean) / np.sqrt(biased + EPS) + 3)


def test_without_scale_and_bias_it_is_caffes_own():
    for body in ("", "batch_norm_param { scale_bias: false engine: CUDNN }"):
        assert len(make("BatchNorm", body, [SHAPE]).blobs) == 3


@pytest.mark.parametrize("order", ["0.15", "0.15 flat", "0.16"])
def test_nvidias_five_blobs_of_either_order(tmp_path, order):
    new, old = [MEAN, VARIANCE, [1], SCALE, SHIFT], [SCALE, SHIFT, MEAN, VARIANCE]
    four = [np.reshape(blob, (1, C, 1, 1)) for blob in old]
    stored = {"0.15": [*four, np.zeros((1, 1, 1, 1))], "0.15 flat": [*old, [0]], "0.16": new}[order]
    file = weights_file(tmp_path / "a.caffemodel", small_net("BatchNorm", NVIDIA).param, stored)
    later = small_net("BatchNorm", NVIDIA)
    later.load_weights(file)
    for net in (small_net("BatchNorm", NVIDIA, weights=file), later):
        assert np.allclose(net({"x": X})["bn"].detach().numpy(), by(MEAN, VARIANCE, EPS), rtol=1e-4, atol=1e-5)
        assert [blob.shape for blob in net.blob_arrays()["bn"]] == [(C,), (C,), (1,), (C,), (C,)]
        assert net.blob_arrays()["bn"][2].tolist() == [1]


def test_nvidia_and_a_scale_behind_it_run_as_one(tmp_path):
    net = small_net("BatchNorm", NVIDIA, scale_layer=True)
    with torch.no_grad():
        for blob, value in zip(net.params["bn"], (MEAN, VARIANCE, [1], SCALE, SHIFT), strict=True):
            blob.copy_(torch.tensor(value))
        net.params["s"][0].copy_(torch.tensor([2.0, 3.0, 4.0]))
        net.params["s"][1].copy_(torch.tensor([1.0, -1.0, 0.5]))
    view = (1, C, 1, 1)
    expected = by(MEAN, VARIANCE, EPS) * np.reshape([2, 3, 4], view) + np.reshape([1, -1, 0.5], view)
    assert np.allclose(net({"x": X})["s"].detach().numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stored", ["", "use_global_stats: true"])
def test_nvidia_with_scale_and_relu_before_a_convolution(stored):
    body = NVIDIA.replace("scale_bias", f"{stored} scale_bias")
    net = sdcaffe.Net(
        net_param(f"""
    force_backward: true
    layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ dim: 4 dim: 3 dim: 12 dim: 8 }} }} }}
    layer {{ name: "bn" type: "BatchNorm" bottom: "x" top: "bn" {body} }}
    layer {{ name: "s" type: "Scale" bottom: "bn" top: "s" scale_param {{ bias_term: true }} }}
    layer {{ name: "r" type: "ReLU" bottom: "s" top: "r" }}
    layer {{ name: "c" type: "Convolution" bottom: "r" top: "c"
      convolution_param {{ num_output: 2 kernel_size: 1 weight_filler {{ type: "msra" }} }} }}"""),
        sdcaffe.TRAIN,
    )
    fill(net.layers["bn"], MEAN, VARIANCE, [1], SCALE, SHIFT)
    fill(net.layers["s"], SCALE, SHIFT)
    net.double()
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(4, 3, 12, 8, generator=generator).contiguous(memory_format=torch.channels_last)
    found = x.clone(memory_format=torch.preserve_format).double().requires_grad_()
    wanted = x.double().requires_grad_()
    (slot,) = net.assembled.inputs.values()
    mean, variance, scale, shift = (torch.tensor(v, dtype=torch.float64) for v in (MEAN, VARIANCE, SCALE, SHIFT))
    top = F.batch_norm(wanted, mean, variance, scale, shift, training=not stored, eps=EPS)
    top = (top * scale.reshape(-1, 1, 1) + shift.reshape(-1, 1, 1)).relu()
    top = F.conv2d(top, *(p.detach() for p in net.params["c"]))
    ours = net.compute({slot: found}).blobs["c"]
    seed = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    assert torch.allclose(ours, top, **TIGHT)
    ours.backward(seed)
    top.backward(seed)
    assert torch.allclose(found.grad, wanted.grad, **TIGHT)


def test_a_test_net_uses_the_train_nets_blobs():
    train = small_net("BatchNorm", NVIDIA, phase=sdcaffe.TRAIN)
    test = sdcaffe.Net(train.param, sdcaffe.TEST, share=train)
    train({"x": X})
    assert all(a.data_ptr() == b.data_ptr() for a, b in zip(train.params["bn"], test.params["bn"], strict=True))
    assert np.allclose(test.blob_arrays()["bn"][0], BATCH_MEAN, rtol=1e-5)


def test_weights_that_are_no_dialects_are_refused(tmp_path):
    stored = [MEAN[:2], VARIANCE, [1], SCALE, SHIFT]
    file = weights_file(tmp_path / "a.caffemodel", small_net("BatchNorm", NVIDIA).param, stored)
    with pytest.raises(WeightsError, match='blob 0 of layer "bn"'):
        small_net("BatchNorm", NVIDIA, weights=file)


# ---- Scale, shift, mean and variance in one layer: CuDNNBatchNorm, PSPNet's and TSN's BN ----

LATER = {
    "genet": ("CuDNNBatchNorm", "cudnn_batch_norm_param { momentum: 0.75 eps: 0.001 %s }", (1, C, 1, 1), UNBIASED),
    "sknet": ("CuDNNBatchNorm", "batch_norm_param { momentum: 0.75 eps: 0.001 %s }", (1, C, 1, 1), UNBIASED),
    "pspnet": ("BN", "bn_param { moving_average: true decay: 0.25 var_eps: 0.001 %s }", (1, C, 1, 1), BIASED),
    "psp": ("BN", "bn_param { momentum: 0.75 eps: 0.001 %s }", (1, C, 1, 1), BIASED),
    "tsn": ("BN", "bn_param { momentum: 0.75 eps: 0.001 blob_axes: 2 %s }", (1, C), BIASED),
}
FORKS = sorted(LATER)


def later(fork, phase, extra=""):
    type_name, body, shape, _ = LATER[fork]
    layer = make(type_name, body % extra, [SHAPE], phase=phase)
    assert [tuple(blob.shape) for blob in layer.blobs] == [shape] * 4
    return fill(layer, SCALE, SHIFT, MEAN, VARIANCE)


@pytest.mark.parametrize("fork", FORKS)
def test_by_running_statistics_in_testing(fork):
    layer = later(fork, "TEST")
    close(torch.tensor(run(layer, X)), by(MEAN, VARIANCE, EPS))
    assert gradients_agree(layer, X)
    close(layer.blobs[2], MEAN)


@pytest.mark.parametrize("fork", FORKS)
def test_by_the_batch_in_training(fork):
    layer = later(fork, "TRAIN")
    close(layer(torch.tensor(X)), by(BATCH_MEAN, BIASED, EPS))
    close(layer.blobs[2], 0.75 * MEAN + 0.25 * BATCH_MEAN)
    close(layer.blobs[3], 0.75 * VARIANCE + 0.25 * LATER[fork][3])
    assert [blob.requires_grad for blob in layer.blobs] == [True, True, False, False]
    assert gradients_agree(layer, X)


@pytest.mark.parametrize("fork", ["genet", "sknet", "psp", "tsn"])
def test_frozen(fork):
    type_name, body, _, _ = LATER[fork]
    assert make(type_name, body % "frozen: true", [SHAPE], phase="TRAIN").blobs[3].flatten().tolist() == [1] * C
    layer = later(fork, "TRAIN", "frozen: true")
    close(layer(torch.tensor(X)), by(MEAN, VARIANCE, EPS))
    close(layer.blobs[2], MEAN)
    assert not any(blob.requires_grad for blob in layer.blobs)
    assert gradients_agree(layer, X)


@pytest.mark.parametrize("fork", FORKS)
def test_fillers_and_what_is_there_without_them(fork):
    type_name, body, _, _ = LATER[fork]
    names = {
        "pspnet": ("scale_filler", "shift_filler"),
        **dict.fromkeys(("psp", "tsn"), ("slope_filler", "bias_filler")),
    }
    scale, shift = names.get(fork, ("scale_filler", "bias_filler"))
    filled = body % f'{scale} {{ type: "constant" value: 3 }} {shift} {{ type: "constant" value: 2 }}'
    for text, wanted in ((filled, [3, 2, 0, 0]), (body % "", [fork == "pspnet", 0, 0, 0])):
        layer = make(type_name, text, [SHAPE], phase="TRAIN")
        assert [blob.flatten().tolist() for blob in layer.blobs] == [[value] * C for value in wanted]


@pytest.mark.parametrize("fork", FORKS)
@pytest.mark.parametrize("stored", [(1, C, 1, 1), (1, C), (C,)])
def test_blobs_are_read_whatever_axes_of_size_1_they_have(tmp_path, fork, stored):
    type_name, body, shape, _ = LATER[fork]
    blobs = [np.reshape(blob, stored) for blob in (SCALE, SHIFT, MEAN, VARIANCE)]
    file = weights_file(tmp_path / "a.caffemodel", small_net(type_name, body % "").param, blobs)
    net = small_net(type_name, body % "", weights=file)
    assert np.allclose(net({"x": X})["bn"].detach().numpy(), by(MEAN, VARIANCE, EPS), rtol=1e-4, atol=1e-5)
    assert [blob.shape for blob in net.blob_arrays()["bn"]] == [shape] * 4


def test_pspnet_without_moving_average_goes_by_the_batch_in_testing_too():
    layer = fill(make("BN", "bn_param { decay: 0.25 }", [SHAPE]), SCALE, SHIFT, MEAN, VARIANCE)
    close(torch.tensor(run(layer, X)), by(BATCH_MEAN, BIASED, float(np.float32(1e-10))))
    close(layer.blobs[2], MEAN)


def test_pspnet_of_another_axis():
    x = values(2, 4, C, 2)
    mean, biased, _ = reference.statistics(x, axis=2)
    layer = make("BN", "bn_param { axis: 2 var_eps: 0.001 }", [x.shape], phase="TRAIN")
    assert [tuple(blob.shape) for blob in layer.blobs] == [(1, 1, C, 1)] * 4
    fill(layer, SCALE, SHIFT, MEAN, VARIANCE)
    close(layer(torch.tensor(x)), reference.batch_norm(x, mean, biased, SCALE, SHIFT, EPS, axis=2))
    assert gradients_agree(layer, x)


def test_in_place_as_pspnet_writes_it():
    net = net_param("""
    layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 4 dim: 3 dim: 3 dim: 2 } } }
    layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 4 kernel_size: 1 } }
    layer { name: "bn" type: "BN" bottom: "c" top: "c" bn_param { moving_average: true } }
    layer { name: "up" type: "Interp" bottom: "c" top: "up" interp_param { height: 5 width: 5 } }""")
    assert sdcaffe.Net(net, sdcaffe.TEST)({"x": X})["up"].shape == (4, 4, 5, 5)


# ---- SegNet ----


def test_segnet_learns_by_the_batch_in_both_phases():
    for phase in ("TRAIN", "TEST"):
        layer = fill(make("BN", "", [SHAPE], phase=phase), SCALE, SHIFT)
        assert [tuple(blob.shape) for blob in layer.blobs] == [(1, C, 1, 1)] * 2
        close(torch.tensor(run(layer, X)), by(BATCH_MEAN, BIASED, 1e-9))
        assert gradients_agree(layer, X)


def test_segnets_further_tops_are_the_statistics():
    top, mean, variance = run(make("BN", "", [SHAPE], tops=3), X)
    assert mean.shape == variance.shape == (1, C, 1, 1)
    close(torch.tensor(mean), BATCH_MEAN)
    close(torch.tensor(variance), BIASED)
    assert top.shape == SHAPE


def test_segnets_inference_is_scale_and_shift():
    layer = fill(make("BN", "bn_param { bn_mode: INFERENCE }", [SHAPE]), SCALE, SHIFT)
    close(torch.tensor(run(layer, X)), X * SCALE.reshape(1, C, 1, 1) + SHIFT.reshape(1, C, 1, 1))
    assert gradients_agree(layer, X)


@pytest.mark.parametrize(
    ("type_name", "body", "message"),
    [
        ("BN", "bn_param { moving_average: true bn_mode: LEARN }", "bn_mode is not of PSPNet's BN"),
        ("BN", "bn_param { frozen: true decay: 0.1 }", "decay is not of PSPNet's and TSN's BN"),
        ("BN", "bn_param { frozen: true scale_filler { } }", "scale_filler is not of PSPNet's and TSN's BN"),
        ("BN", "bn_param { frozen: true blob_axes: 3 }", "blob_axes is 4 or 2, not 3"),
        ("BN", "bn_param { axis: 3 }", "axis must be 1 or 2"),
        ("CuDNNBatchNorm", "batch_norm_param { } cudnn_batch_norm_param { }", "not both"),
        ("BatchNorm", "batch_norm_param { momentum: 0.9 }", "momentum is of SKNet's CuDNNBatchNorm"),
        ("BatchNorm", "batch_norm_param { frozen: true }", "frozen is of SKNet's CuDNNBatchNorm"),
    ],
)
def test_dialects_do_not_mix(type_name, body, message):
    with pytest.raises(LayerError, match=message):
        make(type_name, body, [SHAPE])
