"""What a plugin's author gets wrong is one error that names the layer, the file and the line."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sdcaffe
from sdcaffe import proto
from sdcaffe.errors import LayerError, SdcaffeError
from sdcaffe.layers import registry

TEXT = """
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "mine" type: "Mistaken" bottom: "x" top: "y" }
"""


@pytest.fixture
def run(monkeypatch):
    """Make a net with a plugin of the given setup and forward, and run it once."""
    sdcaffe.discover()
    monkeypatch.setattr(registry, "_registry", dict(registry._registry))

    def run(forward=lambda self, x: x, setup=lambda self, shapes: shapes):
        cls = type("Mistaken", (sdcaffe.Layer,), {"setup": setup, "forward": forward, "__module__": "a_plugin"})
        sdcaffe.register("Mistaken")(cls)
        net = proto.NetParameter()
        proto.text.parse(TEXT, net, "net.prototxt")
        return sdcaffe.Net(net).forward({"x": torch.ones(2, 3)})

    return run


def returns(value):
    return lambda self, *_: value


def own_parameter(self, shapes):
    self.centers = torch.nn.Parameter(torch.zeros(3))
    return shapes


def boo(self, *_):
    raise ValueError("boo")


@pytest.mark.parametrize(
    ("forward", "says"),
    [
        (returns(None), "must return a tensor for each top, not NoneType"),
        (returns(np.zeros((2, 3))), "must return a tensor for each top, not ndarray"),
        (returns((torch.ones(2, 3), torch.ones(2, 3))), r"shapes \[\(2, 3\), \(2, 3\)\], but setup said \[\(2, 3\)\]"),
        (returns(torch.ones(3, 2)), r"shapes \[\(3, 2\)\], but setup said \[\(2, 3\)\]"),
        (boo, r"ValueError: boo \(.*test_plugin_mistakes.py:\d+\)"),
    ],
)
def test_a_wrong_forward(run, forward, says):
    with pytest.raises(LayerError, match=rf'layer "mine" \(Mistaken\): .*{says}'):
        run(forward)


@pytest.mark.parametrize(
    ("setup", "says"),
    [
        (returns(None), "TypeError"),
        (returns([]), "setup gave 0 top shapes for 1 tops"),
        (boo, r"ValueError: boo"),
        (own_parameter, "centers would be neither trained nor saved: make them in setup with self.blob"),
    ],
)
def test_a_wrong_setup(run, setup, says):
    with pytest.raises(LayerError, match=rf'layer "mine" \(Mistaken\): .*{says}'):
        run(setup=setup)


WRONG_WAYS = """import torch
from sdcaffe import Layer, register
@register("WrongWays")
class WrongWays(Layer):
    def setup(self, shapes):
        return shapes
    def forward(self, x):
        return x
    def to_onnx(self, builder, x):
        return torch.zeros(2, 5) @ x
    def to_source(self, builder, *shapes):
        return {}["nothing"]
"""


def test_a_wrong_way_to_be_written_names_the_line_of_the_plugin(monkeypatch, tmp_path):
    from sdcaffe.converters import module_source, onnx_export

    sdcaffe.discover()
    monkeypatch.setattr(registry, "_registry", dict(registry._registry))
    (tmp_path / "wrong_ways.py").write_text(WRONG_WAYS)
    sdcaffe.discover([str(tmp_path / "wrong_ways.py")])
    model, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    model.write_text(TEXT.replace("Mistaken", "WrongWays"))
    sdcaffe.Net(model).save(weights)
    with pytest.raises(SdcaffeError, match=r'layer "mine" \(WrongWays: .*wrong_ways.py:10\)'):
        onnx_export.export(str(model), str(weights), str(tmp_path / "net.onnx"))
    with pytest.raises(LayerError, match=r"layer \"mine\" \(WrongWays\): KeyError: 'nothing' \(.*wrong_ways.py:12\)"):
        module_source.convert(model, tmp_path / "net.py")


def test_what_is_registered_must_be_a_layer():
    with pytest.raises(LayerError, match="is not a subclass"):
        sdcaffe.register("NoLayer")(object)
