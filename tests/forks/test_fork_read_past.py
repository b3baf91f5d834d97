"""Fields of forks that no number hangs on: the net is the same net with them, one warning names them, they stay."""

from __future__ import annotations

import logging

import numpy as np

import sdcaffe
from sdcaffe import proto
from sdcaffe.cli import main

sdcaffe.discover()

PLAIN = """
input: "x" input_shape { dim: 2 dim: 3 dim: 6 dim: 6 }
layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "b" type: "BatchNorm" bottom: "c" top: "b" }
layer { name: "p" type: "Pooling" bottom: "b" top: "p" pooling_param { kernel_size: 2 } }
layer { name: "k" type: "Concat" bottom: "p" bottom: "p" top: "k" }
layer { name: "e" type: "Eltwise" bottom: "k" bottom: "k" top: "e" }
"""
WITH = """
default_forward_type: FLOAT16 default_backward_type: FLOAT16 default_forward_math: FLOAT default_backward_math: FLOAT
global_grad_scale: 1000 global_grad_scale_adaptive: true eltwise_mem_sharing: false engine: "MKLDNN"
input: "x" input_shape { dim: 2 dim: 3 dim: 6 dim: 6 }
layer { name: "c" type: "Convolution" bottom: "x" top: "c" forward_type: FLOAT16 engine: "MKLDNN:CPU"
  param { force_mult: 0.5 }
  convolution_param { num_output: 4 kernel_size: 3 engine: MKL2017 conv_algorithm: "winograd" }
  quantization_param { bw_layer_in: 8 bw_layer_out: 8 scale_in: 1.5 scale_out: [2, 3] is_negative_input: true } }
layer { name: "b" type: "BatchNorm" bottom: "c" top: "b" batch_norm_param { engine: MKLDNN } }
layer { name: "p" type: "Pooling" bottom: "b" top: "p" pooling_param { kernel_size: 2 engine: MKLDNN } }
layer { name: "k" type: "Concat" bottom: "p" bottom: "p" top: "k" concat_param { engine: MKLDNN } }
layer { name: "e" type: "Eltwise" bottom: "k" bottom: "k" top: "e" eltwise_param { engine: MKLDNN } }
"""
NAMES = [
    *("default_forward_type", "default_backward_type", "default_forward_math", "default_backward_math"),
    *("global_grad_scale", "global_grad_scale_adaptive", "eltwise_mem_sharing", "NetParameter.engine"),
    *("LayerParameter.engine", "forward_type", "force_mult", "MKL2017", "MKLDNN"),
    *("ConcatParameter.engine", "EltwiseParameter.engine"),
    *("conv_algorithm", "quantization_param", "Intel Caffe", "NVIDIA Caffe", "wenwei202/caffe"),
]


def written(tmp_path, text, name="net.prototxt"):
    (tmp_path / name).write_text(text)
    return tmp_path / name


def test_one_warning_and_the_same_net(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "sdcaffe"):
        net = proto.read_net(written(tmp_path, WITH))
    (warning,) = [record.getMessage() for record in caplog.records]
    assert [name for name in NAMES if name not in warning] == []
    given, x = sdcaffe.Net(net), np.random.RandomState(1).randn(2, 3, 6, 6)
    plain = sdcaffe.Net(proto.read_net(written(tmp_path, PLAIN, "plain.prototxt")))
    for blobs, others in zip(given.params.values(), plain.params.values(), strict=True):
        for blob, other in zip(blobs, others, strict=True):
            other.data.copy_(blob.data)
    assert np.array_equal(given({"x": x})["e"].detach(), plain({"x": x})["e"].detach())


def test_they_are_written_back(tmp_path, capsys):
    file = written(tmp_path, WITH)
    assert main(["upgrade", str(file), str(tmp_path / "new.prototxt")]) == 0
    new = (tmp_path / "new.prototxt").read_text()
    for line in ("engine: MKL2017", "scale_out: 3", "force_mult: 0.5", "default_forward_type: FLOAT16"):
        assert f"{line}\n" in new
    sdcaffe.Net(proto.read_net(file)).save(tmp_path / "w.caffemodel")
    stored = proto.read_binary(tmp_path / "w.caffemodel", proto.NetParameter)
    (conv,) = [layer for layer in stored.layer if layer.name == "c"]
    assert conv.quantization_param.scale_out == [2, 3]
    assert (conv.forward_type, conv.engine, conv.param[0].force_mult) == (2, "MKLDNN:CPU", 0.5)


def test_the_solvers_force_decay_is_refused(tmp_path, capsys):
    """Without it a force_mult does nothing; with it the training would be another."""
    solver = written(tmp_path, 'net: "net.prototxt" force_decay: 0.1', "solver.prototxt")
    assert main(["train", str(solver)]) == 1
    assert 'no field "force_decay"' in capsys.readouterr().err


def test_data_and_accuracy(tmp_path, caplog):
    text = """
    layer { name: "d" type: "Data" top: "d" data_param { source: "s" threads: 2 parser_threads: 3 cache: true
      precache: true } transform_param { use_gpu_transform: true } }
    layer { name: "i" type: "ImageData" top: "i" image_data_param { source: "s" threads: 2 cache: true
      precache: true } }
    layer { name: "a" type: "Accuracy" bottom: "i" bottom: "l" top: "a" accuracy_param { use_log: true } }"""
    with caplog.at_level(logging.WARNING, "sdcaffe"):
        net = proto.read_net(written(tmp_path, text))
    (warning,) = [record.getMessage() for record in caplog.records]
    for name in ("threads", "parser_threads", "cache", "precache", "use_gpu_transform", "use_log"):
        assert f".{name}" in warning
    assert (net.layer[0].data_param.cache, net.layer[1].image_data_param.cache) == (True, True)
