"""Draws a diagram as SVG text, with a layout of its own; needs no graphviz."""

from __future__ import annotations

import itertools
from xml.sax import saxutils

from sdcaffe import terminal
from sdcaffe.tools.diagram import COLORS, Diagram, Node
from sdcaffe.tools.layout import Point, arrange

_SIZE = 12  # of the text
_LINE = 16.0  # from one line of a node to the next
_PAD = 8.0  # around a node's text
_MARGIN = 16.0
_PORT = 26.0  # the least between two edges that leave a node
_NARROW, _WIDE = set("ijlft.,:;'|!()[]{}/ -I"), set("mwMW")

_STYLE = f"""text {{ font: {_SIZE}px Helvetica, Arial, sans-serif; fill: #1b1b1b; text-anchor: middle }}
.name {{ font-weight: bold }}
.blob {{ font-size: {_SIZE - 2}px; fill: #555; text-anchor: start }}
.blob {{ paint-order: stroke; stroke: white; stroke-width: 3px }}
rect {{ stroke: #6b6b6b; rx: 4px }}
path {{ fill: none; stroke: #6b6b6b; stroke-width: 1.2 }}"""


def escape(text: str) -> str:
    """Text as XML has it, which has no control characters."""
    return saxutils.escape(terminal.shown(text))


def to_svg(found: Diagram, rankdir: str = "TB", *, label_edges: bool = True) -> str:
    """An SVG document. `rankdir` says where edges point: TB down, BT up, LR right, RL left."""
    sideways = rankdir in ("LR", "RL")
    shown = [edge.label if label_edges else "" for edge in found.edges]
    rooms = [_LINE if sideways else max(_PORT, _width(label, _SIZE - 2) + 10) for label in shown]
    sizes = [_size(node) for node in found.nodes]
    if not sideways:
        sizes = [(max(w, _leaving(i, found, rooms)), h) for i, (w, h) in enumerate(sizes)]
    gap = 44.0 if any(shown) else 30.0
    if sideways:
        gap = max(gap, max((_width(label, _SIZE - 2) for label in shown), default=0.0) + 16)
    placed = [(h, w) for w, h in sizes] if sideways else sizes
    layout = arrange(placed, [(edge.source, edge.target) for edge in found.edges], rooms, down=gap)
    total = (layout.height, layout.width) if sideways else (layout.width, layout.height)

    def turned(point: Point) -> Point:
        x, y = (point[1], point[0]) if sideways else point
        return (
            _MARGIN + (total[0] - x if rankdir == "RL" else x),
            _MARGIN + (total[1] - y if rankdir == "BT" else y),
        )

    width, height = (side + 2 * _MARGIN for side in total)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.1f} {height:.1f}">',
        f"<title>{escape(found.name or 'Net')}</title>",
        f"<style>{_STYLE}</style>",
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<polygon points="0,0.5 8,4 0,7.5" fill="#6b6b6b"/></marker></defs>',
        '<rect width="100%" height="100%" style="fill: white; stroke: none"/>',
    ]
    for label, path in zip(shown, layout.paths, strict=True):
        points = [turned(point) for point in path]
        parts.append(f'<path d="{_curve(points, sideways)}" marker-end="url(#arrow)"/>')
        if label:
            parts.append(_blob(label, points[0], rankdir))
    for node, centre, size in zip(found.nodes, layout.centres, sizes, strict=True):
        parts += _box(node, turned(centre), size)
    return "\n".join([*parts, "</svg>", ""])


def _box(node: Node, centre: Point, size: Point) -> list[str]:
    (x, y), (width, height) = centre, size
    corner = f'x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width:.1f}" height="{height:.1f}"'
    parts = [f"<g><title>{escape(', '.join(node.layers))}</title>", f'<rect {corner} fill="{COLORS[node.kind]}"/>']
    first = y - height / 2 + _PAD + _SIZE
    for i, line in enumerate(node.lines):
        style = ' class="name"' if i == 0 else ""
        parts.append(f'<text x="{x:.1f}" y="{first + i * _LINE:.1f}"{style}>{escape(line)}</text>')
    return [*parts, "</g>"]


def _curve(points: list[Point], sideways: bool) -> str:
    """Through all points, leaving and reaching each along the direction of the drawing."""
    text = f"M{points[0][0]:.1f},{points[0][1]:.1f}"
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if (y0 == y1) if sideways else (x0 == x1):
            text += f" L{x1:.1f},{y1:.1f}"
        elif sideways:
            middle = (x0 + x1) / 2
            text += f" C{middle:.1f},{y0:.1f} {middle:.1f},{y1:.1f} {x1:.1f},{y1:.1f}"
        else:
            middle = (y0 + y1) / 2
            text += f" C{x0:.1f},{middle:.1f} {x1:.1f},{middle:.1f} {x1:.1f},{y1:.1f}"
    return text


def _blob(label: str, start: Point, rankdir: str) -> str:
    dx, dy = {"TB": (4, 12), "BT": (4, -5), "LR": (6, -4), "RL": (-6 - _width(label, _SIZE - 2), -4)}[rankdir]
    return f'<text class="blob" x="{start[0] + dx:.1f}" y="{start[1] + dy:.1f}">{escape(label)}</text>'


def _leaving(index: int, found: Diagram, rooms: list[float]) -> float:
    """How wide the edges that leave a node want it, where there are several."""
    own = [room for edge, room in zip(found.edges, rooms, strict=True) if edge.source == index]
    return sum(own) if len(own) > 1 else 0.0


def _size(node: Node) -> Point:
    widths = [_width(line, _SIZE) * (1.08 if i == 0 else 1.0) for i, line in enumerate(node.lines)]
    return max(widths) + 2 * _PAD, len(node.lines) * _LINE + 2 * _PAD - (_LINE - _SIZE)


def _width(text: str, size: float) -> float:
    """About how wide the widest of the usual fonts is: DejaVu Sans, where neither Helvetica nor Arial is there."""
    return size * sum(0.36 if c in _NARROW else 0.9 if c in _WIDE else 0.68 if c.isupper() else 0.62 for c in text)
