"""A diagram as the bytes of a picture: SVG and DOT are made here, other kinds by graphviz where it is installed."""

from __future__ import annotations

import shutil
import subprocess

from sdcaffe.errors import SdcaffeError
from sdcaffe.tools.diagram import Diagram, to_dot
from sdcaffe.tools.svg import to_svg

_TEXT = ("dot", "gv", "raw")
_GRAPHVIZ = ("png", "pdf", "jpg", "ps", "eps", "gif")
ENDINGS = ("svg", *_TEXT, *_GRAPHVIZ)


def draw(found: Diagram, ending: str, rankdir: str = "TB", *, label_edges: bool = True) -> bytes:
    """The picture as a file that ends in `ending`, one of ENDINGS; `rankdir` is TB, BT, LR or RL.

    Raises SdcaffeError where graphviz is needed and not installed, or fails.
    """
    if ending == "svg":
        return to_svg(found, rankdir, label_edges=label_edges).encode()
    text = to_dot(found, rankdir, label_edges=label_edges).encode()
    if ending in _TEXT:
        return text
    program = shutil.which("dot")
    if program is None:
        raise SdcaffeError(f"a .{ending} is drawn by graphviz, whose program dot is not installed; .svg needs none")
    done = subprocess.run([program, f"-T{ending}"], input=text, capture_output=True)
    if done.returncode:
        raise SdcaffeError(f"graphviz's dot failed: {' '.join(done.stderr.decode(errors='replace').split())}")
    return done.stdout
