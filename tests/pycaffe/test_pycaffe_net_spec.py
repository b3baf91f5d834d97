"""Nets written in Python: what messages they become."""

from __future__ import annotations

import pytest

from sdcaffe import proto
from sdcaffe import pycaffe as caffe
from sdcaffe.errors import LayerError
from sdcaffe.pycaffe import layers as L
from sdcaffe.pycaffe import net_spec
from sdcaffe.pycaffe import params as P
from sdcaffe.pycaffe.proto import caffe_pb2


def parsed(text):
    net = proto.NetParameter()
    proto.text.parse(text, net, "expected.prototxt")
    return net


def lenet():
    n = caffe.NetSpec()
    n.data, n.label = L.Data(
        source="train_lmdb", backend=P.Data.LMDB, batch_size=64, ntop=2, transform_param=dict(scale=0.5)
    )
    n.conv1 = L.Convolution(
        n.data,
        kernel_size=5,
        num_output=20,
        weight_filler=dict(type="xavier"),
        param=[dict(lr_mult=1), dict(lr_mult=2, decay_mult=0)],
    )
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.ip1 = L.InnerProduct(n.pool1, num_output=500)
    n.relu1 = L.ReLU(n.ip1, in_place=True)
    n.loss = L.SoftmaxWithLoss(n.relu1, n.label, loss_weight=2)
    return n


LENET = """
layer { name: "data" type: "Data" top: "data" top: "label" transform_param { scale: 0.5 }
  data_param { source: "train_lmdb" batch_size: 64 backend: LMDB } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" param { lr_mult: 1 }
  param { lr_mult: 2 decay_mult: 0 }
  convolution_param { num_output: 20 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "ip1" type: "InnerProduct" bottom: "pool1" top: "ip1" inner_product_param { num_output: 500 } }
layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip1" bottom: "label" top: "loss" loss_weight: 2 }
"""


def test_a_net_spec_names_layers_after_their_blobs():
    assert lenet().to_proto() == parsed(LENET)


def test_its_text_is_a_prototxt():
    assert parsed(str(lenet().to_proto())) == parsed(LENET)


def test_to_proto_makes_up_names_and_takes_what_is_needed():
    data = L.DummyData(shape=[dict(dim=[2, 3])])
    one, two = L.InnerProduct(data, num_output=2), L.InnerProduct(data, num_output=3)
    L.ReLU(one)  # not asked for
    expected = """
    layer { name: "DummyData1" type: "DummyData" top: "DummyData1" dummy_data_param { shape { dim: 2 dim: 3 } } }
    layer { name: "InnerProduct1" type: "InnerProduct" bottom: "DummyData1" top: "InnerProduct1"
      inner_product_param { num_output: 2 } }
    layer { name: "InnerProduct2" type: "InnerProduct" bottom: "DummyData1" top: "InnerProduct2"
      inner_product_param { num_output: 3 } }
    """
    assert caffe.to_proto(one, two) == parsed(expected)
    assert one.to_proto() == parsed(expected.split('layer { name: "InnerProduct2"')[0])


def test_layers_between_named_blobs_and_without_tops():
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 2]))
    n["sig"] = L.Sigmoid(L.Power(n.data, power=2))
    n.quiet = L.Silence(n.sig, ntop=0)
    assert [(layer.name, list(layer.top)) for layer in n.to_proto().layer] == [
        ("data", ["data"]),
        ("Power1", ["Power1"]),
        ("sig", ["sig"]),
        ("quiet", []),
    ]


def test_a_net_spec_is_a_mapping_whose_layers_can_be_changed():
    n = lenet()
    assert n.keys() == ["data", "label", "conv1", "pool1", "ip1", "relu1", "loss"]
    assert n["conv1"] is n.conv1 is n.vals()[2]
    n.update("conv1", dict(num_output=7, loss_weight=0.5))
    layer = n.to_proto().layer[1]
    assert (layer.convolution_param.num_output, list(layer.loss_weight)) == (7, [0.5])
    del n["loss"]
    assert "loss" not in n
    with pytest.raises(AttributeError, match='no blob "loss"'):
        _ = n.loss


