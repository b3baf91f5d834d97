"""pycaffe's views of layers that share a name. Every value was given by BVLC Caffe 1.0 (commit 9b89154, CPU)."""

from __future__ import annotations

import numpy as np
import pytest
from pycaffe_nets import net_of

from sdcaffe import pycaffe as caffe
from sdcaffe.errors import WeightsError

TEXT = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "a" inner_product_param { num_output: 3
  weight_filler { type: "constant" value: 1 } bias_filler { type: "constant" value: 0.1 } } }
layer { name: "act" type: "ReLU" bottom: "a" top: "a" }
layer { name: "fc" type: "InnerProduct" bottom: "a" top: "b" inner_product_param { num_output: 3
  weight_filler { type: "constant" value: 2 } bias_filler { type: "constant" value: 0.2 } } }
layer { name: "act" type: "Sigmoid" bottom: "b" top: "c" }
"""
OTHER = TEXT.replace("value: 1 }", "value: 7 }").replace("value: 0.1", "value: 0.7")
OTHER = OTHER.replace("value: 2 }", "value: 8 }").replace("value: 0.2", "value: 0.8")


def firsts(net):
    return [round(float(blob.data.flat[0]), 6) for layer in net.layers for blob in layer.blobs]


def test_names_are_views_of_the_last_layer_of_a_name(tmp_path):
    net = net_of(tmp_path, TEXT, caffe.TEST)
    assert list(net._layer_names) == ["x", "fc", "act", "fc", "act"]
    assert [list(view) for view in (net.params, net.layer_dict, net.top_names)] == [["fc"], *[["x", "fc", "act"]] * 2]
    assert net.params["fc"][0].data[0, 0] == 2
    assert net.layer_dict["act"].type == "Sigmoid"
    assert (net.bottom_names["fc"], net.top_names["act"]) == (["a"], ["c"])
    assert firsts(net) == [1, 0.1, 2, 0.2]


def test_a_pass_starts_and_ends_at_the_first_layer_of_a_name(tmp_path):
    net = net_of(tmp_path, TEXT, caffe.TEST)
    net.blobs["x"].data[...] = 1
    out = net.forward(end="fc")
    assert {name: float(blob[0, 0]) for name, blob in out.items()} == {"b": 0.0}
    np.testing.assert_allclose(net.blobs["a"].data[0, 0], 3.1, rtol=1e-6)
    net.blobs["x"].data[...] = 2
    net.forward(start="fc")
    np.testing.assert_allclose([net.blobs[name].data[0, 0] for name in "ab"], [6.1, 36.8], rtol=1e-6)


def test_weights_go_to_the_first_layer_of_a_name(tmp_path):
    net, shares, copies = (net_of(tmp_path, text, caffe.TEST) for text in (TEXT, OTHER, OTHER))
    net.save(tmp_path / "two.caffemodel")
    copies.copy_from(tmp_path / "two.caffemodel")
    shares.share_with(net)
    assert firsts(copies) == firsts(shares) == [2, 0.2, 8, 0.8]
    net.layers[3].blobs[0].data[...] = 33
    assert firsts(shares) == [33, 0.2, 8, 0.8]
    with pytest.raises(WeightsError, match="HDF5 cannot hold 2 layers of one name"):
        net.save_hdf5(tmp_path / "two.h5")
