"""pycaffe's Net: file names, exceptions, and the blobs that scripts write into and reshape."""

from __future__ import annotations

import numpy as np
import pytest
from pycaffe_nets import PLAIN, input_layer, layer, net_of, product

from sdcaffe import pycaffe as caffe
from sdcaffe.errors import LayerError, SdcaffeError, WeightsError

CONSTANT = input_layer("a", 1, 2) + layer(
    "ip", "InnerProduct", "a", "ip", 'inner_product_param { num_output: 2 weight_filler { type: "constant" value: 3 } }'
)
COMMA = "first, second"


@pytest.fixture
def commas(tmp_path):
    """The same weights, of value 3, in a plain file and in files and a folder with commas; and a net of zeros."""
    net = net_of(tmp_path, CONSTANT)
    (tmp_path / "one, two").mkdir()
    for name in ("plain.caffemodel", f"{COMMA}.caffemodel", "one, two/net.caffemodel"):
        net.save(str(tmp_path / name))
    net.save_hdf5(str(tmp_path / f"{COMMA}.h5"))
    (tmp_path / "net.prototxt").write_text(CONSTANT.replace("value: 3", "value: 0"))
    return tmp_path


@pytest.mark.parametrize("name", [f"{COMMA}.caffemodel", f"{COMMA}.h5", "one, two/net.caffemodel"])
def test_a_comma_in_a_file_name(commas, name):
    proto, file = str(commas / "net.prototxt"), str(commas / name)
    plain = caffe.Net(proto, caffe.TEST)
    plain.copy_from(file)
    hdf5 = caffe.Net(proto, caffe.TEST)
    hdf5.load_hdf5(str(commas / f"{COMMA}.h5"))
    nets = [plain, hdf5, caffe.Net(proto, caffe.TEST, weights=file), caffe.Net(proto, file, caffe.TEST)]
    assert [float(net.params["ip"][0].data[0, 0]) for net in nets] == [3, 3, 3, 3]


def test_names_joined_by_a_comma_are_no_file(commas):
    both = f"{commas}/plain.caffemodel,{commas}/plain.caffemodel"
    with pytest.raises(WeightsError, match=r"plain\.caffemodel,"):
        caffe.Net(str(commas / "net.prototxt"), caffe.TEST).copy_from(both)
    with pytest.raises(WeightsError, match=r"plain\.caffemodel,"):
        caffe.Net(str(commas / "net.prototxt"), caffe.TEST, weights=both)


# ---------------------------------------------------------------- what scripts catch: exceptions of Caffe's kinds


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        (ValueError, lambda net: net.forward(start="nowhere")),
        (ValueError, lambda net: net.forward(end="nowhere")),
        (ValueError, lambda net: net.backward(start="nowhere")),
        (ValueError, lambda net: net.forward(data=np.zeros((2, 5)))),
        (KeyError, lambda net: net.forward(blobs=["nothing"])),
        (KeyError, lambda net: net.backward(diffs=["nothing"])),
        (RuntimeError, lambda net: net.set_input_arrays(np.zeros((2, 3), np.float32), np.zeros(2, np.float32))),
        (RuntimeError, lambda net: net.params["ip"].add_blob(1, wrong=2)),
        (RuntimeError, lambda net: caffe.Net("no.prototxt", caffe.TEST)),
        (RuntimeError, lambda net: caffe.Net("net.prototxt", "no.caffemodel", caffe.TEST)),
        (RuntimeError, lambda net: caffe.Net("net.prototxt", caffe.TEST, weights="no.caffemodel")),
    ],
)
def test_exceptions_are_of_caffes_kind_and_sdcaffes_too(tmp_path, monkeypatch, kind, call):
    net = net_of(tmp_path, PLAIN)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind) as caught:
        call(net)
    assert isinstance(caught.value, SdcaffeError)


def test_arrays_of_memory_data_are_the_scripts_own(tmp_path):
    """Caffe keeps pointers into them: what a script writes there afterwards is in the next batch."""
    body = "memory_data_param { batch_size: 2 channels: 1 height: 1 width: 2 }"
    net = net_of(tmp_path, layer("m", "MemoryData", "", "x y", body))
    data, labels = np.ones((2, 1, 1, 2), np.float32), np.zeros((2, 1, 1, 1), np.float32)
    net.set_input_arrays(data, labels)
    net.forward()
    data[...] = 7
    labels[...] = 3
    net.forward()
    assert (net.blobs["x"].data == 7).all()
    assert net.blobs["y"].data.tolist() == [3, 3]
    net.blobs["x"].data[...] = 0
    assert (data == 7).all()


# ---------------------------------------------------------------- DummyData, filled as Caffe fills it

THREE = """dummy_data_param { shape { dim: 2 dim: 3 } data_filler { type: "constant" value: 7 }
  data_filler { type: "gaussian" std: 1 } data_filler { type: "constant" value: -2 } }"""
DUMMY = layer("d", "DummyData", "", "a b c", THREE) + layer("p", "Power", "a", "q", "power_param { scale: 2 }")