def test_one_value_of_a_repeated_field_messages_and_own_names():
    n = caffe.NetSpec()
    n.x = L.Python(
        module="m", layer="C", param_str="s", name="other", include=dict(phase=caffe.TEST), param=dict(name="w")
    )
    (layer,) = n.to_proto().layer
    assert (layer.name, layer.python_param.module, layer.param[0].name) == ("other", "m", "w")
    assert layer.include[0].phase == caffe.TEST


def test_a_layer_of_a_plugin_has_its_fields():
    n = caffe.NetSpec()
    n.a, n.b = L.Input(ntop=2, shape=dict(dim=[4, 5]))
    n.kl = L.KLLoss(n.a, n.b, temperature=3)
    assert n.to_proto().layer[1].kl_loss_param.temperature == 3


def test_a_deep_net_is_written_too():
    top = L.Input(shape=dict(dim=[1, 1]))
    for _ in range(3000):
        top = L.ReLU(top)
    assert top.to_proto().layer[-1].name == "ReLU3000"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: L.ReLU("data"), TypeError, r"^ReLU input 0 is not a Top \(type is <class 'str'>\)$"),
        (lambda: L.ReLU(nope=1).to_proto(), LayerError, 'LayerParameter has no field "nope"'),
        (lambda: L.Pooling(kernel_size="x").to_proto(), LayerError, "PoolingParameter: \"kernel_size\" cannot be 'x'"),
        (lambda: L.ReLU(nope=1).to_proto(), AttributeError, "nope"),
        (lambda: L.Pooling(kernel_size="x").to_proto(), TypeError, "PoolingParameter"),
        (lambda: L.Pooling(kernel_size=-1).to_proto(), ValueError, "PoolingParameter"),
        (lambda: L.Input(shape=dict(dims=[1])).to_proto(), AttributeError, 'BlobShape has no field "dims"'),
        (lambda: P.Pooling.MIN, AttributeError, "MIN"),
        (lambda: P.Nothing.MAX, AttributeError, "NothingParameter"),
    ],
)
def test_mistakes_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_names_of_caffes_module():
    layer = caffe_pb2.LayerParameter()
    net_spec.assign_proto(layer, "bottom", "a")
    net_spec.assign_proto(layer, "convolution_param", {"kernel_size": 3, "weight_filler": {"type": "msra"}})
    assert (list(layer.bottom), list(layer.convolution_param.kernel_size)) == (["a"], [3])
    assert layer.convolution_param.weight_filler.type == "msra"
    known = net_spec.param_name_dict()
    assert (known["InnerProduct"], known["SPP"], known["TanH"]) == ("inner_product", "spp", "tanh")
    assert net_spec.Layers().ReLU(ntop=2)[0].to_proto().layer[0].type == "ReLU"
    assert net_spec.Parameters().Pooling.AVE == P.Pooling.AVE == 1
    with pytest.raises(KeyError):  # as Caffe's, and an AttributeError, as Python's hasattr wants
        _ = caffe.NetSpec().nothing
    assert not hasattr(caffe.NetSpec(), "nothing")


def test_a_tuple_of_tops_is_no_blob():
    n = caffe.NetSpec()
    n.data = L.Input(ntop=2, shape=dict(dim=[1]))
    for error in (TypeError, AttributeError):  # Caffe's is the latter
        with pytest.raises(error, match=r'"data" is no Top but of .*tuple'):
            n.to_proto()


def test_a_net_can_be_written_and_run(tmp_path):
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[2, 3]))
    n.ip = L.InnerProduct(n.data, num_output=2, weight_filler=dict(type="constant", value=1))
    (tmp_path / "net.prototxt").write_text(str(n.to_proto()))
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    net.blobs["data"].data[...] = 1
    assert net.forward()["ip"].tolist() == [[3, 3], [3, 3]]
