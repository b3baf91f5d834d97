"""caffe.coord_map: the offsets that published nets have, and maps that follow from the arithmetic of layers."""

from __future__ import annotations

import numpy as np
import pytest

from sdcaffe.errors import GraphError
from sdcaffe.layers.base import Layer, register
from sdcaffe.layers.places import Places
from sdcaffe.pycaffe import NetSpec, coord_map
from sdcaffe.pycaffe import layers as L
from sdcaffe.pycaffe.coord_map import coord_map_from_to, crop


def image():
    return L.Input(input_param={"shape": {"dim": [1, 3, 500, 500]}})


def up(bottom, kernel_size, stride):
    return L.Deconvolution(bottom, convolution_param={"num_output": 21, "kernel_size": kernel_size, "stride": stride})


def vgg16(data):
    """Pools 3 and 4 and the scores of the fully convolutional VGG-16: its first pad is 100."""
    pools, top, pad = [], data, 100
    for count in (2, 2, 3, 3, 3):
        for _ in range(count):
            top = L.ReLU(L.Convolution(top, num_output=4, kernel_size=3, pad=pad), in_place=True)
            pad = 1
        top = L.Pooling(top, pool=0, kernel_size=2, stride=2)
        pools.append(top)
    fc6 = L.Dropout(L.Convolution(top, num_output=4, kernel_size=7), in_place=True)
    return pools[2], pools[3], L.Convolution(fc6, num_output=21, kernel_size=1)


def test_the_offsets_of_fully_convolutional_nets_are_the_published_ones():
    """FCN-32s, 16s and 8s (Long, Shelhamer and Darrell, 2015): 19; 5 and 27; 5, 9 and 31."""
    data = image()
    pool3, pool4, score = vgg16(data)
    offsets = []

    def cropped(top_from, top_to):
        top = crop(top_from, top_to)
        assert top.fn.params["crop_param"]["axis"] == 2
        offsets.extend(top.fn.params["crop_param"]["offset"])
        return top

    cropped(up(score, 64, 32), data)
    up2 = up(score, 4, 2)
    fused4 = L.Eltwise(up2, cropped(L.Convolution(pool4, num_output=21, kernel_size=1), up2))
    cropped(up(fused4, 32, 16), data)
    up4 = up(fused4, 4, 2)
    fused3 = L.Eltwise(up4, cropped(L.Convolution(pool3, num_output=21, kernel_size=1), up4))
    cropped(up(fused3, 16, 8), data)
    assert offsets == [19, 5, 27, 9, 31]


def test_a_crop_is_a_layer_of_the_net():
    n = NetSpec()
    n.data = image()
    n.conv = L.Convolution(n.data, num_output=4, kernel_size=3, pad=4)
    n.crop = crop(n.conv, n.data)
    layer = n.to_proto().layer[2]
    assert (layer.type, list(layer.bottom), layer.crop_param.axis) == ("Crop", ["conv", "data"], 2)
    assert list(layer.crop_param.offset) == [3]


def test_a_place_moves_by_stride_pad_kernel_dilation_and_offset():
    """Output i of a convolution is centred on stride i - pad + dilation (kernel - 1) / 2."""
    data = image()
    conv = L.Convolution(data, num_output=4, kernel_size=[3, 5], stride=2, pad=[1, 0], dilation=2)
    axis, a, b = coord_map_from_to(conv, data)
    assert (axis, a.tolist(), b.tolist()) == (1, [2], [1, 4])
    axis, a, b = coord_map_from_to(data, conv)
    assert (axis, a.tolist(), b.tolist()) == (1, [0.5], [-0.5, -2])
    pool = L.Pooling(data, pooling_param={"kernel_h": 3, "kernel_w": 2, "stride": 3, "pad_w": 1})
    assert [values.tolist() for values in coord_map_from_to(pool, data)[1:]] == [[3], [1, -0.5]]
    cut = L.Crop(data, conv, offset=[3, 4])
    assert [values.tolist() for values in coord_map_from_to(cut, data)[1:]] == [[1], [3, 4]]


def test_a_map_agrees_with_where_a_lone_number_of_an_input_goes(tmp_path):
    """The middle of what one input pixel reaches, through a net with random weights, is where the map puts it."""
    from pycaffe_nets import net_of

    n = NetSpec()
    n.data = L.Input(input_param={"shape": {"dim": [1, 1, 41, 41]}})
    fill = {"type": "uniform", "min": 1, "max": 2}
    n.conv = L.Convolution(n.data, num_output=1, kernel_size=5, stride=3, pad=2, weight_filler=fill)
    n.pool = L.Pooling(n.conv, pool=1, kernel_size=3, stride=1, pad=1)
    n.up = L.Deconvolution(n.pool, convolution_param={"num_output": 1, "kernel_size": 7, "weight_filler": fill})
    net = net_of(tmp_path, str(n.to_proto()))
    net.blobs["data"].data[0, 0, 18, 21] = 1
    net.forward()
    rows, columns = np.nonzero(net.blobs["up"].data[0, 0])
    middle = np.array([rows.min() + rows.max(), columns.min() + columns.max()]) / 2
    _, a, b = coord_map_from_to(n.up, n.data)
    assert (a * middle + b).tolist() == [18, 21]


