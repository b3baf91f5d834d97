from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from sdcaffe.tools.layout import Layout, arrange

ACROSS, DOWN = 24.0, 30.0


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[tuple[float, float]], list[tuple[int, int]]]:
    """Sizes of some nodes, and edges from earlier to later ones, each pair once."""
    count = draw(st.integers(1, 12))
    sizes = draw(st.lists(st.tuples(st.floats(5, 200), st.floats(5, 80)), min_size=count, max_size=count))
    pairs = list(itertools.combinations(range(count), 2))
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=20)) if pairs else []
    return sizes, edges


def boxes(layout: Layout, sizes: list[tuple[float, float]]) -> list[tuple[float, float, float, float]]:
    """Left, top, right, bottom."""
    return [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for (x, y), (w, h) in zip(layout.centres, sizes, strict=True)]


def lay_out(sizes: list[tuple[float, float]], edges: list[tuple[int, int]]) -> Layout:
    return arrange(sizes, edges, [26.0] * len(edges), across=ACROSS, down=DOWN)


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_nodes_keep_apart_and_edges_point_down(graph: tuple[list[tuple[float, float]], list[tuple[int, int]]]) -> None:
    sizes, edges = graph
    layout = lay_out(sizes, edges)
    placed = boxes(layout, sizes)
    for a, b in itertools.combinations(placed, 2):
        apart = a[2] + ACROSS <= b[0] + 1e-6 or b[2] + ACROSS <= a[0] + 1e-6
        assert apart or a[3] <= b[1] or b[3] <= a[1]
    for left, top, right, bottom in placed:
        assert left >= -1e-6
        assert top >= -1e-6
        assert right <= layout.width + 1e-6
        assert bottom <= layout.height + 1e-6
    for (source, target), path in zip(edges, layout.paths, strict=True):
        assert placed[source][3] + DOWN <= placed[target][1] + 1e-6
        heights = [y for _, y in path]
        assert heights == sorted(heights)
        assert heights[0] == placed[source][3]
        assert heights[-1] == placed[target][1]
        assert placed[source][0] <= path[0][0] <= placed[source][2]
        assert placed[target][0] <= path[-1][0] <= placed[target][2]


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_edges_go_round_the_nodes_they_pass(graph: tuple[list[tuple[float, float]], list[tuple[int, int]]]) -> None:
    sizes, edges = graph
    layout = lay_out(sizes, edges)
    for path in layout.paths:
        for (x0, y0), (x1, y1) in itertools.pairwise(path[1:-1]):
            for left, top, right, bottom in boxes(layout, sizes):
                if min(y1, bottom) > max(y0, top) + 1e-6:  # beside this node, the edge is a vertical line
                    assert x0 == x1
                    assert not left < x0 < right


def test_a_chain_is_a_straight_line() -> None:
    sizes = [(40.0, 20.0), (120.0, 20.0), (60.0, 20.0), (80.0, 20.0)]
    layout = lay_out(sizes, [(0, 1), (1, 2), (2, 3)])
    assert {round(x, 6) for x, _ in layout.centres} == {60.0}
    assert [y for _, y in layout.centres] == [10.0, 60.0, 110.0, 160.0]
    assert (layout.width, layout.height) == (120.0, 170.0)


def test_a_shortcut_is_straight_beside_what_it_passes() -> None:
    """A residual block: two nodes, and an edge around them."""
    layout = lay_out([(100.0, 20.0)] * 4, [(0, 1), (1, 2), (2, 3), (0, 3)])
    passing = {round(x, 6) for x, _ in layout.paths[3][1:-1]}
    assert len(passing) == 1


def test_crossings_that_need_not_be_are_undone() -> None:
    layout = lay_out([(30.0, 10.0)] * 4, [(0, 3), (1, 2)])
    (a, _), (b, _), (c, _), (d, _) = layout.centres
    assert (a < b) == (d < c)


def test_ends_at_one_node_are_side_by_side() -> None:
    layout = lay_out([(100.0, 20.0), (30.0, 20.0), (30.0, 20.0), (30.0, 20.0)], [(0, 1), (0, 2), (0, 3)])
    starts = [path[0][0] for path in layout.paths]
    assert starts == sorted(starts)
    assert all(abs(b - a - 26) < 1e-6 for a, b in itertools.pairwise(starts))


def test_nothing_at_all() -> None:
    layout = lay_out([], [])
    assert (layout.centres, layout.paths, layout.width, layout.height) == ([], [], 0.0, 0.0)