def firsts(net, names):
    return [float(net.blobs[name].data.flat[0]) for name in names]


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
def test_constant_tops_are_filled_once_and_keep_what_is_written(tmp_path, phase):
    net = net_of(tmp_path, DUMMY, phase)
    assert firsts(net, "abcq") == [7, 0, -2, 0]  # of BVLC Caffe, as all below
    net.forward(start="p")
    assert firsts(net, "q") == [14]
    net.blobs["a"].data[...] = net.blobs["b"].data[...] = 5
    net.forward()
    assert firsts(net, "aqc") == [5, 10, -2]
    assert firsts(net, "b") != [5]
    for name in "ab":
        net.blobs[name].reshape(4, 3)
    net.blobs["a"].data[...] = 6
    net.blobs["b"].data[...] = 5
    net.forward()
    assert [net.blobs[name].shape for name in "abq"] == [(4, 3)] * 3
    assert firsts(net, "q") == [12]
    assert (net.blobs["b"].data != 5).all()
    net.reshape()
    assert net.blobs["a"].shape == (4, 3)


def test_constants_of_the_older_four_numbers_without_a_filler_and_of_a_solver(tmp_path):
    net = net_of(
        tmp_path, layer("d", "DummyData", "", "a", "dummy_data_param { num: 2 channels: 1 height: 1 width: 3 }")
    )
    assert net.blobs["a"].data.tolist() == [[[[0, 0, 0]]]] * 2
    loss = product("ip", "a", 3) + layer("l", "EuclideanLoss", "ip c", "l") + layer("s", "Silence", "b q")
    (tmp_path / "net.prototxt").write_text(DUMMY + loss)
    text = f'net: "{tmp_path}/net.prototxt" lr_policy: "fixed" base_lr: 0 test_iter: 1 test_interval: 100'
    (tmp_path / "s.prototxt").write_text(text)
    solver = caffe.get_solver(str(tmp_path / "s.prototxt"))
    for net in (solver.net, *solver.test_nets):
        assert firsts(net, "abc") == [7, 0, -2]
    solver.net.blobs["a"].data[...] = 3
    solver.step(2)
    assert firsts(solver.net, "aq") == [3, 6]


def test_in_place_on_a_constant_works_on_what_the_last_pass_left(tmp_path):
    """In Caffe, too: the constant is filled once, and the layer in place writes over it."""
    net = net_of(tmp_path, DUMMY + layer("i", "Power", "q", "q", "power_param { scale: 3 }"))
    net.forward()
    assert firsts(net, "q") == [42]
    once = net_of(
        tmp_path,
        layer("d", "DummyData", "", "a b c", THREE) + layer("i", "Power", "a", "a", "power_param { scale: 2 }"),
    )
    once.forward()
    once.forward()
    assert firsts(once, "a") == [28]


def test_a_filler_that_does_not_exist_is_told_when_the_net_is_made(tmp_path):
    with pytest.raises(LayerError, match='unknown filler type "gausian"'):
        net_of(tmp_path, DUMMY.replace("gaussian", "gausian"))


# ---------------------------------------------------------------- tops whose shapes hang on values


def test_reshape_reads_the_selector_of_a_filter(tmp_path):
    """As BVLC Caffe: all items when the net is made, then those that the selector picks, none at first."""
    text = input_layer("x", 4, 3) + input_layer("s", 4) + layer("f", "Filter", "x s", "y") + product("ip", "y", 2)
    net = net_of(tmp_path, text)

    def shapes():
        return [net.blobs[name].shape for name in ("y", "ip")]

    assert shapes() == [(4, 3), (4, 2)]
    net.reshape()
    assert shapes() == [(0, 3), (0, 2)]
    net.blobs["s"].data[...] = [0, 1, 1, 0]
    net.reshape()
    assert shapes() == [(2, 3), (2, 2)]
    net.forward()
    assert shapes() == [(2, 3), (2, 2)]
    net.blobs["s"].data[...] = [1, 1, 0, 1]
    net.reshape()
    assert shapes() == [(3, 3), (3, 2)]
    net.blobs["s"].data[...] = 0
    net.forward()
    assert shapes() == [(0, 3), (0, 2)]


def test_reshape_reads_the_detections_of_detection_evaluate(tmp_path):
    """SSD's layer has a row for each class and for each detection whose label is not -1."""
    text = input_layer("found", 1, 1, 4, 7) + input_layer("truth", 1, 1, 2, 8)
    body = "detection_evaluate_param { num_classes: 3 background_label_id: 0 }"
    net = net_of(tmp_path, text + layer("e", "DetectionEvaluate", "found truth", "rows", body), caffe.TEST)
    assert net.blobs["rows"].shape == (1, 1, 6, 5)
    net.blobs["found"].data[0, 0, :, 1] = [1, -1, 2, -1]
    net.reshape()
    assert net.blobs["rows"].shape == (1, 1, 4, 5)
