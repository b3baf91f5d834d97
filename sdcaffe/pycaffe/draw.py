"""caffe.draw: a NetParameter as a picture. The diagram is sdcaffe.tools'; formats but SVG and DOT are graphviz's."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Any

from sdcaffe import proto
from sdcaffe.errors import SdcaffeError
from sdcaffe.tools.diagram import diagram, to_dot
from sdcaffe.tools.svg import to_svg

_DOT = ("dot", "gv", "raw")


class Graph:
    """A net's diagram that can be had as text and in the formats of graphviz."""

    def __init__(self, net: Any, rankdir: str, label_edges: bool, phase: int | None, display_lrm: bool) -> None:
        self._diagram = diagram(proto.schema.current(net), phase, lr_mult=display_lrm)
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
    caffe_net: Any, rankdir: str, label_edges: bool = True, phase: int | None = None, display_lrm: bool = False
) -> Graph:
    """The graph of a NetParameter, of one phase or of both; `display_lrm` shows learning rate multipliers."""
    return Graph(caffe_net, rankdir, label_edges, phase, display_lrm)


def draw_net(
    caffe_net: Any, rankdir: str, ext: str = "png", phase: int | None = None, display_lrm: bool = False
) -> bytes:
    """The picture of a NetParameter in the format `ext`."""
    return get_pydot_graph(caffe_net, rankdir, phase=phase, display_lrm=display_lrm).create(format=ext)


def draw_net_to_file(
    caffe_net: Any,
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
