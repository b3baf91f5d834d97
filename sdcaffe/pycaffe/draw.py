"""caffe.draw: a NetParameter as a picture. The diagram is sdcaffe.tools'; formats but SVG and DOT are graphviz's."""

from __future__ import annotations

import os
import shutil
import subprocess

from sdcaffe import proto
from sdcaffe.errors import GraphError, SdcaffeError
from sdcaffe.layers.base import Layer, registered
from sdcaffe.pycaffe.errors import BothRules
from sdcaffe.pycaffe.proto import caffe_pb2
from sdcaffe.tools.diagram import diagram, to_dot
from sdcaffe.tools.svg import to_svg

LAYER_STYLE_DEFAULT = {"shape": "record", "fillcolor": "#6495ED", "style": "filled"}
NEURON_LAYER_STYLE = {"shape": "record", "fillcolor": "#90EE90", "style": "filled"}
BLOB_STYLE = {"shape": "octagon", "fillcolor": "#E0E0E0", "style": "filled"}

_DOT = ("dot", "gv", "raw")
_COLORS = {"convolution": "#FF5050", "pooling": "#FF9900", "product": "#CC33FF"}  # of Layer.drawn_as
_LEARNED = ("convolution", "product")


class Graph:
    """A net's diagram that can be had as text and in the formats of graphviz."""

    def __init__(
        self, net: proto.NetParameter, rankdir: str, label_edges: bool, phase: int | None, display_lrm: bool
    ) -> None:
        try:
            self._diagram = diagram(proto.copied(net), phase, lr_mult=display_lrm)
        except GraphError as error:
            raise BothRules(error.message, layer=error.layer, field=error.field) from None
        self._rankdir = rankdir
        self._label_edges = label_edges

    def to_string(self) -> str:
        """DOT text."""
        return to_dot(self._diagram, self._rankdir, label_edges=self._label_edges)

    def create(self, format: str = "png") -> bytes:
        """The picture: SVG and DOT by ourselves, anything else by graphviz. Raises SdcaffeError without it."""
        if format in _DOT:
            return self.to_string().encode()
        if format == "svg":
            return to_svg(self._diagram, self._rankdir, label_edges=self._label_edges).encode()
        program = shutil.which("dot")
        if program is None:
            raise SdcaffeError(
                f"{format} is drawn by graphviz's program dot, which is not installed; svg needs nothing"
            )
        done = subprocess.run([program, f"-T{format}"], input=self.to_string().encode(), capture_output=True)
        if done.returncode:
            raise SdcaffeError(f"dot cannot draw {format}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout


def get_pydot_graph(
    caffe_net: proto.NetParameter,
    rankdir: str,
    label_edges: bool = True,
    phase: int | None = None,
    display_lrm: bool = False,
) -> Graph:
    """The graph of a NetParameter, of one phase or of both; `display_lrm` shows learning rate multipliers.

    Raises BothRules, a ValueError, for a layer with include and exclude rules.
    """
    return Graph(caffe_net, rankdir, label_edges, phase, display_lrm)


def draw_net(
    caffe_net: proto.NetParameter, rankdir: str, ext: str = "png", phase: int | None = None, display_lrm: bool = False
) -> bytes:
    """The picture of a NetParameter in the format `ext`."""
    return get_pydot_graph(caffe_net, rankdir, phase=phase, display_lrm=display_lrm).create(format=ext)


def draw_net_to_file(
    caffe_net: proto.NetParameter,
    filename: str | os.PathLike[str],
    rankdir: str = "LR",
    phase: int | None = None,
    display_lrm: bool = False,
) -> None:
    """Write the picture of a NetParameter; the file's ending says in which format."""
    ext = os.path.splitext(filename)[1].removeprefix(".")
    picture = draw_net(caffe_net, rankdir, ext, phase, display_lrm)
    with proto.atomic_write(filename) as file:
        file.write(picture)


# ---- What scripts that draw with graphviz themselves take from Caffe's module ----


def get_pooling_types_dict() -> dict[int, str]:
    """The number of each pooling method -> its name."""
    return {
        value.number: value.name
        for value in caffe_pb2.PoolingParameter.DESCRIPTOR.enum_types_by_name["PoolMethod"].values
    }


def get_edge_label(layer: proto.LayerParameter) -> str:
    """What an edge from a layer says: a batch size, a number of outputs, or nothing, in quotes."""
    cls = _class(layer.type)
    if cls.field == "data_param":
        return f"Batch {layer.data_param.batch_size}"
    param = getattr(layer, cls.field) if cls.field and cls.drawn_as in _LEARNED else None
    return str(getattr(param, "num_output", '""'))


def get_layer_lr_mult(layer: proto.LayerParameter) -> tuple[float, float]:
    """The learning rate multipliers of weights and bias. Raises ValueError for a type without, or three of them."""
    if _class(layer.type).drawn_as not in _LEARNED:
        raise ValueError(f"{layer.type} layers do not have a learning rate multiplier")
    if len(layer.param) > 2:
        raise ValueError(f'layer "{layer.name}" has {len(layer.param)} learning rate multipliers, not two')
    weights, bias = [*(spec.lr_mult for spec in layer.param), 1.0, 1.0][:2]
    return weights, bias


def get_layer_label(layer: proto.LayerParameter, rankdir: str, display_lrm: bool = False) -> str:
    """What a node says of its layer, in quotes: name, type, geometry, and learning rate multipliers if asked."""
    parts, what, cls = [layer.name], layer.type, _class(layer.type)
    pools = cls.field == "pooling_param"
    if pools:
        what += f" {get_pooling_types_dict()[layer.pooling_param.pool]}"
    parts.append(f"({what})")
    separator = " " if rankdir in ("TB", "BT") else r"\n"
    if pools or (cls.field == "convolution_param" and cls.drawn_as == "convolution"):
        param = layer.pooling_param if pools else layer.convolution_param
        for name, field, usual in (("kernel size", "kernel_size", 1), ("stride", "stride", 1), ("pad", "pad", 0)):
            value = getattr(param, field)
            parts.append(f"{name}: {value if pools else [*value, usual][0]}")
    if display_lrm and cls.drawn_as in _LEARNED and any(get_layer_lr_mult(layer)):
        parts.append("lr mult: {:.1f}, {:.1f}".format(*get_layer_lr_mult(layer)))
    return f'"{separator.join(parts)}"'


def choose_color_by_layertype(layertype: str) -> str:
    """The colour of a node."""
    return _COLORS.get(_class(layertype).drawn_as, LAYER_STYLE_DEFAULT["fillcolor"])


def _class(layertype: str) -> type[Layer]:
    """The class of a type; of one that nobody here knows, any layer's."""
    return registered().get(layertype, Layer)