def test_layers_of_many_ways_are_walked_once():
    top = data = image()
    for _ in range(60):
        top = L.Eltwise(top, L.ReLU(top))
    assert coord_map_from_to(top, data)[0] is None
    assert crop(top, data).fn.params["crop_param"] == {"axis": 2, "offset": [0]}


def conv(bottom, **fields):
    return L.Convolution(bottom, num_output=1, **fields)


@pytest.mark.parametrize(
    ("made", "kind", "message"),  # kinds of BVLC Caffe 1.0
    [
        (lambda data: conv(data, kernel_size=3, stride=2), AssertionError, "is 2 pixels of the other"),
        (lambda data: conv(data, kernel_size=2, pad=2), AssertionError, r"offset 1\.5 is no whole number of pixels"),
        (lambda data: conv(data, kernel_size=3), AssertionError, "offset -1 is negative; give the first"),
        (lambda data: conv(data, kernel_size=2), AssertionError, r"offset -0\.5 is negative"),
        (lambda data: L.InnerProduct(data, num_output=3), RuntimeError, "InnerProduct and a Input layer come from no"),
        (lambda data: L.Pooling(data, global_pooling=True), RuntimeError, "come from no common blob by layers"),
        (lambda data: L.ReLU(image()), RuntimeError, "come from no common blob"),
        (
            lambda data: conv(conv(data, kernel_size=1, axis=2), kernel_size=1),
            coord_map.AxisMismatchException,
            "after axis 1 and after 2",
        ),
    ],
)
def test_blobs_that_cannot_be_laid_over_each_other(made, kind, message):
    data = image()
    with pytest.raises(kind, match=message) as caught:
        crop(made(data), data)
    assert isinstance(caught.value, GraphError)


def test_the_public_maps_are_caffes():
    data = image()
    to_top = coord_map.coord_map(L.Convolution(data, num_output=1, kernel_size=3).fn)
    assert [float(np.ravel(value)[0]) for value in to_top] == [1, 1, -1]
    assert coord_map.coord_map(L.ReLU(data).fn) == (None, 1, 0)
    axis, scale, shift = coord_map.coord_map(
        L.Deconvolution(data, convolution_param={"kernel_size": 4, "stride": 2}).fn
    )
    assert (axis, scale.tolist(), shift.tolist()) == (1, [2], [1.5])
    axis, scale, shift = coord_map_from_to(L.Im2col(data, convolution_param={"kernel_size": 5, "stride": 2}), data)
    assert (axis, scale.tolist(), shift.tolist()) == (1, [2], [2])
    assert coord_map.compose((1, 2.0, 3.0), (None, 4.0, 5.0)) == (1, 8, 13)
    assert coord_map.compose((None, 2.0, 3.0), (2, 4.0, 5.0)) == (2, 8, 13)
    assert coord_map.inverse((1, 2.0, 3.0)) == (1, 0.5, -1.5)
    caffes = "AbsVal BatchNorm Bias BNLL Dropout Eltwise ELU Log LRN Exp MVN Power ReLU PReLU Scale Sigmoid Split TanH"
    assert {*caffes.split(), "Threshold"} <= set(coord_map.PASS_THROUGH_LAYERS)
    assert not {"Concat", "Flatten", "InnerProduct", "Reshape", "Tile"} & set(coord_map.PASS_THROUGH_LAYERS)
    with pytest.raises(coord_map.AxisMismatchException):
        coord_map.compose((1, 2.0, 3.0), (2, 4.0, 5.0))
    for layer in (L.InnerProduct(data, num_output=1), L.Pooling(data, global_pooling=True)):
        with pytest.raises(coord_map.UndefinedMapException, match=layer.fn.type_name):
            coord_map.coord_map(layer.fn)


@register("SquareForCoordMap")
class SquareForCoordMap(Layer):
    """A plugin's elementwise layer: it says so."""

    keeps_places = True


@register("MirrorForCoordMap")
class MirrorForCoordMap(Layer):
    """A plugin's layer that moves numbers to other places."""


def test_a_plugins_elementwise_layer_leaves_places_as_they_are(monkeypatch):
    data = image()
    conv = L.Convolution(data, num_output=4, kernel_size=3, pad=4)
    assert crop(L.SquareForCoordMap(conv), data).fn.params["crop_param"]["offset"] == [3]
    with pytest.raises(RuntimeError, match="MirrorForCoordMap and a Input layer come from no common blob"):
        crop(L.MirrorForCoordMap(conv), data)
    monkeypatch.setattr(coord_map, "PASS_THROUGH_LAYERS", [*coord_map.PASS_THROUGH_LAYERS, "MirrorForCoordMap"])
    assert crop(L.MirrorForCoordMap(conv), data).fn.params["crop_param"]["offset"] == [3]


@register("BorderForCoordMap")
class BorderForCoordMap(Layer):
    """A plugin's layer that takes two pixels off each side: pixel 2 of its bottom is pixel 0 of its top."""

    @classmethod
    def places(cls, layer_param):
        return Places(axis=1, shift=np.array([-2.0]))


def test_a_plugin_says_where_its_top_lies():
    data = image()
    conv = L.Convolution(data, num_output=4, kernel_size=3, pad=4)  # pixel 0 of the data is pixel 3 of this
    assert crop(L.BorderForCoordMap(conv), data).fn.params["crop_param"]["offset"] == [1]
