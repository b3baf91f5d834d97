"""What scripts take from caffe.draw to draw with graphviz themselves: labels and colours as Caffe has them."""

from __future__ import annotations

import pytest

from sdcaffe import proto
from sdcaffe.layers.base import register
from sdcaffe.layers.inner_product import InnerProduct
from sdcaffe.pycaffe import draw


@register("ProductForDraw", field="inner_product_param")
class ProductForDraw(InnerProduct):
    """A plugin's product."""


def layer(body):
    net = proto.NetParameter()
    proto.text.parse(f"layer {{ {body} }}", net, "net.prototxt")
    return net.layer[0]


CONV = 'name: "c" type: "Convolution" convolution_param { num_output: 8 kernel_size: 3 stride: 2 }'
POOL = 'name: "p" type: "Pooling" pooling_param { pool: AVE kernel_size: 5 pad: 1 }'
PRODUCT = (
    'name: "ip" type: "InnerProduct" inner_product_param { num_output: 10 } param { lr_mult: 1 } param { lr_mult: 2 }'
)
UNKNOWN = 'name: "u" type: "Unheard"'
PLUGINS = 'name: "m" type: "ProductForDraw" inner_product_param { num_output: 6 }'
RELU = 'name: "r" type: "ReLU"'


@pytest.mark.parametrize(
    ("body", "rankdir", "label", "edge", "color"),
    [
        (CONV, "LR", r'"c\n(Convolution)\nkernel size: 3\nstride: 2\npad: 0\nlr mult: 1.0, 1.0"', "8", "#FF5050"),
        (POOL, "TB", '"p (Pooling AVE) kernel size: 5 stride: 1 pad: 1"', '""', "#FF9900"),
        (PRODUCT, "BT", '"ip (InnerProduct) lr mult: 1.0, 2.0"', "10", "#CC33FF"),
        (  # Caffe's colour of a Deconvolution is a Convolution's
            CONV.replace("Convolution", "Deconvolution"),
            "TB",
            '"c (Deconvolution) kernel size: 3 stride: 2 pad: 0 lr mult: 1.0, 1.0"',
            "8",
            "#FF5050",
        ),
        (UNKNOWN, "LR", r'"u\n(Unheard)"', '""', "#6495ED"),
        (PLUGINS, "TB", '"m (ProductForDraw) lr mult: 1.0, 1.0"', "6", "#CC33FF"),
        ('name: "i" type: "Im2col" convolution_param { kernel_size: 3 }', "TB", '"i (Im2col)"', '""', "#6495ED"),
        (RELU, "LR", r'"r\n(ReLU)"', '""', "#6495ED"),
        ('name: "d" type: "Data" data_param { batch_size: 64 }', "TB", '"d (Data)"', "Batch 64", "#6495ED"),
    ],
)
def test_labels_and_colours(body, rankdir, label, edge, color):
    found = layer(body)
    assert draw.get_layer_label(found, rankdir, display_lrm=True) == label
    assert draw.get_edge_label(found) == edge
    assert draw.choose_color_by_layertype(found.type) == color


def test_pooling_types_and_multipliers():
    names = draw.get_pooling_types_dict()  # forks add more
    assert [names[i] for i in range(3)] == ["MAX", "AVE", "STOCHASTIC"]
    assert draw.get_layer_lr_mult(layer(CONV)) == (1.0, 1.0)
    assert draw.get_layer_lr_mult(layer(f"{CONV} param {{ lr_mult: 0 }}")) == (0.0, 1.0)
    assert draw.get_layer_lr_mult(layer(PRODUCT)) == (1.0, 2.0)
    with pytest.raises(ValueError, match="ReLU layers do not have a learning rate multiplier"):
        draw.get_layer_lr_mult(layer(RELU))
    with pytest.raises(ValueError, match="3 learning rate multipliers"):
        draw.get_layer_lr_mult(layer(CONV + "param { }" * 3))


def test_a_layer_with_both_rules_is_a_value_error():
    net = proto.NetParameter()
    net.layer.add().CopyFrom(layer(f"{RELU} include {{ phase: TEST }} exclude {{ phase: TRAIN }}"))
    with pytest.raises(ValueError, match="include rules and exclude rules"):
        draw.get_pydot_graph(net, "LR", phase=proto.TEST)
